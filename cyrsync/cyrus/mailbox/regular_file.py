"""Opening and reading files in places where somebody else may have put something else.

A FIFO holds nobody up, a link leads nowhere, and a file whose size is made up (a sparse one) does not fill the memory.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Bytes that are read of any file of Cyrus's that is read as a whole; an index of 20 million messages is smaller.
LARGEST = 4 << 30
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_BLOCK = 1 << 20
_PAGE = bytes(4096)
#: Bytes from which on a file is looked through for holes before it is read, and of holes that no file has more of than
#: of contents: databases are lengthened before they are filled.
_LARGE = 16 << 20


def opened(path: bytes, follow: bool = False) -> "tuple[int, os.stat_result]":
    """Open a file for reading, and return its descriptor and how it looks; `follow` a link where people put them.

    Raise OSError, also for what is no regular file.
    """
    descriptor = os.open(path, _FLAGS if follow else _FLAGS | os.O_NOFOLLOW)
    try:
        return descriptor, check(descriptor, path)
    except BaseException:
        os.close(descriptor)
        raise


def check(descriptor: int, path: bytes) -> os.stat_result:
    """Return how an open file looks. Raise OSError if it is no regular file."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        number = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL
        raise OSError(number, "no regular file" if number == errno.EINVAL else os.strerror(number), path)
    return status


def ensure(path: bytes) -> None:
    """Make an empty file for us alone where there is none. Raise OSError, also for what is no regular file."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        check(descriptor, path)
    finally:
        os.close(descriptor)


def read(path: bytes, most: int = LARGEST, follow: bool = False) -> bytes:
    """Return the whole of a file. Raise OSError, also for what is no regular file, or has more than `most` bytes."""
    descriptor, _ = opened(path, follow)
    try:
        return contents(descriptor, most)
    finally:
        os.close(descriptor)


def start(path: bytes, size: int, follow: bool = False) -> bytes:
    """Return the first bytes of a file. Raise OSError, also for what is no regular file."""
    descriptor, _ = opened(path, follow)
    try:
        return os.read(descriptor, size)
    finally:
        os.close(descriptor)


def contents(descriptor: int, most: int = LARGEST) -> bytes:
    """Return the whole of a regular file that is open at its start. Raise OSError where it is too much to read."""
    size = os.fstat(descriptor).st_size
    if size > most:
        raise OSError(errno.EFBIG, f"{size} bytes are too many to be right")
    refuse_holes(descriptor, size)
    parts = []
    try:
        part = os.read(descriptor, max(size, 1))
        while part:
            parts.append(part)
            part = os.read(descriptor, _BLOCK)
        return b"".join(parts)
    except MemoryError:
        raise OSError(errno.ENOMEM, f"{size} bytes are more than there is memory for") from None


def refuse_holes(descriptor: int, size: int) -> None:
    """Raise OSError for a file of this size, open at its start, that is holes for the most part."""
    if size <= _LARGE:
        return
    for _ in blocks(descriptor):
        pass
    os.lseek(descriptor, 0, os.SEEK_SET)


def blocks(descriptor: int) -> "Iterator[bytes]":
    """Yield the bytes of a file that is open at its start. Raise OSError, also where it is holes for the most part."""
    size = os.fstat(descriptor).st_size
    holes = filled = 0
    block = os.read(descriptor, _BLOCK)
    while block:
        starts = range(0, len(block), len(_PAGE))
        # Most blocks have so many zeros nowhere, which takes less time to see than to take each page out.
        empty = [block[at : at + len(_PAGE)] for at in starts].count(_PAGE) if _PAGE in block else 0
        holes, filled = holes + empty, filled + len(starts) - empty
        if (holes - filled) * len(_PAGE) > _LARGE:
            raise OSError(errno.EFBIG, f"{size} bytes, and holes for the most part")
        yield block
        block = os.read(descriptor, _BLOCK)
