"""Directories in each other, more of them than Python calls itself or than a path can have."""

from __future__ import annotations

import os
from pathlib import Path


def dig(top: Path, levels: int) -> int:
    """Make so many directories `d`, each in the one before; return a descriptor of the last."""
    above = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=above)
        below = os.open("d", os.O_RDONLY, dir_fd=above)
        os.close(above)
        above = below
    return above
