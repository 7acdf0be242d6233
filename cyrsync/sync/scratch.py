"""Where metadata is staged: in memory where there is plenty, else beside the state.

To make and remove a directory for each changed mailbox takes a disk's file system longer than to read the mailbox.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cyrsync.ends.own_directory import OPEN, empty, remove_tree
from cyrsync.sync.extended import NO_KINDS, Kinds

#: A file system in memory that every Linux has, and everybody may write to.
_MEMORY = Path("/dev/shm")
#: Bytes that must be free there: several times what is staged at once.
_PLENTY = 2 << 30
#: So often another run may clean up our new directory before we hold it.
_TRIES = 10


@contextmanager
def staging_directory(state: Path, key: str, otherwise: Path, kinds: Kinds = NO_KINDS) -> Iterator[Path]:
    """Give the directory to stage in for this pair of source and replica, and remove it in the end.

    It is ours and nobody else can look into it. `otherwise` is used where the memory has no room, or does not keep
    attributes of these `kinds`.
    """
    memory = _usable_memory()
    held = _make(memory, state, key) if memory else None
    if held and kinds and not kinds.can_be_staged(held[1]):
        remove_tree(held[0])
        os.close(held[1])
        held = None
    if held is None:
        otherwise.mkdir(mode=0o700)
        try:
            yield otherwise
        finally:
            remove_tree(otherwise)
        return
    directory, descriptor = held
    try:
        yield directory
    finally:
        remove_tree(directory)
        os.close(descriptor)


def _usable_memory() -> Path | None:
    """Return a directory in memory with room, where nobody can rename another user's files; None if there is none."""
    try:
        room, status = os.statvfs(_MEMORY), os.stat(_MEMORY)
    except OSError:
        return None
    ours_alone = status.st_uid in (0, os.geteuid()) and (
        status.st_mode & stat.S_ISVTX or not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )
    return _MEMORY if ours_alone and room.f_bavail * room.f_frsize >= _PLENTY else None


def _make(memory: Path, state: Path, key: str) -> tuple[Path, int] | None:
    """Make a directory that is held until its descriptor is closed; None where that can't be.

    Its name has a random end, so that nobody can be there first, and it is locked, so that it can be told from one
    that a killed run has left.
    """
    ours = f"cyrsync-staging-{os.geteuid()}-"
    pair = hashlib.sha256(os.fsencode(state.resolve()) + b"\0" + key.encode()).hexdigest()[:20]
    try:
        _remove_leftovers(memory, ours)
        for _ in range(_TRIES):
            directory = Path(tempfile.mkdtemp(prefix=f"{ours}{pair}-", dir=memory))
            with suppress(FileNotFoundError):
                descriptor = os.open(directory, OPEN)
                if _is_held(descriptor):
                    return directory, descriptor
                os.close(descriptor)
    except OSError:
        pass
    return None


def _remove_leftovers(memory: Path, ours: str) -> None:
    """Remove what killed runs of this user have left, of any pair."""
    for name in os.listdir(memory):
        if not name.startswith(ours):
            continue
        with suppress(OSError):
            descriptor = os.open(memory / name, OPEN)
            try:
                if os.fstat(descriptor).st_uid == os.geteuid() and _is_held(descriptor):
                    empty(descriptor)
                    os.rmdir(memory / name)
            finally:
                os.close(descriptor)


def _is_held(descriptor: int) -> bool:
    """Lock a directory for as long as it is open, and tell whether we have it and it is still there."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(descriptor).st_nlink > 0
