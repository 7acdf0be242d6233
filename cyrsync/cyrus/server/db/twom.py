"""twom, the engine that can be chosen from 3.13.1 on: what the last commit left, every byte of it checked.

All integers are little-endian (lib/twom.c). Header of 96 bytes: magic 16, version @32, flags @36, number of records
8 @48, current size 8 @80, checksum of all before @92. Records from 96 on, 8-byte aligned: type 1, level 1, lengths,
the record before it of the same key ("ancestor"), level + 1 pointers of 8, checksum of all before, checksum of what
follows, key, NUL, value, NUL, zeros. A checksum is the low 32 bits of XXH3-64. The file is longer than its content.
"""

import struct
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.cyrus.server.db.error import DbError, UnsupportedDb
from cyrsync.cyrus.server.db.order import ascending

try:
    from xxhash import xxh3_64_intdigest as xxh3_64
except ImportError:  # it is compiled, and cyrsync.pyz has nothing that is

    def xxh3_64(_data: bytes) -> int:  # type: ignore[misc]
        """Say what is missing."""
        raise UnsupportedDb("the twom format needs the Python package xxhash: install it (Debian: python3-xxhash)")


if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"\xa1\x02\x8b\x0dtwomfile\0\0\0\0"
_HEADER = struct.Struct("<16s16xIIQQQQQQII")
_DUMMY_AT = 96
_NO_CHECKSUM, _FOREIGN_CHECKSUM, _FOREIGN_ORDER = 1 << 27, 1 << 29, 1 << 30
_DUMMY, _DELETE = 1, 6
#: Type: where its pointers begin. DUMMY, ADD, FATADD, REPLACE, FATREPLACE.
_POINTERS_AT = {1: 8, 2: 8, 3: 24, 4: 16, 5: 32}
_FAT = (3, 5)
_LENGTHS, _FAT_LENGTHS = struct.Struct("<HI"), struct.Struct("<QQ")
_POINTERS, _POINTER, _SUMS = struct.Struct("<QQ"), struct.Struct("<Q"), struct.Struct("<II")
_MIN_RECORD = 24
_LOW = 0xFFFFFFFF


class Record(NamedTuple):
    """A record of any type but DELETE and COMMIT."""

    kind: int
    near: int
    far: int
    key: bytes
    value: bytes


def records(data: bytes) -> "Iterator[tuple[bytes, bytes]]":
    """Yield the committed pairs by key, or raise DbError.

    What a writer had not committed is not seen: it stands past the current size, and so do the pointers to it.
    """
    count, size, summed = _header(data)
    # Past the current size there is nothing for us, not even when damage leads there.
    data = data[:size]
    pairs = []  # type: list[tuple[bytes, bytes | None]]
    removed = 0
    record = _record(data, _DUMMY_AT, summed)
    if record.kind != _DUMMY:
        raise DbError("no dummy record", _DUMMY_AT)
    step = mark = 0
    while True:
        step += 1
        at = _next(record, size)
        if not at:
            break
        if at == mark:
            raise DbError("the records run in a circle", at)
        if not step & (step - 1):  # marked anew at each power of two, a circle is noticed at its second round or third
            mark = at
        gone = data[at] == _DELETE
        if gone:
            # It stands before the record that it removes, and has no pointers of its own.
            at = _removed(data, at, summed)
        record = _record(data, at, summed)
        if record.kind == _DUMMY:
            raise DbError("a dummy record in the midst", at)
        removed += gone
        pairs.append((record.key, None if gone else record.value))
    if len(pairs) - removed != count:
        raise DbError(f"{len(pairs) - removed} records where the header counts {count}", 48)
    return iter([(key, value) for key, value in ascending(pairs) if value is not None])


def _header(data: bytes) -> "tuple[int, int, bool]":
    """Return the number of records, the size at the last commit, and whether there are checksums."""
    if len(data) < _HEADER.size:
        raise DbError("too short for a twom header", len(data))
    magic, version, flags, _, count, _, _, _, size, _, checksum = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise DbError("no twom file", 0)
    if flags & (_FOREIGN_CHECKSUM | _FOREIGN_ORDER):
        raise UnsupportedDb("a twom database with a checksum or an order of somebody else's", 36)
    summed = not flags & _NO_CHECKSUM
    if summed and xxh3_64(data[:92]) & _LOW != checksum:
        raise DbError("wrong checksum of the twom header", 92)
    if version != 1:
        raise DbError(f"twom version {version} is not known", 32)
    if size > len(data):
        raise DbError(f"the file ends before its current size of {size}", len(data))
    return count, size, summed


def _record(data: bytes, at: int, summed: bool) -> Record:
    """Return the record, checked; the data end at the current size."""
    try:
        kind, level = data[at], data[at + 1]
        pointers_at = at + _POINTERS_AT[kind]
        if kind in _FAT:
            key_size, value_size = _FAT_LENGTHS.unpack_from(data, at + 8)
        else:
            key_size, value_size = _LENGTHS.unpack_from(data, at + 2)
        sums_at = pointers_at + 8 * (level + 1)
        near, far = _POINTERS.unpack_from(data, pointers_at)
        head_sum, tail_sum = _SUMS.unpack_from(data, sums_at)
    except KeyError:
        raise DbError(f"a record of unknown type {kind}", at) from None
    except (struct.error, IndexError):
        raise DbError("a record extends past the end", at) from None
    if summed and xxh3_64(data[at:sums_at]) & _LOW != head_sum:
        raise DbError("wrong checksum of a record's head", at)
    if kind == _DUMMY:
        return Record(kind, near, far, b"", b"")
    used = key_size + value_size + 2
    tail = data[sums_at + 8 : sums_at + 8 + used + -used % 8]
    if len(tail) < used or (summed and xxh3_64(tail) & _LOW != tail_sum):
        raise DbError("wrong checksum of a record's key and value", at)
    return Record(kind, near, far, tail[:key_size], tail[key_size + 1 : used - 1])


def _removed(data: bytes, at: int, summed: bool) -> int:
    """Return where the record stands that the DELETE here removes: head of 16 bytes, then its checksum."""
    if at + _MIN_RECORD > len(data):
        raise DbError("a record extends past the end", at)
    if summed and xxh3_64(data[at : at + 16]) & _LOW != _SUMS.unpack_from(data, at + 16)[0]:
        raise DbError("wrong checksum of a record's head", at)
    ancestor = int(_POINTER.unpack_from(data, at + 8)[0])
    if not ancestor < at:
        raise DbError("a deletion of a later record", at)
    return ancestor


def _next(record: Record, size: int) -> int:
    """Return where the next record stands, 0 after the last one.

    Both pointers lead there, as it is and as it was before the last change: the later one counts, unless it was
    not committed.
    """
    later, earlier = max(record.near, record.far), min(record.near, record.far)
    if later < size:
        return later
    if earlier < size:
        return earlier
    raise DbError("a pointer past the end")
