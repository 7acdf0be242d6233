"""twoskip and twom: exactly what the last commit left, or an error; never anything else."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyrsync.cyrus.server.db import twom, twoskip
from cyrsync.cyrus.server.db.error import DbError
from support.cyrusdb import Changes, Twom, Twoskip, applied

Make = Callable[[], "Twoskip | Twom"]
Records = Callable[[bytes], Iterator[tuple[bytes, bytes]]]

SUMMED: list[tuple[Make, Records]] = [(Twoskip, twoskip.records), (Twom, twom.records)]
ALL: list[tuple[Make, Records]] = [*SUMMED, (partial(Twom, checksums=False), twom.records)]

keys = st.binary(min_size=1, max_size=5)
changes = st.dictionaries(keys, st.none() | st.binary(max_size=40), max_size=12)


@pytest.mark.parametrize(("make", "records"), ALL)
@given(transactions=st.lists(changes, max_size=6), unfinished=changes)
@settings(max_examples=60)
def test_the_last_commit_comes_back(
    make: Make, records: Records, transactions: list[Changes], unfinished: Changes
) -> None:
    db = make().written(*transactions)
    expected = list(applied(*transactions).items())
    assert list(records(bytes(db.data))) == expected
    db.change(unfinished)
    # The file may be longer than its content.
    for data in (db.data, db.data + bytes(16384), db.data[: db.committed]):
        assert list(records(bytes(data))) == expected
    db.commit()
    assert list(records(bytes(db.data))) == list(applied(*transactions, unfinished).items())


def worn(make: Make) -> Twoskip | Twom:
    """A file with replaced and deleted records, and with an unfinished transaction at its end."""
    first: Changes = {b"a": b"1", b"b": b"2", b"c": b"3" * 9, b"d": b""}
    db = make().written(first, {b"b": None, b"c": b"new"}, {b"e": b"5"})
    db.change({b"bb": b"never", b"a": None})
    return db


@pytest.mark.parametrize(("make", "records"), ALL)
def test_a_file_cut_short(make: Make, records: Records) -> None:
    db = worn(make)
    expected = list(records(bytes(db.data)))
    assert dict(expected) == {b"a": b"1", b"c": b"new", b"d": b"", b"e": b"5"}
    for size in range(len(db.data)):
        if size >= db.committed:
            assert list(records(bytes(db.data[:size]))) == expected
        else:
            with pytest.raises(DbError):
                records(bytes(db.data[:size]))


@pytest.mark.parametrize(("make", "records"), SUMMED)
def test_any_flipped_bit_is_noticed_or_harmless(make: Make, records: Records) -> None:
    data = worn(make).data
    expected = list(records(bytes(data)))
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


@pytest.mark.parametrize(("make", "records"), ALL)
def test_a_circle(make: Make, records: Records) -> None:
    db = make().written({b"a": b"1", b"b": b"2"})
    last = db.before(b"c")
    db.lead(last, last)
    with pytest.raises(DbError, match="circle"):
        records(bytes(db.data))


@pytest.mark.parametrize(("make", "records"), ALL)
@pytest.mark.parametrize("length", [1, 2, 3, 7, 64])
def test_a_circle_in_a_large_file_ends_soon(make: Make, records: Records, length: int) -> None:
    """Not only after as many records as the file would have room for."""
    db = make().written({b"a%03d" % number: b"1" for number in range(100)})
    db.data += bytes(32 << 20)
    db.commit()
    db.lead(db.before(b"b"), db.before(b"a%03d" % (101 - length)))
    data = bytes(db.data)
    tracemalloc.start()
    try:
        with pytest.raises(DbError, match="circle"):
            records(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
