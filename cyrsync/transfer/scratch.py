"""Where metadata is staged: in memory where there is plenty, else beside the state.

To make and remove a directory for each changed mailbox takes a disk's file system longer than to read the mailbox.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: A file system in memory that every Linux has, and everybody may write to.
_MEMORY = Path("/dev/shm")
#: Bytes that must be free there: several times what is staged at once.
_PLENTY = 2 << 30


@contextmanager
def staging_directory(key: str, otherwise: Path) -> Iterator[Path]:
    """Give the directory to stage in for this pair of source and replica, and remove it in the end."""
    directory = _in_memory(key) or otherwise
    directory.mkdir(mode=0o700, exist_ok=True)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _in_memory(key: str) -> Path | None:
    """Make a directory that nobody else can look into; None where that can't be."""
    directory = _MEMORY / f"cyrsync-{os.geteuid()}-{key}"
    try:
        room = os.statvfs(_MEMORY)
        if room.f_bavail * room.f_frsize < _PLENTY:
            return None
        shutil.rmtree(directory, ignore_errors=True)  # what a killed run left
        directory.mkdir(mode=0o700)
    except OSError:
        return None
    return directory
