"""flat: sorted lines, some bytes escaped."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.cyrus.server.db.error import DbError
from cyrsync.cyrus.server.db.flat import records, written

_MEANT = {0: b"\xff\x80", 9: b"\xff\x89", 10: b"\xff\x8a", 13: b"\xff\x8d", 255: b"\xff\xff"}


def escaped(text: bytes) -> bytes:
    return b"".join(_MEANT.get(byte, bytes([byte])) for byte in text)


@given(st.dictionaries(st.binary(min_size=1, max_size=6), st.binary(max_size=20)))
def test_any_pairs_come_back(pairs: dict[bytes, bytes]) -> None:
    lines = sorted((escaped(key), escaped(value)) for key, value in pairs.items())
    data = b"".join(key + b"\t" + value + b"\n" for key, value in lines)
    assert list(records(data)) == sorted(pairs.items())


def test_tabs_in_the_value_of_an_old_version() -> None:
    assert list(records(b"user.joe\t0 default joe\tlrs\t\n")) == [(b"user.joe", b"0 default joe\tlrs\t")]


def test_nothing() -> None:
    assert list(records(b"")) == []


@pytest.mark.parametrize(
    "data", [b"a\tb", b"a\tb\nc\n", b"b\t1\na\t2\n", b"a\t1\na\t2\n", b"a\t\0\n", b"a\t1\n\xffa\t2\n", b"\n"]
)
def test_damage(data: bytes) -> None:
    with pytest.raises(DbError):
        records(data)


@pytest.mark.parametrize(
    ("text", "meaning"), [(b"\xff", b""), (b"x\xff", b"x"), (b"\xffx\xff\xff", b"x\xff"), (b"\xff\xe4", b"d")]
)
def test_an_escape_that_cyrus_does_not_write_is_read_as_it_reads_it(text: bytes, meaning: bytes) -> None:
    """One such record costs no other."""
    assert list(records(b"k\t%b\nz%b\tv\n" % (text, text))) == [(b"k", meaning), (b"z" + meaning, b"v")]


@given(st.dictionaries(st.binary(), st.binary()))
def test_any_pairs_are_written_and_read_again(pairs: dict[bytes, bytes]) -> None:
    assert list(records(written(pairs.items()))) == sorted(pairs.items())
