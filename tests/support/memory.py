"""A place for trees that are made and thrown away by the hundred."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = "/dev/shm"


@contextmanager
def in_memory() -> Iterator[Path]:
    """A temporary directory, in memory where the machine has a file system there."""
    with tempfile.TemporaryDirectory(prefix="cyrsync-", dir=_MEMORY if os.path.isdir(_MEMORY) else None) as path:
        yield Path(path)
