"""What a file holds, told by its size and its SHA-1: one that has only grown elsewhere needs no more than its end.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import hashlib
import os
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.cyrus.mailbox import regular_file

if TYPE_CHECKING:
    from typing import Optional

_BLOCK = 1 << 20


class Beginning(NamedTuple):
    """The first so many bytes of a file, and their SHA-1 in hexadecimal."""

    size: int
    digest: str


def whole(path: bytes) -> "Optional[Beginning]":
    """Return what a file holds; None for what is no file, cannot be read, or is larger than any file of Cyrus's.

    Also None for a file that has other names: those are copies that are kept.
    """
    try:
        descriptor, status = regular_file.opened(path)
    except OSError:
        return None
    try:
        fits = 0 < status.st_size <= regular_file.LARGEST  # a sparse giant would be read for years
        return of(descriptor, status.st_size) if fits and status.st_nlink == 1 else None
    finally:
        os.close(descriptor)


def of(descriptor: int, size: int) -> "Optional[Beginning]":
    """Return the first so many bytes of a file that is open at its start; None where it has not so many."""
    digest, left = hashlib.sha1(), size
    try:
        while left:
            block = os.read(descriptor, min(left, _BLOCK))
            if not block:
                return None
            digest.update(block)
            left -= len(block)
    except OSError:
        return None
    return Beginning(size, digest.hexdigest())
