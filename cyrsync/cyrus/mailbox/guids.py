"""The GUIDs in a cyrus.index: which messages are which, without all of the index in memory.

No lock is taken: what a record says of these two never changes. Whoever uses them proves them.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import os
import struct
from typing import TYPE_CHECKING

from cyrsync.cyrus.mailbox import records, regular_file
from cyrsync.cyrus.mailbox.index import READ_SIZE

if TYPE_CHECKING:
    from typing import Iterator

_BLOCK = 1 << 20


def read(path: bytes) -> "Iterator[tuple[int, bytes]]":
    """Yield UID and SHA-1 of every record of an index, UNKNOWN_GUID where it is not known; nothing of a damaged one.

    Raise OSError.
    """
    descriptor, status = regular_file.opened(path)
    try:
        if status.st_size > regular_file.LARGEST:
            return
        regular_file.refuse_holes(descriptor, status.st_size)
        try:
            header = records.read_header(os.pread(descriptor, READ_SIZE, 0))
        except records.BadIndex:
            return
        if header.minor_version < records.FIRST_WITH_GUID:
            return
        size, at = header.record_size, header.start_offset
        rest = size - records.GUID_AT - records.GUID_SIZE
        cells = struct.Struct(">I{}x{}s{}x".format(records.GUID_AT - 4, records.GUID_SIZE, rest))
        end = at + header.num_records * size
        while at < end:
            data = os.pread(descriptor, min(end - at, _BLOCK // size * size), at)
            data = data[: len(data) // size * size]
            if not data:
                return
            for uid, guid in cells.iter_unpack(data):
                yield uid, guid
            at += len(data)
    finally:
        os.close(descriptor)
