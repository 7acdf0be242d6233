"""Some records of an index, behind its whole header: made an index of its own, which has only these. Pure."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from itertools import compress

from cyrsync.cyrus.mailbox import records
from cyrsync.cyrus.mailbox.index import FIRST_WITH_CRC

_COUNTS = {"answered": records.ANSWERED, "flagged": records.FLAGGED, "deleted": records.DELETED}


def of_uids(header: records.IndexHeader, area: bytes, uids: Iterable[int]) -> bytes:
    """Return the records of some UIDs, of whole records that stand alone."""
    there, size = records.uids_of(header, area), header.record_size
    return b"".join([area[at : at + size] for at in (there.index(uid) * size for uid in uids)])


def as_index(data: bytes) -> bytes:
    """Return the index that has the records there are, however many its header counts. Raise BadIndex."""
    header = records.read_header(data)
    start, size = header.start_offset, header.record_size
    number = (len(data) - start) // size
    found = bytearray(data[: start + number * size])
    struct.pack_into(">I", found, 20, number)
    if header.minor_version >= FIRST_WITH_CRC:
        index = records.alone(header, bytes(found[start:]))
        flags = list(compress(index.system_flags, index.live))
        counts = {name: sum(bool(one & bit) for one in flags) for name, bit in _COUNTS.items()}
        for name, count in {"exists": len(flags), **counts}.items():
            struct.pack_into(">I", found, records.places(header.minor_version)[name][0], count)
        struct.pack_into(">I", found, start - 4, zlib.crc32(found[: start - 4]))
    return bytes(found)
