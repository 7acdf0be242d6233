"""What tells that a cache has only grown: its generation, and the last bytes that it had before.

The first four bytes of `cyrus.cache` are the generation of the index that it belongs to. Cyrus only appends to a cache;
what removes records of it makes another one, of the next generation (imap/mailbox.c, mailbox_repack).

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import hashlib
import os
from typing import NamedTuple

_GENERATION, _END = 4, 4096
#: Characters of a sample.
LENGTH = 40


class Cache(NamedTuple):
    """What a cache was when it was sent: size in bytes, modification time in nanoseconds, and a sample."""

    size: int
    mtime: int
    sample: str


def sample(descriptor: int, size: int) -> str:
    """Return the SHA-1 of both, in hexadecimal, for the first so many bytes of an open cache. Raise OSError."""
    length = min(size, _END)
    seen = os.pread(descriptor, _GENERATION, 0) + os.pread(descriptor, length, size - length)
    return hashlib.sha1(seen).hexdigest()


def has_grown(old: Cache, descriptor: int, size: int) -> bool:
    """Tell whether an open cache of so many bytes is an old one, or that and more. Raise OSError."""
    return 0 < old.size <= size and sample(descriptor, old.size) == old.sample
