"""twom: exactly what the last commit left, or an error; never anything else."""

from __future__ import annotations

import struct
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyrsync.cyrus.db.error import DbError, UnsupportedDb
from cyrsync.cyrus.db.twom import records
from cyrsync.cyrus.db.xxh3 import xxh3_64
from support.cyrusdb import Twom
from support.tree import DATA

keys = st.binary(min_size=1, max_size=5)
changes = st.dictionaries(keys, st.none() | st.binary(max_size=40), max_size=12)

#: Length: hash of the bytes (7 * i + length) % 251, as the reference implementation (xxhash 0.8) gives it.
HASHES = {
    0: 0x2D06800538D394C2,
    1: 0xE12EF9D2EB86CEEB,
    3: 0xA9088DDA485B481C,
    4: 0x57648C318A7A307E,
    8: 0xB0FB3E3C3F94990A,
    9: 0x8ACA5CB309437C2E,
    16: 0x2BD926D88792965A,
    17: 0x621F018AAD19B14A,
    32: 0x8911535E799E4D99,
    33: 0xB1E1D246D972758F,
    64: 0x6B7916077162249F,
    65: 0x041802F929FDE152,
    96: 0x2971B06D34AE032A,
    97: 0x15AF35A46B7EA756,
    128: 0x104C5158A0B84B98,
    129: 0x4FDE2D10F0BCDFEA,
    160: 0xEC513406CAF65F65,
    240: 0xC8FCAF51FEC964B0,
    241: 0xEE80E3642DBE5D90,
    256: 0x0D9D27847CCCB499,
    512: 0x362B9A95ABF697F4,
    1024: 0xB29A0EB57F6D9A67,
    1025: 0x4FC94C4A42C6553C,
    2048: 0x978A81247E8840C9,
    4096: 0x0438CDF946FEA307,
}


@pytest.mark.parametrize(("length", "expected"), HASHES.items())
def test_xxh3(length: int, expected: int) -> None:
    assert xxh3_64(bytes((7 * i + length) % 251 for i in range(length))) == expected


def applied(*transactions: dict[bytes, bytes | None]) -> dict[bytes, bytes]:
    """What is left of some transactions."""
    found: dict[bytes, bytes | None] = {}
    for transaction in transactions:
        found.update(transaction)
    return {key: value for key, value in sorted(found.items()) if value is not None}


def written(*transactions: dict[bytes, bytes | None], checksums: bool = True) -> Twom:
    db = Twom(checksums=checksums)
    for transaction in transactions:
        db.change(transaction)
        db.commit()
    return db


@given(st.lists(changes, max_size=6), changes, st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_last_commit_comes_back(
    transactions: list[dict[bytes, bytes | None]], unfinished: dict[bytes, bytes | None], checksums: bool
) -> None:
    db = written(*transactions, checksums=checksums)
    expected = list(applied(*transactions).items())
    assert list(records(bytes(db.data))) == expected
    db.change(unfinished)
    # The file is longer than its content.
    assert list(records(bytes(db.data) + bytes(16384))) == expected
    assert list(records(bytes(db.data[: db.committed]))) == expected
    db.commit()
    assert list(records(bytes(db.data))) == list(applied(*transactions, unfinished).items())


@pytest.fixture(scope="module")
def worn() -> Twom:
    """A file with replaced and deleted records, and with an unfinished transaction at its end."""
    db = written({b"a": b"1", b"b": b"2", b"c": b"3" * 9, b"d": b""}, {b"b": None, b"c": b"new"}, {b"e": b"5"})
    db.change({b"bb": b"never", b"a": None})
    return db


def test_a_file_cut_short(worn: Twom) -> None:
    expected = list(records(bytes(worn.data)))
    assert dict(expected) == {b"a": b"1", b"c": b"new", b"d": b"", b"e": b"5"}
    for size in range(len(worn.data)):
        if size >= worn.committed:
            assert list(records(bytes(worn.data[:size]))) == expected
        else:
            with pytest.raises(DbError):
                records(bytes(worn.data[:size]))


def test_any_flipped_bit_is_noticed_or_harmless(worn: Twom) -> None:
    data, expected = bytearray(worn.data), list(records(bytes(worn.data)))
    noticed = 0
    for bit in range(8 * len(data)):
        data[bit // 8] ^= 1 << bit % 8
        try:
            assert list(records(bytes(data))) == expected
        except DbError:
            noticed += 1
        data[bit // 8] ^= 1 << bit % 8
    # Replaced records and commits are not looked at.
    assert noticed > 4 * len(data)


def test_without_checksums_damage_still_is_no_other_exception(worn: Twom) -> None:
    db = written({b"a": b"1", b"b": b"2"}, {b"b": None, b"c": b"3"}, checksums=False)
    data = bytearray(db.data)
    for bit in range(8 * len(data)):
        data[bit // 8] ^= 1 << bit % 8
        try:
            records(bytes(data))
        except DbError:
            pass
        data[bit // 8] ^= 1 << bit % 8


def resummed(db: Twom) -> bytes:
    struct.pack_into("<I", db.data, 92, xxh3_64(bytes(db.data[:92])) & 0xFFFFFFFF)
    return bytes(db.data)


def test_a_wrong_number_of_records() -> None:
    db = written({b"a": b"1", b"b": b"2"})
    struct.pack_into("<Q", db.data, 48, 3)
    with pytest.raises(DbError, match="2 records where the header counts 3"):
        records(resummed(db))


def test_what_is_not_known() -> None:
    db = written()
    struct.pack_into("<I", db.data, 32, 2)
    with pytest.raises(DbError, match="version 2"):
        records(resummed(db))
    db = written()
    struct.pack_into("<I", db.data, 36, 1 << 30)
    with pytest.raises(UnsupportedDb):
        records(resummed(db))


def test_a_circle() -> None:
    db = written({b"a": b"1", b"b": b"2"})
    last = db.before(b"c")
    db.lead(last, last)
    with pytest.raises(DbError, match="circle"):
        records(bytes(db.data))


def test_a_long_key_and_a_long_value() -> None:
    pairs: dict[bytes, bytes | None] = {b"k" * 0xFFFF: b"v" * 100_000, b"l" * 70_000: b""}
    assert dict(records(bytes(written(pairs, pairs).data))) == pairs


def test_a_real_database() -> None:
    with tarfile.open(DATA / "mailboxes-3.13.7-twom.tar.xz") as archive:
        db, shown = (archive.extractfile(name) for name in ("mailboxes.db", "mailboxes.raw.txt"))
        assert db and shown
        found = b"".join(key + b"\t" + value + b"\n" for key, value in records(db.read()))
        assert found == shown.read()


def test_records_where_none_can_be() -> None:
    """Without checksums only the structure tells."""
    for at, value in ((96, 2), (96, 9), (97, 255)):
        db = written({b"a": b"1"}, checksums=False)
        db.data[at] = value
        with pytest.raises(DbError):
            records(bytes(db.data))
    db = written({b"a": b"1"}, checksums=False)
    db.lead(db.before(b"b"), 96)
    with pytest.raises(DbError, match="midst"):
        records(bytes(db.data))
    db = written({b"a": b"1"}, {b"a": None}, checksums=False)
    struct.pack_into("<Q", db.data, db.next_of(96) + 8, db.committed)
    with pytest.raises(DbError, match="came later"):
        records(bytes(db.data))
