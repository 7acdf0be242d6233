"""What a record of an index says beyond UID, GUID and flags: when its message arrived, and when it last changed.

Times are seconds since 1970; from minor version 20 on the file has nanoseconds (imap/mailbox.h, OFFSET_*).

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyrsync.cyrus.mailbox.records import Index

_NANO = 10**9
_FIRST_WITH_NANO = 20


def internal_dates(index: "Index") -> "array[int]":
    """Return the INTERNALDATE of every message."""
    return _times(index, 4, 8)


def last_changes(index: "Index") -> "array[int]":
    """Return when every record was last written: of an expunged message, when it was expunged."""
    return _times(index, 28, 112)


def _times(index: "Index", old: int, new: int) -> "array[int]":
    """Return a time of every record, which stands at `old` in four bytes, or at `new` in eight."""
    if index.header.minor_version < _FIRST_WITH_NANO:
        return index.column(old, 4)
    return array("Q", [time // _NANO for time in index.column(new, 8)])
