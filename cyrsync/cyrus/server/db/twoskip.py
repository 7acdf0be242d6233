"""twoskip, the default engine from 2.5 on: what the last commit left, every byte of it checked.

All integers are big-endian (lib/cyrusdb_twoskip.c). Header of 64 bytes: magic 20, version @20, generation 8 @24,
number of records 8 @32, 8 @40, current size 8 @48, flags @56, CRC-32 of all before @60. Records from 64 on, 8-byte
aligned: type 1, level 1, key length 2, value length 4, both again in 8 bytes when full of ones, level + 1 pointers of
8, CRC-32 of all before, CRC-32 of what follows, key, value, zeros.
"""

import struct
from typing import TYPE_CHECKING
from zlib import crc32

from cyrsync.cyrus.server.db.error import DbError
from cyrsync.cyrus.server.db.order import ascending

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"\xa1\x02\x8b\x0dtwoskip file\0\0\0\0"
_HEADER = struct.Struct(">20sIQQQQII")
_DUMMY_AT = 64
_DIRTY = 1
_HEAD = struct.Struct(">BBHI")
_POINTERS = struct.Struct(">QQ")
_CRCS = struct.Struct(">II")
_RECORD, _DELETE = b"+-"
_LONG_KEY, _LONG_VALUE = 0xFFFF, 0xFFFFFFFF


def records(data: bytes) -> "Iterator[tuple[bytes, bytes]]":
    """Yield the committed pairs by key, or raise DbError.

    What a writer had not committed is not seen: it stands past the current size, and so do the pointers to it.
    """
    count, size, dirty = _header(data)
    # Past the current size there is nothing for us, not even when damage leads there.
    pairs = _walk(data[:size])
    # A writer that dirtied the header may have counted its first removal already (store_here, delete_here).
    if len(pairs) != count and not (dirty and len(pairs) == count + 1):
        raise DbError(f"{len(pairs)} records where the header counts {count}", 32)
    return iter(ascending(pairs))


def _header(data: bytes) -> "tuple[int, int, bool]":
    """Return the number of records, the size at the last commit, and whether a writer had begun."""
    if len(data) < _HEADER.size:
        raise DbError("too short for a twoskip header", len(data))
    magic, version, _, count, _, size, flags, crc = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise DbError("no twoskip file", 0)
    if crc32(data[:60]) != crc:
        raise DbError("wrong checksum of the twoskip header", 60)
    if version != 1:
        raise DbError(f"twoskip version {version} is not known", 20)
    if size > len(data):
        raise DbError(f"the file ends before its current size of {size}", len(data))
    return count, size, bool(flags & _DIRTY)


def _walk(data: bytes) -> "list[tuple[bytes, bytes]]":
    """Follow the lowest pointers from the dummy record; the data end at the current size."""
    size = len(data)
    pairs = []
    at = _DUMMY_AT
    step = mark = 0
    while True:
        step += 1
        try:
            kind, level, key_size, value_size = _HEAD.unpack_from(data, at)
            pointers_at = at + 8
            if key_size == _LONG_KEY or value_size == _LONG_VALUE:
                key_size, value_size, pointers_at = _long(data, pointers_at, key_size, value_size)
            crcs_at = pointers_at + 8 * (level + 1)
            near, far = _POINTERS.unpack_from(data, pointers_at)
            head_crc, tail_crc = _CRCS.unpack_from(data, crcs_at)
        except struct.error:
            raise DbError("a record extends past the end", at) from None
        if crc32(data[at:crcs_at]) != head_crc:
            raise DbError("wrong checksum of a record's head", at)
        if kind == _RECORD:
            used = key_size + value_size
            tail = data[crcs_at + 8 : crcs_at + 8 + used + -used % 8]
            # Zeros are added up to eight bytes, so that a tail cut short has another checksum or length.
            if crc32(tail) != tail_crc or len(tail) < used:
                raise DbError("wrong checksum of a record's key and value", at)
            pairs.append((tail[:key_size], tail[key_size:used]))
        at = _next(kind, near, far, size, at)
        if not at:
            return pairs
        if at == mark:
            raise DbError("the records run in a circle", at)
        if not step & (step - 1):  # marked anew at each power of two, a circle is noticed at its second round or third
            mark = at


def _next(kind: int, near: int, far: int, size: int, at: int) -> int:
    """Return where the record after the one at `at` stands, 0 after the last one."""
    if kind == _DELETE:
        # It stands in the place of the record that it removed, with one pointer only, to the one after that.
        far = near
    elif kind != _RECORD and at != _DUMMY_AT:
        raise DbError(f"a record of unknown type {kind}", at)
    # Both lead to the next record, as it is and as it was before the last change: the later one counts, unless
    # it was not committed.
    later, earlier = (near, far) if near > far else (far, near)
    if later < size:
        return later
    if earlier < size:
        return earlier
    raise DbError("a pointer past the end", at)


def _long(data: bytes, at: int, key_size: int, value_size: int) -> "tuple[int, int, int]":
    if key_size == _LONG_KEY:
        key_size = struct.unpack_from(">Q", data, at)[0]
        at += 8
    if value_size == _LONG_VALUE:
        value_size = struct.unpack_from(">Q", data, at)[0]
        at += 8
    return key_size, value_size, at
