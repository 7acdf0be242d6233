"""A place for trees that are made and thrown away by the hundred."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = "/dev/shm"


def directory(room: int) -> str | None:
    """Where nothing waits for a disk: in memory, if the machine has so many bytes free there, and runs programs."""
    try:
        found = os.statvfs(_MEMORY)
    except OSError:
        return None
    is_fit = found.f_bavail * found.f_frsize > room and not found.f_flag & os.ST_NOEXEC
    return _MEMORY if is_fit and os.access(_MEMORY, os.W_OK) else None


@contextmanager
def in_memory() -> Iterator[Path]:
    """A temporary directory, in memory where the machine has a file system there."""
    with tempfile.TemporaryDirectory(prefix="cyrsync-", dir=_MEMORY if os.path.isdir(_MEMORY) else None) as path:
        yield Path(path)
