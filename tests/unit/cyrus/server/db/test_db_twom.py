"""twom: exactly what the last commit left, or an error; never anything else."""

from __future__ import annotations

import importlib
import struct
import sys
import tarfile

import pytest
from xxhash import xxh3_64_intdigest as xxh3_64

from cyrsync.cyrus.server.db import twom
from cyrsync.cyrus.server.db.error import DbError, UnsupportedDb
from cyrsync.cyrus.server.db.twom import records
from support.cyrusdb import Twom
from support.tree import DATA


def test_without_checksums_damage_still_is_no_other_exception() -> None:
    db = Twom(checksums=False).written({b"a": b"1", b"b": b"2"}, {b"b": None, b"c": b"3"})
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
    db = Twom().written({b"a": b"1", b"b": b"2"})
    struct.pack_into("<Q", db.data, 48, 3)
    with pytest.raises(DbError, match="2 records where the header counts 3"):
        records(resummed(db))


def test_what_is_not_known() -> None:
    db = Twom()
    struct.pack_into("<I", db.data, 32, 2)
    with pytest.raises(DbError, match="version 2"):
        records(resummed(db))
    db = Twom()
    struct.pack_into("<I", db.data, 36, 1 << 30)
    with pytest.raises(UnsupportedDb):
        records(resummed(db))


def test_a_long_key_and_a_long_value() -> None:
    pairs: dict[bytes, bytes | None] = {b"k" * 0xFFFF: b"v" * 100_000, b"l" * 70_000: b""}
    assert dict(records(bytes(Twom().written(pairs, pairs).data))) == pairs


def test_a_real_database() -> None:
    with tarfile.open(DATA / "mailboxes-3.13.7-twom.tar.xz") as archive:
        db, shown = (archive.extractfile(name) for name in ("mailboxes.db", "mailboxes.raw.txt"))
        assert db and shown
        found = b"".join(key + b"\t" + value + b"\n" for key, value in records(db.read()))
        assert found == shown.read()


def test_records_where_none_can_be() -> None:
    """Without checksums only the structure tells."""
    for at, value in ((96, 2), (96, 9), (97, 255)):
        db = Twom(checksums=False).written({b"a": b"1"})
        db.data[at] = value
        with pytest.raises(DbError):
            records(bytes(db.data))
    db = Twom(checksums=False).written({b"a": b"1"})
    db.lead(db.before(b"b"), 96)
    with pytest.raises(DbError, match="midst"):
        records(bytes(db.data))
    db = Twom(checksums=False).written({b"a": b"1"}, {b"a": None})
    struct.pack_into("<Q", db.data, db.next_of(96) + 8, db.committed)
    with pytest.raises(DbError, match="a deletion of a later record"):
        records(bytes(db.data))


def test_without_xxhash_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xxhash", None)
    try:
        without = importlib.reload(twom)
        with pytest.raises(UnsupportedDb, match="Debian: python3-xxhash"):
            list(without.records(Twom().written({b"a": b"1"}).data))
    finally:
        monkeypatch.undo()
        importlib.reload(twom)
