"""`cyrus.index` of minor version 17 (Cyrus 3.3 to 3.8), in memory: what samplespool writes, and tests change."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

HEADER_SIZE, RECORD_SIZE = 160, 112
# uid internaldate sentdate size header_size gmtime cache_offset last_updated system_flags | user_flags |
# savedate cache_version | guid | modseq cid createdmodseq cache_crc
RECORD = struct.Struct(">9I16s2I20s3QI")
FLAGS_AT, MODSEQ_AT, RECORD_CRC_AT = 32, 80, 108
ANSWERED, FLAGGED, DELETED, SEEN = 1 << 0, 1 << 1, 1 << 2, 1 << 4
EXPUNGED, UNLINKED = 1 << 31, 1 << 30
GONE = EXPUNGED | UNLINKED  # expunged, and its file unlinked: the record stays until the next repack


def read_index(folder: Path) -> bytearray:
    """Return the bytes of a folder's index, to be changed."""
    return bytearray((folder / "cyrus.index").read_bytes())


def write_index(folder: Path, index: bytearray, modseq: int) -> None:
    """Bring the header's counts and checksum up to date, and write the file in place."""
    flags = [get(index, at + FLAGS_AT) for at in live_records(index)]
    counts = (sum(bool(value & flag) for value in flags) for flag in (DELETED, ANSWERED, FLAGGED))
    struct.pack_into(">3I", index, 48, *counts)
    struct.pack_into(">Q", index, 68, max(modseq, 1))
    struct.pack_into(">I", index, 84, len(flags))
    struct.pack_into(">I", index, 124, sum(not value & SEEN for value in flags))
    struct.pack_into(">I", index, HEADER_SIZE - 4, zlib.crc32(index[: HEADER_SIZE - 4]))
    with open(folder / "cyrus.index", "r+b") as stream:
        stream.write(index)


def live_records(index: bytearray) -> list[int]:
    """Return where the records of messages that are not expunged begin."""
    records = range(HEADER_SIZE, len(index), RECORD_SIZE)
    return [at for at in records if not index[at + FLAGS_AT] & (GONE >> 24)]


def set_record(index: bytearray, at: int, flags: int, modseq: int) -> None:
    """Give the record that begins there flags and a modseq, and its checksum."""
    struct.pack_into(">I", index, at + FLAGS_AT, flags)
    struct.pack_into(">Q", index, at + MODSEQ_AT, modseq)
    struct.pack_into(">I", index, at + RECORD_CRC_AT, zlib.crc32(index[at : at + RECORD_CRC_AT]))


def get(index: bytearray, at: int) -> int:
    """Return the four bytes there as a number."""
    return int.from_bytes(index[at : at + 4], "big")


def get_long(index: bytearray, at: int) -> int:
    """Return the eight bytes there as a number."""
    return int.from_bytes(index[at : at + 8], "big")
