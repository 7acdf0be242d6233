"""Writers of Cyrus's database files, so that any content, and any half-finished transaction, can be had."""

from __future__ import annotations

import struct
import zlib
from abc import ABC, abstractmethod
from bisect import bisect_left, insort
from collections.abc import Mapping
from typing import TypeVar

from xxhash import xxh3_64_intdigest as xxh3_64

#: What a transaction does: a value to store, or None to delete.
Changes = Mapping[bytes, "bytes | None"]


Db = TypeVar("Db", bound="_TwoPointers")


def applied(*transactions: Changes) -> dict[bytes, bytes]:
    """What is left of some transactions."""
    found: dict[bytes, bytes | None] = {}
    for transaction in transactions:
        found.update(transaction)
    return {key: value for key, value in sorted(found.items()) if value is not None}


def padding(size: int, grain: int) -> bytes:
    return bytes(-size % grain)


class Skiplist:
    """A skiplist file: a checkpoint of the first pairs, then a log; pointers are left zero, as nobody follows them."""

    def __init__(self, pairs: Mapping[bytes, bytes] | None = None) -> None:
        self._offsets: dict[bytes, int] = {}
        self.data = bytearray(48)
        self._record(257, b"", b"", 20)
        for key, value in sorted((pairs or {}).items()):
            self._record(1, key, value)
        header = (b"\xa1\x02\x8b\x0dskiplist file\0\0\0", 1, 2, 20, 4, len(pairs or ()), len(self.data), 0)
        struct.pack_into(">20s7I", self.data, 0, *header)

    def change(self, changes: Changes) -> None:
        """Write to the log, without COMMIT."""
        for key, value in changes.items():
            if key in self._offsets:
                self.data += struct.pack(">II", 4, self._offsets.pop(key))
            if value is not None:
                self._record(2, key, value)

    def commit(self) -> None:
        self.data += struct.pack(">I", 255)

    def _record(self, kind: int, key: bytes, value: bytes, level: int = 0) -> None:
        if kind != 257:
            self._offsets[key] = len(self.data)
        level = level or 1 + len(key) % 3
        self.data += struct.pack(">II", kind, len(key)) + key + padding(len(key), 4)
        self.data += struct.pack(">I", len(value)) + value + padding(len(value), 4)
        self.data += bytes(4 * level) + b"\xff\xff\xff\xff"


class _TwoPointers(ABC):
    """What twoskip and twom share: two lowest pointers, of which one always leads to what was last committed."""

    def __init__(self, header_size: int, order: str) -> None:
        self.data = bytearray(header_size)
        self._first = header_size
        self._order = order
        self._offsets: dict[bytes, int] = {b"": header_size}
        self._keys = [b""]
        self.committed = 0
        self.count = 0

    def written(self: Db, *transactions: Changes) -> Db:
        """Commit some transactions."""
        for transaction in transactions:
            self.change(transaction)
            self.commit()
        return self

    def next_of(self, at: int) -> int:
        return max(struct.unpack_from(self._order + "QQ", self.data, self.pointers_at(at)))

    def lead(self, at: int, to: int) -> None:
        """Let the record point to another one, by the pointer that the last commit does not need."""
        place = self.pointers_at(at)
        near, far = struct.unpack_from(self._order + "QQ", self.data, place)
        if near >= self.committed:
            second = False
        elif far >= self.committed:
            second = True
        else:
            second = far < near
        struct.pack_into(self._order + "Q", self.data, place + 8 * second, to)
        self.sum_up(at)

    def before(self, key: bytes) -> int:
        return self._offsets[self._keys[bisect_left(self._keys, key) - 1]]

    def _place(self, key: bytes, at: int) -> None:
        if key not in self._offsets:
            insort(self._keys, key)
        self._offsets[key] = at

    @abstractmethod
    def change(self, changes: Changes) -> None:
        """Write changes: a value for a key, or None for one that is deleted."""

    @abstractmethod
    def commit(self) -> None:
        """Close a transaction."""

    @abstractmethod
    def pointers_at(self, at: int) -> int:
        """Return where the pointers of a record begin."""

    @abstractmethod
    def sum_up(self, at: int) -> None:
        """Write the checksum of a record's head."""


class Twoskip(_TwoPointers):
    """A twoskip file."""

    def __init__(self, pairs: Mapping[bytes, bytes] | None = None) -> None:
        super().__init__(64, ">")
        self._append(b"=", 31, b"", b"", 0)
        self.commit()
        self.change(pairs or {})
        self.commit()

    def change(self, changes: Changes) -> None:
        for key, value in changes.items():
            known = key in self._offsets
            self._header(dirty=True)
            if known or value is not None:
                previous = self.before(key)
                following = self.next_of(self._offsets[key] if known else previous)
                # A deletion leads on to a record, never to another deletion.
                while following and self.data[following : following + 1] == b"-":
                    following = struct.unpack_from(">Q", self.data, following + 8)[0]
                if value is None:
                    self.lead(previous, self._append(b"-", 0, b"", b"", following))
                    del self._offsets[key]
                    self._keys.remove(key)
                else:
                    at = self._append(b"+", 1 + len(key) % 3, key, value, following)
                    self.lead(previous, at)
                    self._place(key, at)

    def commit(self) -> None:
        if self.committed:
            self._append(b"$", 0, b"", b"", self.committed)
        self.committed, self.count = len(self.data), len(self._keys) - 1
        self._header(dirty=False)

    def _header(self, dirty: bool) -> None:
        magic = b"\xa1\x02\x8b\x0dtwoskip file\0\0\0\0"
        struct.pack_into(">20sIQQQQI", self.data, 0, magic, 1, 1, self.count, 0, self.committed, dirty)
        struct.pack_into(">I", self.data, 60, zlib.crc32(self.data[:60]))

    def _append(self, kind: bytes, level: int, key: bytes, value: bytes, following: int) -> int:
        at = len(self.data)
        long_key, long_value = len(key) >= 0xFFFF, len(value) >= 0xFFFFFFFF
        self.data += struct.pack(">cBHI", kind, level, min(len(key), 0xFFFF), min(len(value), 0xFFFFFFFF))
        self.data += struct.pack(">Q", len(key)) * long_key + struct.pack(">Q", len(value)) * long_value
        pointers = [0] * (level + 1)
        pointers[level > 0] = following
        self.data += struct.pack(f">{level + 1}Q", *pointers)
        tail = key + value + padding(len(key) + len(value), 8)
        self.data += struct.pack(">II", 0, zlib.crc32(tail)) + tail
        self.sum_up(at)
        return at

    def pointers_at(self, at: int) -> int:
        return at + (16 if self.data[at + 2 : at + 4] == b"\xff\xff" else 8)

    def sum_up(self, at: int) -> None:
        end = self.pointers_at(at) + 8 * (self.data[at + 1] + 1)
        struct.pack_into(">I", self.data, end, zlib.crc32(self.data[at:end]))


class Twom(_TwoPointers):
    """A twom file. A deleted key stays in the chain, behind a DELETE."""

    def __init__(self, pairs: Mapping[bytes, bytes] | None = None, checksums: bool = True) -> None:
        super().__init__(96, "<")
        self._flags = 1 << 28 if checksums else 1 << 27
        self._deleted: dict[bytes, int] = {}
        self._append(1, 31, b"", b"", 0, 0)
        self.change(pairs or {})
        self.commit()

    def change(self, changes: Changes) -> None:
        for key, value in changes.items():
            known, deleted = self._offsets.get(key, 0), self._deleted.get(key, 0)
            self._header(dirty=True)
            previous = self.before(key)
            if value is not None:
                following = self.next_of(known or previous)
                kind = (4 if known else 2) + (len(key) > 0xFFFF)
                at = self._append(kind, 1 + len(key) % 3, key, value, following, deleted or known)
                self.lead(previous, at)
                self._place(key, at)
                self._deleted.pop(key, None)
            elif known and not deleted:
                at = len(self.data)
                self.data += struct.pack("<B7xQQ", 6, known, 0)
                self.sum_up(at)
                self.lead(previous, at)
                self._deleted[key] = at

    def commit(self) -> None:
        if self.committed:
            at = len(self.data)
            self.data += struct.pack("<B7xQQ", 7, self.committed, 0)
            self.sum_up(at)
        self.committed, self.count = len(self.data), len(self._keys) - 1 - len(self._deleted)
        self._header(dirty=False)

    def _header(self, dirty: bool) -> None:
        fields = (1, self._flags | dirty, 1, self.count, 1, 0, 0, self.committed, 31)
        struct.pack_into("<16s16xIIQQQQQQI", self.data, 0, b"\xa1\x02\x8b\x0dtwomfile\0\0\0\0", *fields)
        struct.pack_into("<I", self.data, 92, self._sum(0, 92))

    def _append(self, kind: int, level: int, key: bytes, value: bytes, following: int, ancestor: int) -> int:
        at = len(self.data)
        if kind in (3, 5):
            self.data += struct.pack("<BB6xQQ", kind, level, len(key), len(value))
        else:
            self.data += struct.pack("<BBHI", kind, level, len(key), len(value))
        if kind in (4, 5):
            self.data += struct.pack("<Q", ancestor)
        self.data += struct.pack(f"<{level + 1}Q", 0, following, *[0] * (level - 1)) + bytes(8)
        if kind != 1:
            tail = len(self.data)
            self.data += key + b"\0" + value + b"\0" + padding(len(key) + len(value) + 2, 8)
            struct.pack_into("<I", self.data, tail - 4, self._sum(tail, len(self.data)))
        self.sum_up(at)
        return at

    def pointers_at(self, at: int) -> int:
        return at + {1: 8, 2: 8, 3: 24, 4: 16, 5: 32}[self.data[at]]

    def sum_up(self, at: int) -> None:
        end = at + 16 if self.data[at] > 5 else self.pointers_at(at) + 8 * (self.data[at + 1] + 1)
        struct.pack_into("<I", self.data, end, self._sum(at, end))

    def _sum(self, start: int, end: int) -> int:
        return xxh3_64(bytes(self.data[start:end])) & 0xFFFFFFFF if self._flags >> 28 & 1 else 0
