"""Reading a database of Cyrus as it is at one moment, whatever its engine, while Cyrus goes on.

A shared lock on the whole file, as Cyrus takes it (lib/cyr_lock_fcntl.c, lock_shared): its readers go on, its writers
wait until the file is in memory. The engine is told by the first bytes (lib/cyrusdb.c, cyrusdb_detect): what the
configuration names is only what a new database would get.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import errno
import fcntl
import os
import shlex
import stat
import struct
import sys
import time
from typing import TYPE_CHECKING

from cyrsync.cyrus.db import flat, skiplist, twom, twoskip
from cyrsync.cyrus.db.error import BusyDb, DbError, UnsupportedDb

if TYPE_CHECKING:
    from collections.abc import Iterator

#: F_OFD_SETLK of Linux 3.15 and newer. Such a lock is the descriptor's, not the process's: no other descriptor of
#: the file takes it away when it is closed. The fcntl module names it only from 3.9 on.
_OFD_SETLK = 37
_FLOCK = struct.pack("hhqqi", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0) + bytes(8)
_PAUSE = 0.02  # seconds between two looks at a lock that somebody else holds
#: Where no lock is to be had, two readings that agree have to do, and the engine's checks; so many more are made.
_READINGS = 6
_SQLITE = b"SQLite format 3\0"
#: Berkeley's btree and hash, at byte 12 and in the byte order of the machine that wrote it [up to 2.5].
_BERKELEY = {
    struct.pack(order + "I", magic): name
    for order in "<>"
    for magic, name in ((0x053162, "berkeley"), (0x061561, "berkeley-hash"))
}


def read(path: bytes, patience: float = 5.0) -> "list[tuple[bytes, bytes]]":
    """Return all pairs of the database, sorted by key.

    Raises DbError when it is damaged, UnsupportedDb when it is of a kind that is not read here, BusyDb when it stayed
    locked for `patience` seconds, and OSError when there is no such file, or no permission.
    """
    try:
        return list(_records(_stable(path, time.monotonic() + patience), path))
    except DbError as error:
        error.path = path
        raise


def _records(data: bytes, path: bytes) -> "Iterator[tuple[bytes, bytes]]":
    if data.startswith(skiplist.MAGIC):
        return skiplist.records(data)
    if data.startswith(twoskip.MAGIC):
        return twoskip.records(data)
    if data.startswith(twom.MAGIC):
        return twom.records(data)
    if data.startswith(_SQLITE):
        raise UnsupportedDb("SQLite databases are not read")
    if data[12:16] in _BERKELEY:
        name, engine = os.fsdecode(path), _BERKELEY[data[12:16]]
        command = "cvt_cyrusdb {} {} {} flat".format(shlex.quote(name), engine, shlex.quote(name + ".flat"))
        raise UnsupportedDb("Berkeley databases are not read; convert it: " + command)
    if not data:
        # A list of subscriptions may be empty; but so is any database that something emptied.
        raise DbError("the file is empty")
    return flat.records(data)


def _stable(path: bytes, deadline: float) -> bytes:
    """Return the bytes of the file as they were at one moment."""
    if os.path.isdir(path):
        raise UnsupportedDb("a directory: zeroskip databases are not read")
    data, locked = _snapshot(path, deadline)
    for _ in range(_READINGS):
        if locked:
            return data
        time.sleep(_PAUSE)
        again, locked = _snapshot(path, deadline)
        if again == data:
            return data
        data = again
    raise BusyDb("the file cannot be locked, and changes again and again")


def _snapshot(path: bytes, deadline: float) -> "tuple[bytes, bool]":
    """Return the bytes of the file at this path, and whether they were read under a lock."""
    while True:
        # Not to hang where a FIFO stands.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise UnsupportedDb("no regular file")
            locked = _lock(fd, deadline)
            if _same(path, status):
                data = file.read()
                # A skiplist that was replaced is emptied [2.4+]; unlocked, that may happen now.
                if locked or _same(path, status):
                    return data, locked
        if time.monotonic() > deadline:
            raise BusyDb("the file is replaced again and again")


def _same(path: bytes, status: os.stat_result) -> bool:
    """Tell whether the path still leads to the file that was opened: changed databases are renamed into place."""
    now = os.stat(path)
    return (now.st_dev, now.st_ino) == (status.st_dev, status.st_ino)


def _lock(fd: int, deadline: float) -> bool:
    """Take a shared lock on the whole file; False where the file system has none. Closing the file gives it up."""
    while True:
        try:
            _try_lock(fd)
            return True
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES, errno.EINTR):
                return False
        if time.monotonic() > deadline:
            raise BusyDb("somebody else keeps it locked")
        time.sleep(_PAUSE)


def _try_lock(fd: int) -> None:
    if sys.platform.startswith("linux"):
        try:
            fcntl.fcntl(fd, _OFD_SETLK, _FLOCK)
            return
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
    fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
