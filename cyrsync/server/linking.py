"""Messages that the replica has under another name: they are linked there, not sent.

On the source both names are one file. This run has sent it under the other name, by the same stream before or so that
it has arrived; and both have one SHA-1, as a file that has gone leaves its number to the next one.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import NamedTuple

from cyrsync.cyrus.mailbox.records import Index
from cyrsync.far.frames import Target
from cyrsync.server.engine import Work
from cyrsync.state.sent import Key

#: Files with several names that are remembered of one mailbox until it has arrived.
_MOST = 1 << 16
_INODE = struct.Struct("<QQ")


class SentFile(NamedTuple):
    """A message file that was sent: its mailbox, what it is on the replica, and its SHA-1."""

    key: Key
    target: Target
    digest: bytes


#: By what names a file on the source.
SentFiles = dict[bytes, SentFile]


class Linker:
    """What one run has sent of files with several names."""

    def __init__(self) -> None:
        #: Roots of the replica between which there are no links.
        self.apart: set[tuple[bytes, bytes]] = set()
        self._arrived = _Table()

    def of(self, work: Work, there: Callable[[bytes], bytes], going: SentFiles) -> Linking:
        """Return what finds a mailbox's messages; what is `going` by the same stream has its place before."""
        return Linking(work, there, self, going)

    def arrived(self, files: SentFiles) -> None:
        """Note files that have their places."""
        self._arrived.put(files)

    def find(self, inode: bytes) -> SentFile | None:
        """Return a file that has its place under another name."""
        return self._arrived.get(inode)


class Linking:
    """Finds the messages of one mailbox."""

    def __init__(self, work: Work, there: Callable[[bytes], bytes], linker: Linker, going: SentFiles) -> None:
        self.files: SentFiles = {}  # of this mailbox, that others may be linked to
        self.count = 0  # messages that were found
        self.roots: set[tuple[bytes, bytes]] = set()  # of both names
        self._key = work.place.key
        self._index = work.reading.index
        self._there = there
        self._linker = linker
        self._going = going

    def find(self, root: bytes, uid: int, status: os.stat_result, digest: Callable[[], bytes]) -> Target | None:
        """Return what a message can be linked to, None if it is to be sent; `digest` reads its file."""
        if status.st_nlink < 2:
            return None
        inode = _inode(status)
        found = self.files.get(inode) or self._going.get(inode) or self._linker.find(inode)
        if found is None or not self._fits(found, root):
            return None
        size, guid = _record(self._index, uid)
        if size not in (None, status.st_size) or (guid or digest()) != found.digest:
            return None
        self.count += 1
        self.roots.add((found.target.root, self._there(root)))
        return found.target

    def add(self, root: bytes, uid: int, status: os.stat_result, digest: bytes) -> None:
        """Note a message of the mailbox that is sent."""
        if status.st_nlink > 1 and len(self.files) < _MOST:
            self.files[_inode(status)] = SentFile(self._key, Target(self._there(root), self._key.path, uid), digest)

    def depends(self) -> bool:
        """Tell whether anything is, or may be, linked to what its stream has not written yet."""
        return bool(self.roots or self._going)

    def _fits(self, found: SentFile, root: bytes) -> bool:
        """Tell whether there may be a link; parts of one mailbox take their places together."""
        roots = found.target.root, self._there(root)
        return roots not in self._linker.apart and (found.key != self._key or roots[0] == roots[1])


class _Table:
    """Files on the source, and what they are on the replica: in a file without a name, as there may be millions."""

    def __init__(self) -> None:
        self._db: sqlite3.Connection | None = None
        self._is_full = False

    def put(self, files: Mapping[bytes, SentFile]) -> None:
        """Keep files, as far as there is room for them."""
        if not files or self._is_full:
            return
        try:
            if self._db is None:
                self._db = sqlite3.connect("")
                self._db.execute(
                    "CREATE TABLE file (inode BLOB PRIMARY KEY, partition TEXT, path BLOB, root BLOB, uid INTEGER,"
                    " digest BLOB) WITHOUT ROWID"
                )
            rows = ((inode, *file.key, file.target.root, file.target.uid, file.digest) for inode, file in files.items())
            with self._db:
                self._db.executemany("INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?)", rows)
        except sqlite3.Error:
            self._is_full = True

    def get(self, inode: bytes) -> SentFile | None:
        """Return what a file is on the replica, None where that is not known."""
        if self._db is None or self._is_full:
            return None
        try:
            row = self._db.execute("SELECT * FROM file WHERE inode = ?", (inode,)).fetchone()
        except sqlite3.Error:
            self._is_full = True
            return None
        if row is None:
            return None
        _, partition, path, root, uid, digest = row
        return SentFile(Key(partition, path), Target(root, path, uid), digest)


def _inode(status: os.stat_result) -> bytes:
    return _INODE.pack(status.st_dev, status.st_ino)


def _record(index: Index | None, uid: int) -> tuple[int | None, bytes | None]:
    """Return what an index says of a message: its size and its SHA-1, None for what it does not say."""
    if index is None:
        return None, None
    number = bisect_left(index.uids, uid)
    if number == len(index.uids) or index.uids[number] != uid:
        return None, None
    return index.sizes[number], index.guid(number)
