"""Directories of our own: emptied, and removed, however deep somebody else's names have made them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

#: How such a directory is opened.
OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(directory: Path) -> None:
    """Remove a directory of ours with all that is in it, as far as that can be done."""
    with suppress(OSError):
        descriptor = os.open(directory, OPEN)
        try:
            empty(descriptor)
        finally:
            os.close(descriptor)
        os.rmdir(directory)


def empty(directory: int) -> None:
    """Remove all that is in an open directory of ours, however deep, with two descriptors. Raise OSError."""
    number = 0
    while names := os.listdir(directory):
        for name in names:
            if _unlinked(name, directory):
                continue
            below = os.open(name, OPEN, dir_fd=directory)
            try:
                os.fchmod(below, 0o700)  # it looks like its original
                for inner in os.listdir(below):
                    if not _unlinked(inner, below):
                        os.chmod(inner, 0o700, dir_fd=below)
                        number += 1
                        os.rename(inner, f"{number}.{os.urandom(6).hex()}", src_dir_fd=below, dst_dir_fd=directory)
            finally:
                os.close(below)
            os.rmdir(name, dir_fd=directory)


def _unlinked(name: str, directory: int) -> bool:
    """Remove what is no directory, and tell whether it was none."""
    try:
        os.unlink(name, dir_fd=directory)
    except IsADirectoryError:
        return False
    return True
