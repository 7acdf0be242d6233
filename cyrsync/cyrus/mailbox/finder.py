"""One record of a `cyrus.index`, found by its UID without reading the others. What the fields are, `records` says.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

from typing import TYPE_CHECKING, NamedTuple

from cyrsync.cyrus.mailbox import records
from cyrsync.cyrus.mailbox.index import READ_SIZE

if TYPE_CHECKING:
    from typing import Callable, Optional

_LONGEST_RECORD = 1 << 12  # bytes


class Record(NamedTuple):
    """Of a message, the size of its file in bytes, and its SHA-1, None where that is not known."""

    size: int
    guid: "Optional[bytes]"


class Finder:
    """Looks records up in an index, whose bytes `read` returns: so many, from an offset on."""

    def __init__(self, read: "Callable[[int, int], bytes]") -> None:
        """Raise BadIndex for what is none, OSError."""
        self._read = read
        self.header = records.read_header(read(0, READ_SIZE))
        if self.header.record_size > _LONGEST_RECORD:
            raise records.BadIndex(16, "records too long to be right")

    def find(self, uid: int) -> "Optional[Record]":
        """Return what the index says of a message, None for nothing. Raise BadIndex, OSError."""
        low, high = 0, self.header.num_records
        while low < high:
            middle = (low + high) // 2
            record = self._record(middle)
            found = int.from_bytes(record[:4], "big")
            if found == uid:
                index = records.Index(self.header._replace(num_records=1, start_offset=0), memoryview(record))
                return Record(index.sizes[0], index.guid(0))
            if found < uid:
                low = middle + 1
            else:
                high = middle
        return None

    def _record(self, number: int) -> bytes:
        at, size = self.header.start_offset + number * self.header.record_size, self.header.record_size
        record = self._read(at, size)
        if len(record) < size:
            raise records.BadIndex(at, "torn")
        return record
