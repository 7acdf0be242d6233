"""Cyrus's own locks, held shared for a moment: who holds one reads what no writer is changing.

Cyrus takes POSIX locks on whole files and looks afterwards whether the file it locked is still the one of that
name (lib/cyrus_lock.c, lock_reopen). Open file description locks (Linux 3.15) conflict with those as they should
and, other than POSIX locks, are not lost when another descriptor of the file is closed.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import errno
import fcntl
import os
import struct
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cyrsync.cyrus.mailbox import regular_file

if TYPE_CHECKING:
    from collections.abc import Iterator

#: fcntl(2); Python names it since 3.9.
_F_OFD_SETLK = 37
#: Start and length (0: to the end) of what is locked of a file.
WHOLE = (0, 0)
_HELD = (errno.EAGAIN, errno.EACCES)
#: What says that there are no locks here: a file system without them, or a lock server that is gone.
_NO_LOCKS = (errno.ENOLCK, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.02  # seconds between two tries


class LockTimeout(Exception):
    """A writer held the lock for longer than we wait."""

    def __init__(self, path: bytes, patience: float) -> None:
        self.reason = f"locked by a writer for {patience:g} seconds"
        super().__init__(f"{os.fsdecode(path)}: {self.reason}")
        self.path = path


def lock_shared(descriptor: int, path: bytes, patience: float, span: "tuple[int, int]" = WHOLE) -> bool:
    """Lock an open file shared; it ends with the descriptor. Return False where there are no locks to be had.

    Raise LockTimeout when a writer keeps it for longer than `patience` seconds.
    """
    deadline = time.monotonic() + patience
    pause = _FIRST_PAUSE
    # struct flock: type, whence, start, length, pid (0 for these locks).
    wanted = struct.pack("@hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, span[0], span[1], 0)
    while True:
        try:
            fcntl.fcntl(descriptor, _F_OFD_SETLK, wanted)
            return True
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return False
            if error.errno not in _HELD:
                raise
        if time.monotonic() + pause > deadline:
            raise LockTimeout(path, patience)
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


@contextmanager
def shared(path: bytes, patience: float, span: "tuple[int, int]" = WHOLE) -> "Iterator[tuple[int, bool]]":
    """Open a file for reading, lock it shared, and see that it still is the one of that name.

    Give its descriptor, and whether it is locked. Raise OSError, or LockTimeout after `patience` seconds.
    """
    deadline = time.monotonic() + patience
    while True:
        descriptor, status = regular_file.opened(path)
        try:
            locked = lock_shared(descriptor, path, patience, span)
            if _is_at(status, path):
                yield descriptor, locked
                return
        finally:
            os.close(descriptor)
        if time.monotonic() > deadline:
            raise LockTimeout(path, patience)


def read_all(descriptor: int) -> bytes:
    """Return the whole of an open file. Raise OSError where it is too much to be right."""
    return regular_file.contents(descriptor)


def _is_at(ours: os.stat_result, path: bytes) -> bool:
    """Tell whether the open file is still the one of that name: a writer may have renamed another one over it."""
    named = os.stat(path)
    return (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino)
