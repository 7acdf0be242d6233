"""Reading a database of Cyrus as it is at one moment, whatever its engine, while Cyrus goes on.

A shared lock on the whole file, as Cyrus takes it (lib/cyr_lock_fcntl.c, lock_shared): its readers go on, its writers
wait until the file is in memory. The engine is told by the first bytes (lib/cyrusdb.c, cyrusdb_detect): what the
configuration names is only what a new database would get.
"""

import os
import shlex
import stat
import struct
import time
from typing import TYPE_CHECKING

from cyrsync.cyrus.mailbox import locks
from cyrsync.cyrus.server.db import flat, skiplist, twom, twoskip
from cyrsync.cyrus.server.db.error import BusyDb, DbError, UnsupportedDb

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Without locks, two readings that agree, and the engine's checks, must be enough; so many readings are made.
_READINGS = 6
_PAUSE = 0.02  # seconds between two of them
_SQLITE = b"SQLite format 3\0"
#: Berkeley's btree and hash, at byte 12 and in the byte order of the machine that wrote it [up to 2.5].
_BERKELEY = {
    struct.pack(order + "I", magic): name
    for order in "<>"
    for magic, name in ((0x053162, "berkeley"), (0x061561, "berkeley-hash"))
}


def read(path: bytes, patience: float = 5.0) -> "list[tuple[bytes, bytes]]":
    """Return all pairs of the database, sorted by key. Raises what `stable` and `records` do."""
    return records(stable(path, patience)[0], path)


def records(data: bytes, path: bytes) -> "list[tuple[bytes, bytes]]":
    """Return all pairs of a database that was read from `path`, sorted by key.

    Raises DbError when it is damaged, UnsupportedDb when it is of a kind that is not read here.
    """
    try:
        return list(_records(data, path))
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
    engine = berkeley(data)
    if engine:
        name = os.fsdecode(path)
        command = "cvt_cyrusdb {} {} {} flat".format(shlex.quote(name), engine, shlex.quote(name + ".flat"))
        raise UnsupportedDb("Berkeley databases are not read; convert it: " + command)
    if not data:
        # A list of subscriptions may be empty; but so is any database that something emptied.
        raise DbError("the file is empty")
    return flat.records(data)


def berkeley(data: bytes) -> str:
    """Return what Cyrus calls the engine of a Berkeley database that begins so, "" for all other files."""
    return _BERKELEY.get(data[12:16], "")


def stable(path: bytes, patience: float = 5.0) -> "tuple[bytes, os.stat_result]":
    """Return the bytes of the file as they were at one moment, and how it looked.

    Raises UnsupportedDb for what is no file, BusyDb when it stayed locked for `patience` seconds, and OSError when
    there is no such file, or no permission.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        reason = "a directory: zeroskip databases are not read" if stat.S_ISDIR(mode) else "no regular file"
        raise UnsupportedDb(reason, path=path)
    before = None
    for _ in range(_READINGS):
        try:
            # A database may be a symlink to where there is room.
            with locks.shared(os.path.realpath(path), patience) as (descriptor, locked):
                data, status = locks.read_all(descriptor), os.fstat(descriptor)
        except locks.LockTimeout:
            raise BusyDb(f"locked by a writer for {patience:g} seconds", path=path) from None
        if locked or data == before:
            return data, status
        before = data
        time.sleep(_PAUSE)
    raise BusyDb("the file cannot be locked, and changes again and again", path=path)
