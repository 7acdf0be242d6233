"""The header of `cyrus.index`: UIDVALIDITY and the last UID, minor versions 6 to 20.

All integers are big-endian, four bytes. `last_uid` and `uidvalidity` stand at 28 and 44 up to minor
version 19, at 88 and 92 in 20; from 12 on the last four bytes of the header are the CRC-32 of all
before (imap/mailbox.h, OFFSET_*). All that the file holds is read by cyrus.records.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import struct
import zlib
from typing import NamedTuple

#: Bytes that hold the longest header (minor version 20: 192).
READ_SIZE = 192
#: Minor version: bytes of the header. There is no other version that anyone can have (11 never left Fastmail).
HEADER_SIZES = {6: 76, 7: 76, 8: 92, 9: 96, 10: 96, 12: 128, 13: 128}
HEADER_SIZES.update({14: 160, 15: 160, 16: 160, 17: 160, 18: 160, 19: 160, 20: 192})
#: From this minor version on the header and each record end in a CRC-32 of all before.
FIRST_WITH_CRC = 12
FIRST_WITH_MODSEQ = 8

_HEADER_FILE_CRC_AT = 96

IndexHead = NamedTuple("IndexHead", [("uidvalidity", int), ("last_uid", int)])


def head(data: bytes) -> "IndexHead | None":
    """Return what the first READ_SIZE bytes of a cyrus.index say, or None when they can't be trusted.

    None for an unknown minor version, a short or torn header, or a wrong CRC.
    """
    if len(data) < 20:
        return None
    minor, start_offset, record_size = struct.unpack_from(">III", data, 8)
    size = HEADER_SIZES.get(minor)
    if size is None or start_offset != size or record_size == 0 or len(data) < size:
        return None
    if minor >= FIRST_WITH_CRC and zlib.crc32(data[: size - 4]) != struct.unpack_from(">I", data, size - 4)[0]:
        return None
    last_uid_at, uidvalidity_at = (88, 92) if minor >= 20 else (28, 44)
    uidvalidity = struct.unpack_from(">I", data, uidvalidity_at)[0]
    return IndexHead(uidvalidity, struct.unpack_from(">I", data, last_uid_at)[0]) if uidvalidity else None


def highest_modseq(data: bytes) -> int:
    """Return the highest modseq that the first READ_SIZE bytes of a cyrus.index name, 0 where there is none.

    It stands at 68 from minor version 8 on, at 72 from 19 on (imap/mailbox.h, OFFSET_HIGHESTMODSEQ).
    """
    minor = struct.unpack_from(">I", data, 8)[0] if head(data) else 0
    if minor < FIRST_WITH_MODSEQ:
        return 0
    return int(struct.unpack_from(">Q", data, 72 if minor >= 19 else 68)[0])


def with_header_file(data: bytes, old: bytes, new: bytes) -> "bytes | None":
    """Return an index, or its first READ_SIZE bytes, that has the CRC-32 of `new` where it had that of `old`.

    Both are a whole cyrus.header. None where the index has no such CRC, or another one.
    """
    minor = struct.unpack_from(">I", data, 8)[0] if head(data[:READ_SIZE]) else 0
    if minor < FIRST_WITH_CRC:
        return None
    if struct.unpack_from(">I", data, _HEADER_FILE_CRC_AT)[0] != zlib.crc32(old):
        return None
    found, end = bytearray(data), HEADER_SIZES[minor] - 4
    struct.pack_into(">I", found, _HEADER_FILE_CRC_AT, zlib.crc32(new))
    struct.pack_into(">I", found, end, zlib.crc32(found[:end]))
    return bytes(found)
