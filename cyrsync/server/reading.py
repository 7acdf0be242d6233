"""One mailbox as it is at one moment, read under Cyrus's locks: which messages have a file, and the metadata itself."""

from __future__ import annotations

import errno
import os
import stat
import time
import zlib
from array import array
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox import header, records, regular_file, snapshot
from cyrsync.cyrus.mailbox.records import Index
from cyrsync.cyrus.mailbox.snapshot import MetaFiles
from cyrsync.far import grown
from cyrsync.far import uids as uid_sets
from cyrsync.far.folder import Entry, Incarnation
from cyrsync.far.grown import Cache
from cyrsync.far.locked_folder import have_file, need_file
from cyrsync.far.walk import Reader, incarnation_in, names_in
from cyrsync.server import large_metadata, mounted
from cyrsync.server.absence import is_absent
from cyrsync.server.large_metadata import Data
from cyrsync.server.roots import Roots
from cyrsync.server.source_links import broken
from cyrsync.state.mailbox_row import UNSEEN, Location, seen_of
from cyrsync.text import path_text

_LOOKS = 3
_PAUSE = 0.02  # seconds; where there are no locks, a writer needs some time to finish
#: Nanoseconds in which a file may change again and keep its times, where times are fine, and where they are seconds.
_FINE_GRAIN, _COARSE_GRAIN = 20_000_000, 2_000_000_000


class UnreadableMailboxError(Exception):
    """Why a mailbox stays as it is on the replica; in one line."""


class File(NamedTuple):
    """A metadata file with its contents, of one moment."""

    name: bytes
    entry: Entry
    data: Data


class _Part(NamedTuple):
    """One file of a mailbox's metadata, as it was under the locks."""

    status: os.stat_result
    data: Data


@dataclass(slots=True)
class MailboxState:
    """The state of one mailbox."""

    incarnation: Incarnation
    seen: bytes  # for the next run; UNSEEN where the files may change again unseen
    messages: array[int]  # with a file in the data directory
    archived: array[int] = field(default_factory=uid_sets.empty)  # with a file in the archive directory
    snapshot_files: list[tuple[bytes, File]] = field(default_factory=list)  # (root, file)
    derived: list[tuple[bytes, bytes]] = field(default_factory=list)  # (root, name)
    has_directory: bool = True  # for messages; with a metapartition, an empty mailbox may have none
    identity: tuple[object, ...] = ()  # what changes if another mailbox takes the directory
    known_version: bool = True  # False: the messages are those in the directories
    index: Index | None = None  # of a known version
    caches: dict[bytes, Cache] = field(default_factory=dict)  # that the replica has when this has arrived

    def let_go(self) -> None:
        """Release the contents of files: a run must not keep the indexes of all changed mailboxes in memory."""
        self.snapshot_files = [(root, file._replace(data=b"")) for root, file in self.snapshot_files]
        self.index = None

    def names(self) -> tuple[bytes, ...]:
        """Return the names of the metadata files there are."""
        return tuple(sorted({file.name for _, file in self.snapshot_files} | {name for _, name in self.derived}))


class MailboxReader:
    """Reads the mailboxes of one partition; remembers the names of owners."""

    def __init__(self, roots: Roots, directory: str | None = None) -> None:
        """Large files are copied to the `directory`, see `large_metadata`."""
        self.roots = roots
        self._read_file = partial(large_metadata.read, directory=directory)
        self._readers = {root: Reader(root) for root in roots.all()}

    def read(self, location: Location, patience: float = snapshot.PATIENCE) -> MailboxState:
        """Return one mailbox as it is now; a writer is waited for so many seconds.

        Raise UnreadableMailboxError, or LockTimeout where a writer keeps it.
        """
        files = MetaFiles(location.header_path, location.index_path, location.expunge_path, location.name_lock)
        annotations = self._whole(self.roots.homes[kinds.ANNOTATIONS], location, kinds.ANNOTATIONS)
        for _ in range(_LOOKS):
            now = time.time_ns()
            try:
                found, locked = snapshot.under_locks(files, [annotations], self._read_file, patience)
                return self._mailbox(location, {path: _Part(*part) for path, part in found.items()}, now)
            except OSError as error:
                self._refuse_broken_links(location)
                raise UnreadableMailboxError(error.strerror or str(error)) from None
            except _TornError as error:
                reason = str(error)
            time.sleep(0 if locked else _PAUSE)
        raise UnreadableMailboxError(f"{reason}: run reconstruct, or restore it")

    def above(self, root: bytes, path: bytes) -> tuple[tuple[bytes, Entry], ...]:
        """Return the directory of a mailbox below a root, and those it is in.

        Raise UnreadableMailboxError, or UnusableError where nothing is below that root: its disk is not mounted.
        """
        try:
            above = self._readers[root].above(path)
            if not all(stat.S_ISDIR(entry.mode) for _, entry in above):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            return above
        except FileNotFoundError:
            if mounted.is_empty(root):
                raise mounted.unmounted(root, self.roots.name) from None
            raise UnreadableMailboxError("its directory has gone") from None
        except OSError as error:
            raise UnreadableMailboxError(f"{path_text(self.directory(root, path))}: {error.strerror}") from None

    def directory(self, root: bytes, path: bytes) -> bytes:
        """Return the whole path of a mailbox's directory below a root."""
        return self._readers[root].directory(path)

    def entry(self, root: bytes, status: os.stat_result) -> Entry:
        """Return the entry of a file below a root."""
        return self._readers[root].entry(status)

    def entries(self, root: bytes, path: bytes, uids: array[int]) -> list[tuple[int, Entry]]:
        """Return the entries of messages below a root, by UID, without those that cannot be seen."""
        found = []
        with suppress(OSError):
            directory = os.open(self.directory(root, path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                for uid in uids:
                    with suppress(OSError):
                        status = os.stat(b"%d." % uid, dir_fd=directory, follow_symlinks=False)
                        found.append((uid, self.entry(root, status)))
            finally:
                os.close(directory)
        return found

    def caches(self, path: bytes) -> dict[bytes, Cache]:
        """Return the caches of a mailbox by root, as far as they can be read."""
        found = {}
        for root, name in self.roots.derived():
            if name == kinds.CACHE:
                with suppress(OSError):
                    descriptor, entry = self.open(root, path, name)
                    try:
                        found[root] = Cache(entry.size, entry.mtime, grown.sample(descriptor, entry.size))
                    finally:
                        os.close(descriptor)
        return found

    def open(self, root: bytes, path: bytes, name: bytes) -> tuple[int, Entry]:
        """Open a file of a mailbox below a root; return its entry, too. Raise OSError, also for no regular file."""
        reader = self._readers[root]
        descriptor, status = regular_file.opened(os.path.join(reader.directory(path), name))
        return descriptor, reader.entry(status)

    def _listed(self, root: bytes, path: bytes) -> array[int]:
        """Return the UIDs in a mailbox's directory below a root, none if it is not there."""
        directory = os.path.join(root, path)
        try:
            return names_in(directory, os.stat(directory).st_size)[0].uids
        except FileNotFoundError:
            return uid_sets.empty()

    def _all_listed(self, path: bytes) -> tuple[array[int], array[int]]:
        """Return the UIDs in a mailbox's data directory and in its archive directory."""
        archived = uid_sets.empty()
        if self.roots.archive != self.roots.data:
            archived = self._listed(self.roots.archive, path)
        return self._listed(self.roots.data, path), archived

    def _whole(self, root: bytes, location: Location, name: bytes) -> bytes:
        return os.path.join(root, location.key.path, name)

    def _mailbox(self, location: Location, parts: dict[bytes, _Part], now: int) -> MailboxState:
        head, body = parts.get(location.header_path), parts.get(location.index_path)
        if head is None or body is None:
            self._refuse_broken_links(location)
            name = "cyrus.header" if head is None else "cyrus.index"
            raise UnreadableMailboxError(f"{name}: {os.strerror(errno.ENOENT)}: run reconstruct, or restore it")
        head_data = _in_memory(head.data)
        uniqueid = header.uniqueid(head_data[: header.READ_SIZE])
        if not uniqueid:
            raise _TornError("cyrus.header cannot be read")
        seen = _seen(head, body, now)
        snapshot_files = self._snapshot_files(location, parts)
        derived = [(root, name) for root, name in self.roots.derived() if not self._is_absent(root, location, name)]
        has_directory = os.path.isdir(os.path.join(self.roots.data, location.key.path))
        try:
            # Also under the locks: what is damaged must not take the place of what is not.
            index = records.read(body.data)
        except records.UnknownVersion:
            incarnation = Incarnation(uniqueid, 0, uid_sets.MAX_UID)
            messages, archived = self._all_listed(location.key.path)
            identity = _identity(None, head.status)
            return MailboxState(
                *(incarnation, seen, messages, archived, snapshot_files, derived, has_directory, identity),
                known_version=False,
            )
        except records.BadIndex as error:
            raise _TornError(f"cyrus.index: {error}") from None
        if index.header.header_file_crc not in (None, zlib.crc32(head_data)):
            raise _TornError("cyrus.header is not the one that cyrus.index was written with")
        if index.header.options & records.MAILBOX_DELETED:
            raise UnreadableMailboxError("it is being deleted")
        messages, archived = self._messages(index, parts.get(location.expunge_path))
        incarnation = Incarnation(uniqueid, index.header.uidvalidity, index.header.last_uid)
        identity = _identity(incarnation, head.status)
        return MailboxState(
            incarnation, seen, messages, archived, snapshot_files, derived, has_directory, identity, index=index
        )

    def _refuse_broken_links(self, location: Location) -> None:
        """Raise an error if a mailbox's metadata is behind a broken or circular link."""
        for name in (kinds.HEADER, kinds.INDEX):
            link = broken(self.roots.homes[name], location.key.path)
            if link:
                raise UnreadableMailboxError(f"{path_text(link)} is a link that leads nowhere: is its disk mounted?")

    def _is_absent(self, root: bytes, location: Location, name: bytes) -> bool:
        try:
            return is_absent(self._whole(root, location, name))
        except OSError as error:
            raise UnreadableMailboxError(f"{os.fsdecode(name)}: {error.strerror}") from None

    def _snapshot_files(self, location: Location, parts: dict[bytes, _Part]) -> list[tuple[bytes, File]]:
        found = []
        for name in sorted(kinds.SNAPSHOT):
            root = self.roots.homes[name]
            part = parts.get(self._whole(root, location, name))
            if part:
                found.append((root, File(name, self._readers[root].entry(part.status), part.data)))
        return found

    def _messages(self, index: Index, expunge: _Part | None) -> tuple[array[int], array[int]]:
        """Return the UIDs with a file in the data and in the archive directory."""
        messages, archived = have_file(index), uid_sets.empty()
        if self.roots.archive != self.roots.data:
            messages, archived = need_file(index), need_file(index, archived=True)
        if expunge:
            # What 2.3 expunged with a delay has its records in a file of its own.
            try:
                old = records.read(expunge.data, sorted_uids=False)
            except records.BadIndex as error:
                raise _TornError(f"cyrus.expunge: {error}") from None
            messages = uid_sets.union(messages, uid_sets.sort(old.uids))
        return messages, archived


def identity_of(location: Location) -> tuple[object, ...]:
    """Return the identity that a mailbox would be read with now, () where there is no mailbox."""
    try:
        status = os.stat(location.header_path)
    except OSError:
        return ()
    return _identity(incarnation_in(location.header_path, location.index_path), status)


def _identity(incarnation: Incarnation | None, header: os.stat_result) -> tuple[object, ...]:
    return (incarnation and incarnation[:2], header.st_ino, header.st_mtime_ns, header.st_ctime_ns)


def _in_memory(data: Data) -> bytes:
    return data if isinstance(data, bytes) else data.read_at(0, len(data))


class _TornError(Exception):
    """The files do not fit together: perhaps a writer was at work."""


def _seen(head: _Part, body: _Part, now: int) -> bytes:
    newest = max(head.status.st_ctime_ns, body.status.st_ctime_ns)
    grain = _FINE_GRAIN if newest % 10**9 else _COARSE_GRAIN
    return UNSEEN if newest > now - grain else seen_of(head.status, body.status)
