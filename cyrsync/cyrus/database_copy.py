"""A copy of one of Cyrus's files as it is at one moment, while Cyrus goes on.

How it is written decides (by its first bytes, as Cyrus itself tells databases apart): skiplist, twoskip and twom are
changed in place under a lock on the file; SQLite has locks of its own, and a way to copy; all others are replaced by
rename, and whoever has one open has a whole one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import BinaryIO
from urllib.parse import quote

from cyrsync.cyrus import locks
from cyrsync.cyrus.db import skiplist, twom, twoskip
from cyrsync.cyrus.db.reader import is_berkeley

_LOCKED = (skiplist.MAGIC, twoskip.MAGIC, twom.MAGIC)
_SQLITE = b"SQLite format 3\0"
#: Byte 18 of an SQLite file that has its changes in another file: Cyrus makes none.
_WAL = 2
_START = 32
_BLOCK = 1 << 20


class CopyError(Exception):
    """Why a file cannot be copied as it is at one moment; in one line."""


def copy(path: bytes, to: bytes, patience: float = 5.0) -> tuple[os.stat_result, bytes]:
    """Write a copy to a new file `to`, and return how the original looked and what tells two copies apart.

    A symbolic link is copied as such. Raise CopyError or OSError.
    """
    if os.path.islink(path):
        os.symlink(os.readlink(path), to)
        return os.lstat(path), os.readlink(path)
    with open(path, "rb") as file:
        start = file.read(_START)
    if start.startswith(_SQLITE):
        return _copy_sqlite(path, to, start, patience)
    if is_berkeley(start):
        raise CopyError("Berkeley databases cannot be copied while Cyrus runs: convert it with cvt_cyrusdb")
    try:
        with _opened(path, patience if start.startswith(_LOCKED) else None) as descriptor:
            return os.fstat(descriptor), _written(descriptor, to)
    except locks.LockTimeout:
        raise CopyError(f"locked by a writer for {patience:g} seconds") from None


@contextmanager
def _opened(path: bytes, patience: float | None) -> Iterator[int]:
    """Open a file for reading; with `patience`, under a shared lock."""
    if patience is not None:
        with locks.shared(path, patience) as (descriptor, _):
            yield descriptor
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _written(descriptor: int, to: bytes) -> bytes:
    digest = hashlib.sha1(usedforsecurity=False)
    with open(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        while block := os.read(descriptor, _BLOCK):
            digest.update(block)
            file.write(block)
    return digest.digest()


def _copy_sqlite(path: bytes, to: bytes, start: bytes, patience: float) -> tuple[os.stat_result, bytes]:
    if start[18] == _WAL:
        raise CopyError("an SQLite database in WAL mode: reading it would write beside it")
    status = os.stat(path)
    try:
        _backup(path, to, patience)
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise CopyError(f"{error} for {patience:g} seconds") from None
        # A server that died has left a transaction half done: the copy is where it is rolled back.
        for suffix in (b"", b"-journal"):
            if os.path.exists(path + suffix):
                shutil.copyfile(path + suffix, to + suffix)
        _recover(to)
    except sqlite3.DatabaseError as error:
        raise CopyError(str(error)) from None
    with open(to, "rb") as file:
        return status, _digest(file)


def _backup(path: bytes, to: bytes, patience: float) -> None:
    uri = f"file:{quote(path)}?mode=ro"
    with (
        closing(sqlite3.connect(uri, uri=True, timeout=patience)) as source,
        closing(sqlite3.connect(os.fsdecode(to))) as target,
    ):
        source.backup(target)


def _recover(path: bytes) -> None:
    """Have SQLite make a whole database of a copy with its journal."""
    try:
        with closing(sqlite3.connect(os.fsdecode(path))) as database:
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        raise CopyError(str(error)) from None


def _digest(file: BinaryIO) -> bytes:
    digest = hashlib.sha1(usedforsecurity=False)
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.digest()
