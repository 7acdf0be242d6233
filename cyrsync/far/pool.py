"""The pool: messages that a replica would have deleted, by their SHA-1. They are moved there, never copied.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import hashlib
import os
from typing import TYPE_CHECKING

from cyrsync.cyrus.mailbox.finder import Finder
from cyrsync.cyrus.mailbox.index import FIRST_WITH_CRC
from cyrsync.far import store
from cyrsync.far.store import Store

if TYPE_CHECKING:
    from typing import Optional

    from cyrsync.far.keep import Keeper

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_BLOCK = 1 << 20


class Pool:
    """The pool below one root. `states` keeps the states of the mailboxes, perhaps below another root."""

    def __init__(self, root: bytes, states: "Keeper") -> None:
        self._store = Store(root)
        self._states = states
        self._path = None  # type: Optional[bytes]  # of the mailbox that was asked for last
        self._finder = None  # type: Optional[Finder]  # of its newest state's index
        self._opened = {}  # type: dict[bytes, int]  # directories of the pool, which has no more than 256

    def __del__(self) -> None:
        for descriptor in self._opened.values():
            os.close(descriptor)

    def take(self, folder: int, path: bytes, name: bytes, home: "Optional[int]") -> None:
        """Move a message into the pool: file `name` of an open folder, whose path below its root is `path`.

        `home` is the open folder that has the mailbox's index, None where there is none any more. Raise OSError,
        FileNotFoundError where the message is not there.
        """
        size = os.lstat(name, dir_fd=folder).st_size
        finder, uid = self._finder_of(path, home), int(name[:-1])
        record = finder.find(uid) if finder else None
        if record and record.guid and record.size == size:
            digest = record.guid
        else:
            digest = _digest(name, folder)
            if finder and (record or finder.header.minor_version < FIRST_WITH_CRC):
                # No record tells what it is called. (Up to 2.3, what is expunged has its record in cyrus.expunge.)
                self._states.note_digest(path, finder.header.uidvalidity, uid, digest)
        self._put(folder, name, digest)

    def _finder_of(self, path: bytes, home: "Optional[int]") -> "Optional[Finder]":
        if path != self._path:
            self._path, self._finder = path, self._states.newest(home, path)
        return self._finder

    def _put(self, folder: int, name: bytes, digest: bytes) -> None:
        text = digest.hex().encode("ascii")
        pool = self._opened.get(text[:2])
        if pool is None:
            pool = self._opened[text[:2]] = self._store.open(store.MESSAGES, text[:2])
        if not store.is_there(text, pool):
            os.rename(name, text, src_dir_fd=folder, dst_dir_fd=pool)
        elif _is_same(os.lstat(text, dir_fd=pool), os.lstat(name, dir_fd=folder)):
            os.unlink(name, dir_fd=folder)  # a rename would leave it
        elif _digest(name, folder) == digest:
            os.rename(name, text, src_dir_fd=folder, dst_dir_fd=pool)
        else:
            self._put(folder, name, _digest(name, folder))  # one of the two is damaged: both are kept


def _is_same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _digest(name: bytes, folder: int) -> bytes:
    descriptor = os.open(name, _FILE, dir_fd=folder)
    try:
        digest = hashlib.sha1()
        block = os.read(descriptor, _BLOCK)
        while block:
            digest.update(block)
            block = os.read(descriptor, _BLOCK)
        return digest.digest()
    finally:
        os.close(descriptor)
