"""What is sent of one mailbox, read from its directories right after the locks on its index were let go.

A message that has vanished since, or cannot be read, takes nothing from the others. But the metadata, which names all
of them, is not sent then: an index on the replica has all its messages.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, Protocol

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox.on_disk import OnDisk
from cyrsync.cyrus.mailbox.records import Index
from cyrsync.far import grown
from cyrsync.far import uids as uid_sets
from cyrsync.far.folder import Entry
from cyrsync.far.frames import PIECE, Part, Target
from cyrsync.far.grown import Cache
from cyrsync.server.engine import MailboxChange
from cyrsync.server.large_metadata import Data
from cyrsync.server.linking import Linking
from cyrsync.server.reading import MailboxReader
from cyrsync.sync.folder_plan import FolderPlan
from cyrsync.text import path_text

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Item(Protocol):
    """A frame's worth of a mailbox."""

    @property
    def data(self) -> bytes:
        """What it has of a file's contents."""

    def put(self, sink: Any) -> None:
        """Hand it to a sink."""


class Begin(NamedTuple):
    """The beginning of a part."""

    part: Part
    data: bytes = b""

    def put(self, sink: Any) -> None:
        """Hand it to a sink."""
        sink.part(self.part)


class _Message(NamedTuple):
    uid: int
    entry: Entry
    data: bytes

    def put(self, sink: Any) -> None:
        sink.message(self.uid, self.entry, self.data)


class _Link(NamedTuple):
    uid: int
    entry: Entry
    target: Target
    data: bytes = b""

    def put(self, sink: Any) -> None:
        sink.link(self.uid, self.entry, self.target)


class File(NamedTuple):
    """A file that is no message, or the first piece of it."""

    name: bytes
    entry: Entry
    data: bytes

    def put(self, sink: Any) -> None:
        """Hand it to a sink."""
        sink.file(self.name, self.entry, self.data)


class _Tail(NamedTuple):
    name: bytes
    entry: Entry
    old: Cache
    data: bytes

    def put(self, sink: Any) -> None:
        sink.tail(self.name, self.entry, self.old, self.data)


class _More(NamedTuple):
    data: bytes

    def put(self, sink: Any) -> None:
        sink.more(self.data)


class CutShort(Exception):
    """A file ended before its time while it was read: what was begun of its mailbox cannot be completed."""


class UnreadableFileError(Exception):
    """Why a file could not be read to its end: what was begun of its mailbox cannot be completed."""

    def __init__(self, name: bytes, reason: str) -> None:
        super().__init__(reason)
        self.name = name
        self.reason = reason


class Contents:
    """Reads what is to be sent of a mailbox.

    Iterate once, right after the mailbox was read; then ask what came of it.
    """

    def __init__(
        self,
        change: MailboxChange,
        reader: MailboxReader,
        wanted: Mapping[bytes, array[int]],
        there: Callable[[bytes], bytes],
        bad: Mapping[bytes, str],
        caches: Mapping[bytes, Cache] | None = None,
        links: Linking | None = None,
    ) -> None:
        """`wanted` are the messages to send, by root; `there` tells where a root has its replica.

        `bad` files could not be read to their end, for these reasons, and are left out. The replica has these `caches`;
        `links` finds what it has under another name.
        """
        self.lost = {root: list[int]() for root in wanted}  # messages that are not there any more
        self.unreadable: list[tuple[bytes, str]] = []  # names of files, and why they cannot be read
        self.unopened: list[bytes] = []  # roots below which the directory with the messages cannot be opened
        self.wanted = wanted
        self.wrong: list[int] = []  # messages whose contents are not what the index says
        self.messages = 0  # that were read
        self.links = links
        self._change = change
        self._reader = reader
        self._there = there
        self._caches = caches or {}
        self._bad = bad
        self._index = change.mailbox.index

    def __iter__(self) -> Iterator[Item]:
        """Yield the mailbox, in the order in which it is sent.

        Raise CutShort, OSError, UnreadableFileError or UnreadableMailboxError.
        """
        for root, part in self._parts():
            plan = self._change.plans[root]
            yield Begin(part)
            yield from self._messages(root, plan)
            if self.is_whole():
                yield from self._metadata(root, plan)

    def _parts(self) -> list[tuple[bytes, Part]]:
        """Return the parts of the mailbox by root; a directory that is not there is found before anything is sent."""
        homes = self._reader.roots.homes
        found = []
        # An index comes behind the messages in all of the roots.
        for root in sorted(self.wanted, key=lambda root: root == homes[kinds.INDEX]):
            plan = self._change.plans[root]
            if self.wanted[root] or plan.metadata or plan.derived or plan.touch:
                found.append((root, Part(self._there(root), plan.path, self._reader.above(root, plan.path))))
        return found

    def count(self) -> int:
        """Return how many messages are wanted."""
        return sum(map(len, self.wanted.values()))

    def is_whole(self) -> bool:
        """Tell whether everything that was wanted is there, and can be read."""
        return not self.unreadable and not any(self.lost.values())

    def arrived(self, root: bytes) -> array[int]:
        """Return the messages that were there."""
        if root in self.unopened:
            return uid_sets.empty()
        names = {name for name, _ in self.unreadable}
        missing = {*self.lost[root], *(uid for uid in self.wanted[root] if b"%d." % uid in names)}
        return array("I", (uid for uid in self.wanted[root] if uid not in missing)) if missing else self.wanted[root]

    def _messages(self, root: bytes, plan: FolderPlan) -> Iterator[Item]:
        uids = self.wanted[root]
        if not uids:
            return
        where = self._reader.directory(root, plan.path)
        try:
            directory = os.open(where, _DIRECTORY)
        except OSError as error:
            self._note(b"", error, f"{path_text(where)}: ")
            self.unopened.append(root)
            return
        try:
            for uid in uids:
                if self._bad and self._is_bad(b"%d." % uid):
                    continue
                try:
                    descriptor = os.open(b"%d." % uid, _FILE, dir_fd=directory)
                except FileNotFoundError:
                    self.lost[root].append(uid)
                    continue
                except OSError as error:
                    self._note(b"%d." % uid, error)
                    continue
                try:
                    yield from self._message(root, uid, descriptor)
                finally:
                    os.close(descriptor)
        finally:
            os.close(directory)

    def _message(self, root: bytes, uid: int, descriptor: int) -> Iterable[Item]:
        """Return a message: nearly every one is one frame, which is what this is quick at."""
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            self.unreadable.append((b"%d." % uid, "no regular file"))
            return ()
        if self.links and self.links.may_find(status):
            target = self.links.find(root, uid, status, partial(_digest, descriptor, uid))
            if target:
                self.messages += 1
                return (_Link(uid, self._reader.entry(root, status), target),)
        try:
            data = os.read(descriptor, min(status.st_size, PIECE))
        except OSError as error:
            self._note(b"%d." % uid, error)
            return ()
        first = _Message(uid, self._reader.entry(root, status), data)
        digest = hashlib.sha1(data, usedforsecurity=False)
        if len(data) < status.st_size:
            return self._large_message(root, first, descriptor, status, digest)
        self._note_message(root, uid, status, digest.digest())
        return (first,)

    def _large_message(
        self, root: bytes, first: _Message, descriptor: int, status: os.stat_result, digest: hashlib._Hash
    ) -> Iterator[Item]:
        yield first
        with _to_its_end(b"%d." % first.uid):
            for piece in _pieces(descriptor, status.st_size - len(first.data)):
                digest.update(piece)
                yield _More(piece)
        self._note_message(root, first.uid, status, digest.digest())

    def _note_message(self, root: bytes, uid: int, status: os.stat_result, digest: bytes) -> None:
        """Note a message that was read, and whether it is what the index says."""
        self.messages += 1
        if self.links and status.st_nlink > 1:
            self.links.add(root, uid, status, digest)
        if self._index and not _is_right(self._index, uid, status.st_size, digest):
            self.wrong.append(uid)

    def _metadata(self, root: bytes, plan: FolderPlan) -> Iterator[Item]:
        for name in (*plan.nonstandard, *plan.derived):
            if self._is_bad(name):
                continue
            try:
                descriptor, entry = self._reader.open(root, plan.path, name)
            except OSError as error:
                self._note(name, error)
                continue
            try:
                with _to_its_end(name):
                    yield from self._file(root, name, entry, descriptor)
            finally:
                os.close(descriptor)
        if not self.is_whole():
            return
        snapshot_files = [
            file for found, file in self._change.mailbox.snapshot_files if found == root and file.name in plan.metadata
        ]
        for file in sorted(snapshot_files, key=lambda file: file.name == kinds.INDEX):
            entry = file.entry._replace(size=len(file.data))
            yield from pieces_of(file.name, entry, file.data)

    def _file(self, root: bytes, name: bytes, entry: Entry, descriptor: int) -> Iterator[Item]:
        """Yield a file, or what a cache has grown by."""
        if name == kinds.CACHE:
            sample = grown.sample(descriptor, entry.size)
            self._change.mailbox.caches[root] = Cache(entry.size, entry.mtime, sample)
            old = self._caches.get(root)
            if old and grown.has_grown(old, descriptor, entry.size):
                os.lseek(descriptor, old.size, os.SEEK_SET)
                data = os.read(descriptor, min(entry.size - old.size, PIECE))
                yield _Tail(name, entry, old, data)
                for piece in _pieces(descriptor, entry.size - old.size - len(data)):
                    yield _More(piece)
                return
        yield from pieces_of(name, entry, descriptor)

    def _is_bad(self, name: bytes) -> bool:
        """Tell whether a file could not be read before; it is noted then."""
        if name not in self._bad:
            return False
        self.unreadable.append((name, self._bad[name]))
        return True

    def _note(self, name: bytes, error: OSError, what: str = "") -> None:
        """Note why a file, or `what`, cannot be read. Raise the error where it has gone."""
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE):
            raise error
        self.unreadable.append((name, what + (error.strerror or str(error))))


#: Bytes of other metadata that are sent in one frame.
_WHOLE = 15 << 20


def pieces_of(name: bytes, entry: Entry, contents: int | Data) -> Iterator[Item]:
    """Yield a file that is open, or was read. Raise CutShort or OSError."""
    # What comes whole is compared with what the replica has of it, by size and time.
    first = _WHOLE if kinds.is_metadata(name) else PIECE
    if isinstance(contents, int):
        data = os.read(contents, min(entry.size, first))
        yield File(name, entry, data)
        for piece in _pieces(contents, entry.size - len(data)):
            yield _More(piece)
        return
    if isinstance(contents, OnDisk):
        first, read_at = PIECE, contents.read_at
    else:
        whole = contents

        def read_at(at: int, size: int) -> bytes:
            return whole[at : at + size]

    yield File(name, entry, read_at(0, first))
    for start in range(first, len(contents), PIECE):
        yield _More(read_at(start, PIECE))


@contextmanager
def _to_its_end(name: bytes) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnreadableFileError(name, error.strerror or str(error)) from None


def _digest(descriptor: int, uid: int) -> bytes:
    """Return the SHA-1 of a message file, which is at its beginning before and after."""
    digest = hashlib.sha1(usedforsecurity=False)
    with _to_its_end(b"%d." % uid):
        while piece := os.read(descriptor, PIECE):
            digest.update(piece)
        os.lseek(descriptor, 0, os.SEEK_SET)
    return digest.digest()


def _pieces(descriptor: int, left: int) -> Iterator[bytes]:
    while left:
        piece = os.read(descriptor, min(left, PIECE))
        if not piece:
            raise CutShort
        left -= len(piece)
        yield piece


def _is_right(index: Index, uid: int, size: int, digest: bytes) -> bool:
    """Tell whether a message is what its record says, as far as it says that."""
    number = bisect_left(index.uids, uid)
    if number == len(index.uids) or index.uids[number] != uid:
        return True  # of 2.3's expunged ones
    guid = index.guid(number)
    return index.sizes[number] == size and guid in (None, digest)
