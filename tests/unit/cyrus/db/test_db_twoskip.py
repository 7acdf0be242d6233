"""twoskip: exactly what the last commit left, or an error; never anything else."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyrsync.cyrus.db.error import DbError
from cyrsync.cyrus.db.twoskip import records
from support.cyrusdb import Twoskip

keys = st.binary(min_size=1, max_size=5)
changes = st.dictionaries(keys, st.none() | st.binary(max_size=40), max_size=12)


def applied(*transactions: dict[bytes, bytes | None]) -> dict[bytes, bytes]:
    """What is left of some transactions."""
    found: dict[bytes, bytes | None] = {}
    for transaction in transactions:
        found.update(transaction)
    return {key: value for key, value in sorted(found.items()) if value is not None}


def written(*transactions: dict[bytes, bytes | None]) -> Twoskip:
    db = Twoskip()
    for transaction in transactions:
        db.change(transaction)
        db.commit()
    return db


@given(st.lists(changes, max_size=6), changes)
@settings(max_examples=60, deadline=None)
def test_the_last_commit_comes_back(transactions: list[dict[bytes, bytes | None]], unfinished: dict) -> None:
    db = written(*transactions)
    expected = list(applied(*transactions).items())
    assert list(records(bytes(db.data))) == expected
    db.change(unfinished)
    assert list(records(bytes(db.data))) == expected
    assert list(records(bytes(db.data[: db.committed]))) == expected
    db.commit()
    assert list(records(bytes(db.data))) == list(applied(*transactions, unfinished).items())


@pytest.fixture(scope="module")
def worn() -> Twoskip:
    """A file with replaced and deleted records, and with an unfinished transaction at its end."""
    db = written({b"a": b"1", b"b": b"2", b"c": b"3" * 9, b"d": b""}, {b"b": None, b"c": b"new"}, {b"e": b"5"})
    db.change({b"bb": b"never", b"a": None})
    return db


def test_a_file_cut_short(worn: Twoskip) -> None:
    expected = list(records(bytes(worn.data)))
    assert dict(expected) == {b"a": b"1", b"c": b"new", b"d": b"", b"e": b"5"}
    for size in range(len(worn.data)):
        if size >= worn.committed:
            assert list(records(bytes(worn.data[:size]))) == expected
        else:
            with pytest.raises(DbError):
                records(bytes(worn.data[:size]))


def test_any_flipped_bit_is_noticed_or_harmless(worn: Twoskip) -> None:
    data, expected = bytearray(worn.data), list(records(bytes(worn.data)))
    noticed = 0
    for bit in range(8 * len(data)):
        data[bit // 8] ^= 1 << bit % 8
        try:
            assert list(records(bytes(data))) == expected
        except DbError:
            noticed += 1
        data[bit // 8] ^= 1 << bit % 8
    # Replaced records, deleted ones and commits are not looked at.
    assert noticed > 4 * len(data)


def resummed(db: Twoskip) -> bytes:
    struct.pack_into(">I", db.data, 60, zlib.crc32(db.data[:60]))
    return bytes(db.data)


def test_a_wrong_number_of_records() -> None:
    db = written({b"a": b"1", b"b": b"2"})
    struct.pack_into(">Q", db.data, 32, 3)
    with pytest.raises(DbError, match="2 records where the header counts 3"):
        records(resummed(db))


def test_a_writer_that_has_counted_its_removal_already() -> None:
    db = written({b"a": b"1", b"b": b"2"})
    struct.pack_into(">Q", db.data, 32, 1)
    with pytest.raises(DbError):
        records(resummed(db))
    struct.pack_into(">I", db.data, 56, 1)
    assert len(list(records(resummed(db)))) == 2


def test_another_version() -> None:
    db = written()
    struct.pack_into(">I", db.data, 20, 2)
    with pytest.raises(DbError, match="version 2"):
        records(resummed(db))


def test_a_circle() -> None:
    db = written({b"a": b"1", b"b": b"2"})
    last = db.before(b"c")
    db.lead(last, last)
    with pytest.raises(DbError, match="circle"):
        records(bytes(db.data))


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
    assert dict(records(bytes(written(dict(pairs)).data))) == pairs


def test_pointers_past_the_end() -> None:
    db = written({b"a": b"1", b"b": b"2"})
    last = db.before(b"c")
    struct.pack_into(">QQ", db.data, db.pointers_at(last), 1 << 40, 1 << 40)
    db.sum_up(last)
    with pytest.raises(DbError, match="pointer past the end"):
        records(bytes(db.data))
    db.lead(last, db.committed - 8)
    struct.pack_into(">Q", db.data, db.pointers_at(last) + 8, 0)
    struct.pack_into(">Q", db.data, db.pointers_at(last), db.committed - 8)
    db.sum_up(last)
    with pytest.raises(DbError, match="goes on past the end"):
        records(bytes(db.data))


def test_a_record_of_unknown_type() -> None:
    db = written({b"a": b"1"})
    at = db.next_of(64)
    db.data[at] = ord("x")
    db.sum_up(at)
    with pytest.raises(DbError, match="unknown type"):
        records(bytes(db.data))
