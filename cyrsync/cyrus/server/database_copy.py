"""A copy of one of Cyrus's files as it is at one moment, while Cyrus goes on.

How it is written decides (by its first bytes, as Cyrus itself tells databases apart): skiplist, twoskip and twom are
changed in place under a lock on the file; SQLite has locks of its own, and a journal; all others are replaced by
rename, and whoever has one open has a whole one.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import BinaryIO, NamedTuple

from cyrsync.cyrus.mailbox import locks, regular_file
from cyrsync.cyrus.server.db import skiplist, twom, twoskip
from cyrsync.cyrus.server.db.reader import berkeley

_LOCKED = (skiplist.MAGIC, twoskip.MAGIC, twom.MAGIC)
_SQLITE = b"SQLite format 3\0"
#: Byte 18 of an SQLite file that has its changes in another file: Cyrus makes none.
_WAL = 2
#: The bytes that its readers lock (SHARED_FIRST and SHARED_SIZE of src/os.h): not those by which writers are known.
_SQLITE_READERS = (0x40000002, 510)
_START = 32
_BLOCK = 1 << 20


class CopyError(Exception):
    """Why a file cannot be copied as it is at one moment; in one line."""


class LockedCopyError(CopyError):
    """A writer kept the file locked for too long."""


class Copied(NamedTuple):
    """How the original looked, and what tells two copies apart."""

    status: os.stat_result
    digest: bytes
    shows: bool = True  # the original's size and times change whenever it does


def copy(path: bytes, to: bytes, patience: float = 5.0) -> Copied:
    """Write a copy to a new file `to`, in place of what is there.

    A symbolic link is copied as such. Raise CopyError or OSError.
    """
    for old in (to, to + b"-journal"):
        with suppress(FileNotFoundError):
            os.unlink(old)
    if os.path.islink(path):
        os.symlink(os.readlink(path), to)
        return Copied(os.lstat(path), os.readlink(path))
    start = regular_file.start(path, _START)
    engine = berkeley(start)
    if engine:
        name = os.fsdecode(path)
        command = f"cvt_cyrusdb {shlex.quote(name)} {engine} {shlex.quote(name + '.new')} skiplist"
        raise CopyError(f"Berkeley databases cannot be copied while Cyrus runs; convert it: {command}")
    try:
        if start.startswith(_SQLITE):
            return _copy_sqlite(path, to, start, patience)
        with _opened(path, patience if start.startswith(_LOCKED) else None) as (descriptor, is_still):
            # twom is written through memory: the times come late.
            copied = Copied(os.fstat(descriptor), _written(descriptor, to), not start.startswith(twom.MAGIC))
            if not is_still:
                _compare_again(descriptor, copied.digest)
            return copied
    except locks.LockTimeout:
        raise LockedCopyError(f"locked by a writer for {patience:g} seconds") from None


@contextmanager
def _opened(path: bytes, patience: float | None) -> Iterator[tuple[int, bool]]:
    """Open a file for reading, with `patience` under a shared lock; tell whether nobody changes it meanwhile."""
    if patience is not None:
        with locks.shared(path, patience) as opened:
            yield opened
        return
    descriptor, _ = regular_file.opened(path)
    try:
        yield descriptor, True
    finally:
        os.close(descriptor)


def _compare_again(descriptor: int, digest: bytes) -> None:
    """See that a file that could not be locked is still what was copied."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(os.dup(descriptor), "rb") as file:
        if _digest(file) != digest:
            raise CopyError("it cannot be locked, and has changed while it was read")


def _written(descriptor: int, to: bytes) -> bytes:
    regular_file.refuse_holes(descriptor, os.fstat(descriptor).st_size)
    digest = hashlib.sha1(usedforsecurity=False)
    with open(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
        while block := os.read(descriptor, _BLOCK):
            digest.update(block)
            file.write(block)
    return digest.digest()


def _copy_sqlite(path: bytes, to: bytes, start: bytes, patience: float) -> Copied:
    """Copy a database and its journal, and roll back in the copy what a server that died has left half done.

    It is locked as SQLite's own readers lock it: a writer that has begun may continue, but cannot write to the
    database. SQLite itself is not used for this: as root it would set the owner of the journal, even if it only reads.
    """
    if start[18] == _WAL:
        raise CopyError("an SQLite database in WAL mode: reading it would write beside it")
    with locks.shared(path, patience, _SQLITE_READERS) as (descriptor, is_still):
        status, digest = os.fstat(descriptor), _written(descriptor, to)
        with suppress(FileNotFoundError):
            journal, _ = regular_file.opened(path + b"-journal")
            try:
                _written(journal, to + b"-journal")
            finally:
                os.close(journal)
        if not is_still:
            _compare_again(descriptor, digest)
    if not os.path.exists(to + b"-journal"):
        return Copied(status, digest)
    try:
        with closing(sqlite3.connect(os.fsdecode(to))) as database:
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        raise CopyError(str(error)) from None
    with suppress(FileNotFoundError):
        os.unlink(to + b"-journal")
    with open(to, "rb") as file:
        return Copied(status, _digest(file))


def _digest(file: BinaryIO) -> bytes:
    digest = hashlib.sha1(usedforsecurity=False)
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.digest()
