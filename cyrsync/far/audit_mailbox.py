"""The audit of one mailbox: its header, its index, and the message files there are.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import hashlib
import os
import zlib
from array import array
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.cyrus.mailbox import header, records, regular_file, snapshot
from cyrsync.cyrus.mailbox.locks import LockTimeout
from cyrsync.cyrus.mailbox.snapshot import MetaFiles, Snapshot
from cyrsync.far import audit_cache as cache
from cyrsync.far import message_files
from cyrsync.far import uids as uid_sets
from cyrsync.far.finding import NO_INDEX, Audited, Problem
from cyrsync.far.locked_folder import have_file, need_file
from cyrsync.far.message_files import MessageFiles

if TYPE_CHECKING:
    from cyrsync.cyrus.mailbox.records import Index

#: While Cyrus runs, the index and the directory are of two moments: worth so many looks, if the index goes on.
_LOOKS = 3
_BLOCK = 1 << 20


class Place(NamedTuple):
    """Where one mailbox lies: absolute paths but for the first."""

    path: bytes  # for the report
    data: bytes
    archive: bytes  # b"": not known; the data directory where there is no other
    files: MetaFiles


def audit(place: Place, listed: MessageFiles, content: bool) -> Audited:
    """Compare a mailbox's index with its files; `listed` are those in its data directory.

    With `content`, every message is read, and its size and SHA-1 compared. Never raises for a mailbox.
    """
    before = None  # type: _Look | None
    archived = None  # type: MessageFiles | None
    for _ in range(_LOOKS):
        try:
            archived = _archived(place) if archived is None else archived
            look = _Look(place, snapshot.read(place.files), listed, archived, before)
            found = look.result(content)
            if not found.problems or (before and before.whole):
                break
            before, listed = look, list_files(place.data)
            archived = _archived(place)
        except (LockTimeout, OSError) as error:
            return Audited(place.path, files=len(listed), problems=(Problem("unreadable", detail=_reason(error)),))
    return found


def _archived(place: Place) -> MessageFiles:
    """Return the message files on the archive partition. After those in the data directory: that way they move."""
    return list_files(place.archive) if place.archive not in (b"", place.data) else MessageFiles()


class _Look:
    """One look at a mailbox: its metadata, and the files listed before.

    With the look `before`, the files were listed between the two snapshots, whatever went on meanwhile. A record that
    needs its file in both had it then; a file that neither names had no record then, as Cyrus holds the lock of the
    index from linking the file to writing the record.
    """

    def __init__(
        self, place: Place, metadata: Snapshot, listed: MessageFiles, archived: MessageFiles, before: "_Look | None"
    ) -> None:
        self.place, self.metadata, self.listed, self.archived, self.before = place, metadata, listed, archived, before
        self.whole = False  # could be read
        self.named = self.needed = array("I")
        self.problems = []  # type: list[Problem]
        self.bytes_read = 0
        self.name = b""  # as the header has it, from 3.6 on

    def result(self, content: bool) -> Audited:
        """Return the result for the mailbox."""
        index = self._index(self.metadata.index_data, "cyrus.index")
        self._check_header(index)
        if index is None:
            return self._audited(0)
        if index.header.options & records.MAILBOX_DELETED:
            return Audited(self.place.path)
        # What 2.3 expunged with a delay has its records in a file of its own.
        expunged = self.metadata.expunge_data
        old = self._index(expunged, "cyrus.expunge") if expunged is not None else None
        indexes = [index] + ([old] if old else [])
        self.named = uid_sets.merge([uid_sets.sort(one.uids) for one in indexes])
        self.needed = uid_sets.merge([self._needed(one) for one in indexes])
        self.whole = True
        there = self._there()
        missing, orphan = uid_sets.difference(self.needed, there), uid_sets.difference(there, self.named)
        if self.before and self.before.whole:
            missing = uid_sets.difference(missing, uid_sets.difference(missing, self.before.needed))
            orphan = uid_sets.difference(orphan, self.before.named)
        self._note("missing", missing)
        self._note("orphan", orphan)
        self._check_cache(index)
        if content:
            for one in indexes:
                self._check_content(one)
        return self._audited(len(self.needed))

    def _check_cache(self, index: "Index") -> None:
        """Look at the cache where all of a mailbox lies together: it may be elsewhere else, and one here an old one."""
        directory = os.path.dirname(self.place.files.index_path)
        if directory == self.place.data and cache.is_too_short(os.path.join(directory, b"cyrus.cache"), index):
            self.problems.append(Problem("cache", detail="cyrus.cache: it ends before what cyrus.index refers to"))

    def _audited(self, messages: int) -> Audited:
        files = len(self.listed) + len(self.archived)
        return Audited(self.place.path, messages, files, self.bytes_read, tuple(self.problems), self.name)

    def _index(self, data: "bytes | None", name: str) -> "Index | None":
        if data is None:
            self.problems.append(NO_INDEX)
            return None
        try:
            return records.read(data, sorted_uids=name == "cyrus.index")
        except records.BadIndex as error:
            self.problems.append(Problem("index", detail=f"{name}: {error}"))
            return None

    def _check_header(self, index: "Index | None") -> None:
        data = self.metadata.header_data
        if data is None:
            self.problems.append(Problem("header", detail="cyrus.header: there is none"))
            return
        try:
            self.name = header.read(data).name or b""
        except header.HeaderError as error:
            self.problems.append(Problem("header", detail=f"cyrus.header: {error}"))
            return
        if index and index.header.header_file_crc not in (None, zlib.crc32(data)):
            self.problems.append(
                Problem("header", detail="cyrus.header: not the one that cyrus.index was written with")
            )

    def _needed(self, index: "Index") -> "array[int]":
        """Return the UIDs of the records that must have a file where we can look for it."""
        return have_file(index) if self.place.archive else need_file(index)

    def _there(self) -> "array[int]":
        if not self.archived:
            return self.listed.uids
        both = uid_sets.difference(self.archived.uids, self.listed.uids)
        return uid_sets.merge([self.listed.uids, both])

    def _note(self, kind: str, uids: "array[int]") -> None:
        if uids:
            self.problems.append(Problem(kind, tuple(uids)))

    def _check_content(self, index: "Index") -> None:
        wrong = {"size": [], "content": [], "unreadable": []}  # type: dict[str, list[int]]
        for number, uid in enumerate(index.uids):
            kind = None if index.unlinked[number] else self._compare(index, number, uid)
            if kind:
                wrong[kind].append(uid)
        for kind, uids in wrong.items():
            self._note(kind, array("I", uids))

    def _compare(self, index: "Index", number: int, uid: int) -> "str | None":
        """Return what is wrong with a message's file; a missing one is reported elsewhere."""
        for directory in (self.place.data, self.place.archive):
            if not directory:
                continue
            try:
                digest = self._digest(os.path.join(directory, b"%d." % uid), index.sizes[number])
            except FileNotFoundError:
                continue
            except OSError:
                return "unreadable"
            if digest is None:
                return "size"
            return "content" if index.guid(number) not in (None, digest) else None
        return None

    def _digest(self, path: bytes, size: int) -> "bytes | None":
        """Return the SHA-1 of a file, which is Cyrus's GUID of a message; None for one of another size."""
        digest = hashlib.sha1()
        descriptor, status = regular_file.opened(path)
        try:
            if status.st_size != size:
                return None
            block = os.read(descriptor, _BLOCK)
            while block:
                digest.update(block)
                self.bytes_read += len(block)
                block = os.read(descriptor, _BLOCK)
        finally:
            os.close(descriptor)
        return digest.digest()


def list_files(directory: bytes) -> MessageFiles:
    """Return the message files in a directory, none if it is not there."""
    try:
        return MessageFiles(message_files.sort_out(os.listdir(directory))[0])
    except FileNotFoundError:
        return MessageFiles()


def _reason(error: "LockTimeout | OSError") -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"{os.fsdecode(os.path.basename(error.path))}: {error.reason}"
