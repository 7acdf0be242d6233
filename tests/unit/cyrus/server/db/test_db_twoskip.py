"""twoskip: exactly what the last commit left, or an error; never anything else."""

from __future__ import annotations

import struct
import zlib

import pytest

from cyrsync.cyrus.server.db.error import DbError
from cyrsync.cyrus.server.db.twoskip import records
from support.cyrusdb import Twoskip


def resummed(db: Twoskip) -> bytes:
    struct.pack_into(">I", db.data, 60, zlib.crc32(db.data[:60]))
    return bytes(db.data)


def test_a_wrong_number_of_records() -> None:
    db = Twoskip().written({b"a": b"1", b"b": b"2"})
    struct.pack_into(">Q", db.data, 32, 3)
    with pytest.raises(DbError, match="2 records where the header counts 3"):
        records(resummed(db))


def test_a_writer_that_has_counted_its_removal_already() -> None:
    db = Twoskip().written({b"a": b"1", b"b": b"2"})
    struct.pack_into(">Q", db.data, 32, 1)
    with pytest.raises(DbError):
        records(resummed(db))
    struct.pack_into(">I", db.data, 56, 1)
    assert len(list(records(resummed(db)))) == 2


def test_another_version() -> None:
    db = Twoskip()
    struct.pack_into(">I", db.data, 20, 2)
    with pytest.raises(DbError, match="version 2"):
        records(resummed(db))


def chained(names: list[bytes]) -> bytes:
    """A file with the keys in just this order."""
    db = Twoskip()
    previous = 64
    for name in names:
        at = db._append(b"+", 1, name, b"v", 0)
        db.lead(previous, at)
        db._place(name, at)
        previous = at
    db.commit()
    return bytes(db.data)


def test_keys_out_of_order() -> None:
    with pytest.raises(DbError, match="order"):
        records(chained([b"a", b"c", b"b"]))


def test_the_order_of_improved_mboxlist_sort() -> None:
    """A dot sorts first: `user.a.b` before `user.a-b`. They are given out by their bytes all the same."""
    names = [b"user.a", b"user.a.b", b"user.a-b"]
    assert [key for key, _ in records(chained(names))] == sorted(names)


def test_a_long_key_and_a_long_value() -> None:
    pairs = {b"k" * 0xFFFE: b"v", b"k" * 0xFFFF: b"v" * 100_000, b"l" * 70_000: b""}
    assert dict(records(bytes(Twoskip().written(dict(pairs)).data))) == pairs


def test_pointers_past_the_end() -> None:
    db = Twoskip().written({b"a": b"1", b"b": b"2"})
    last = db.before(b"c")
    struct.pack_into(">QQ", db.data, db.pointers_at(last), 1 << 40, 1 << 40)
    db.sum_up(last)
    with pytest.raises(DbError, match="pointer past the end"):
        records(bytes(db.data))
    db.lead(last, db.committed - 8)
    struct.pack_into(">Q", db.data, db.pointers_at(last) + 8, 0)
    struct.pack_into(">Q", db.data, db.pointers_at(last), db.committed - 8)
    db.sum_up(last)
    with pytest.raises(DbError, match="extends past the end"):
        records(bytes(db.data))


def test_a_record_of_unknown_type() -> None:
    db = Twoskip().written({b"a": b"1"})
    at = db.next_of(64)
    db.data[at] = ord("x")
    db.sum_up(at)
    with pytest.raises(DbError, match="unknown type"):
        records(bytes(db.data))
