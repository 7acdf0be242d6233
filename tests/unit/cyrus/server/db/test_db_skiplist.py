"""skiplist: the checkpoint and every transaction that has its COMMIT, whatever the pointers say."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyrsync.cyrus.server.db.error import DbError
from cyrsync.cyrus.server.db.skiplist import records
from support.cyrusdb import Skiplist, applied

keys = st.binary(min_size=1, max_size=5)
base = st.dictionaries(keys, st.binary(max_size=40), max_size=12)
changes = st.dictionaries(keys, st.none() | st.binary(max_size=40), max_size=12)


@given(base, st.lists(changes, max_size=6), changes)
@settings(max_examples=60)
def test_the_last_commit_comes_back(
    pairs: dict[bytes, bytes], transactions: list[dict[bytes, bytes | None]], unfinished: dict[bytes, bytes | None]
) -> None:
    db = Skiplist(pairs)
    for transaction in transactions:
        db.change(transaction)
        db.commit()
    expected = list(applied(dict(pairs), *transactions).items())
    assert list(records(bytes(db.data))) == expected
    committed = len(db.data)
    db.change(unfinished)
    assert list(records(bytes(db.data))) == expected
    assert list(records(bytes(db.data[: committed + (len(db.data) - committed) // 2]))) == expected
    db.commit()
    assert list(records(bytes(db.data))) == list(applied(dict(pairs), *transactions, unfinished).items())


@pytest.fixture(scope="module")
def worn() -> tuple[Skiplist, list[tuple[int, dict[bytes, bytes]]]]:
    """A file with a log, and its states: the size it had after each commit, and what it held."""
    db = Skiplist({b"a": b"1", b"b": b"2", b"c": b"3"})
    states = [(len(db.data), dict(records(bytes(db.data))))]
    for transaction in ({b"b": None, b"c": b"new", b"d": b"4"}, {b"b": b"back", b"a": None}, {b"c": None}):
        db.change(transaction)
        db.commit()
        states.append((len(db.data), applied(dict(states[-1][1]), transaction)))
    return db, states


def test_a_file_cut_short(worn: tuple[Skiplist, list[tuple[int, dict[bytes, bytes]]]]) -> None:
    db, states = worn
    for size in range(len(db.data) + 1):
        if size < states[0][0]:
            with pytest.raises(DbError):
                records(bytes(db.data[:size]))
        else:
            expected = [state for end, state in states if end <= size][-1]
            assert dict(records(bytes(db.data[:size]))) == expected


def test_a_flipped_bit_is_no_other_exception(worn: tuple[Skiplist, list[tuple[int, dict[bytes, bytes]]]]) -> None:
    data = bytearray(worn[0].data)
    for bit in range(8 * len(data)):
        data[bit // 8] ^= 1 << bit % 8
        try:
            records(bytes(data))
        except DbError:
            pass
        data[bit // 8] ^= 1 << bit % 8


def test_damage_in_the_log_of_a_clean_file_is_not_taken_for_its_end(
    worn: tuple[Skiplist, list[tuple[int, dict[bytes, bytes]]]],
) -> None:
    db, states = worn
    data = bytearray(db.data)
    struct.pack_into(">I", data, states[1][0], 7)  # the first record of the second transaction
    with pytest.raises(DbError, match="damage"):
        records(bytes(data))


def test_zeros_between_transactions_are_skipped_as_cyrus_does() -> None:
    db = Skiplist({b"a": b"1"})
    db.data += bytes(32)
    db.change({b"b": b"2"})
    db.commit()
    assert dict(records(bytes(db.data))) == {b"a": b"1", b"b": b"2"}


def test_an_add_of_a_key_that_is_there_replaces_it() -> None:
    db = Skiplist({b"a": b"1"})
    db._offsets.clear()
    db.change({b"a": b"2"})
    db.commit()
    assert dict(records(bytes(db.data))) == {b"a": b"2"}


def test_a_deletion_of_nothing() -> None:
    db = Skiplist({b"a": b"1"})
    db.data += struct.pack(">III", 4, 52, 255)
    with pytest.raises(DbError, match="not there"):
        records(bytes(db.data))


@pytest.mark.parametrize(("at", "value"), [(20, 2), (28, 0), (28, 21), (32, 21), (40, 1 << 20), (40, 48), (48, 1)])
def test_a_header_that_cannot_be(at: int, value: int) -> None:
    db = Skiplist({b"a": b"1"})
    struct.pack_into(">I", db.data, at, value)
    with pytest.raises(DbError):
        records(bytes(db.data))


def test_pointers_full_of_ones_are_not_the_end() -> None:
    db = Skiplist({b"aa": b"1"})
    at = len(db.data) - 16
    struct.pack_into(">3I", db.data, at, 0xFFFF, 0xFFFFFF, 0xFF)
    assert dict(records(bytes(db.data))) == {b"aa": b"1"}
