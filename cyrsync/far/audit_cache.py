"""Whether `cyrus.cache` reaches as far as its index says.

Its first four bytes are the generation of the index that it belongs to. A record is ten items: each a length of four
bytes, so many bytes, and padding to a multiple of four (imap/mailbox.h, NUM_CACHE_FIELDS). One of another generation is
no harm: Cyrus makes it again.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import os
import struct
from itertools import compress
from typing import TYPE_CHECKING

from cyrsync.cyrus.mailbox import regular_file

if TYPE_CHECKING:
    from cyrsync.cyrus.mailbox.records import Index

_ITEMS = 10
_LENGTH = struct.Struct(">I")


def is_too_short(path: bytes, index: "Index") -> bool:
    """Tell whether a cache ends before what its index refers to does; False where there is none. Raise OSError."""
    offsets = index.cache_offsets()
    last = max(compress(offsets, map(_has_record, index.unlinked, index.archived)), default=0)
    try:
        descriptor, status = regular_file.opened(path)
    except FileNotFoundError:
        return False
    try:
        start = os.pread(descriptor, _LENGTH.size, 0)
        if len(start) < _LENGTH.size:
            return len(index) > 0
        if _LENGTH.unpack(start)[0] != index.header.generation:
            return False
        return last > 0 and _end_of_record(descriptor, last) > status.st_size
    finally:
        os.close(descriptor)


def _has_record(unlinked: int, archived: int) -> bool:
    return not (unlinked or archived)


def _end_of_record(descriptor: int, at: int) -> int:
    """Return where a record ends, or would."""
    for _ in range(_ITEMS):
        length = os.pread(descriptor, _LENGTH.size, at)
        if len(length) < _LENGTH.size:
            return at + _LENGTH.size
        at += _LENGTH.size + (_LENGTH.unpack(length)[0] + 3) // 4 * 4
    return at
