"""A folder's message files, whatever their names and however they came."""

from __future__ import annotations

from array import array
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cyrsync.far import message_files
from cyrsync.far.message_files import MessageFiles, sort_out
from cyrsync.far.uids import MAX_UID

#: What a directory can hold under a name that ends with a dot.
dotted = (
    st.one_of(
        st.binary(),
        st.from_regex(rb"[0-9]{1,11}\Z"),
        st.integers(0, 2**33).map(lambda number: b"%d" % number),
        st.sampled_from([b"0", b"00", b"01", b"4294967295", b"4294967296", b"1.2", b"1_0", b"-1", b"1e5", b"9" * 254]),
    )
    .filter(lambda stem: stem and not {0, ord("/")} & set(stem))
    .map(lambda stem: stem + b".")
)


plain = st.integers(1, MAX_UID).map(lambda uid: b"%d." % uid)
nonstandard = st.from_regex(rb"\A0[0-9]{0,11}\.\Z") | st.integers(MAX_UID + 1, 10**30).map(
    lambda number: b"%d." % number
)
undotted = st.binary(min_size=1, max_size=20).filter(lambda name: name[-1:] != b"." and not {0, ord("/")} & set(name))
files = st.frozensets(plain, max_size=12) | st.frozensets(plain | nonstandard, max_size=12)


def is_message(name: bytes) -> bool:
    return name[-1:] == b"." and len(name) > 1 and all(byte in b"0123456789" for byte in name[:-1])


def in_a_row(names: frozenset[bytes], seed: int = 0) -> MessageFiles:
    """The names as a directory may have them: in any order."""
    return MessageFiles(b"".join(Random(seed).sample(sorted(names), len(names))))


@given(st.lists(dotted | undotted | plain, unique=True))
@example([b"1."])
@example([b"1.", b"cyrus.index", b"2."])
@example([b"a", b"b"])
@example([b"..1."])
@example([b"1.2.", b"3."])
@example([b"1..", b"3."])
@example([b"1.", b"x.", b"2", b"3."])
def test_names_are_sorted_out(names: list[bytes]) -> None:
    row, others = sort_out(names)
    assert row == b"".join(name for name in names if is_message(name))
    assert sorted(others) == sorted(name for name in names if not is_message(name))


@given(files, st.integers())
@example(frozenset({b"0."}), 0)
@example(frozenset({b"4294967295.", b"4294967296."}), 0)
@example(frozenset({b"1.", b"10.", b"9.", b"01."}), 0)
def test_reading(names: frozenset[bytes], seed: int) -> None:
    found = in_a_row(names, seed)
    usual = sorted(int(name[:-1]) for name in names if name[:1] != b"0" and int(name[:-1]) <= MAX_UID)
    assert (len(found), bool(found)) == (len(names), bool(names))
    assert found.uids == array("I", usual)
    assert sorted(names) == sorted([*(b"%d." % uid for uid in usual), *found.nonstandard])
    assert list(found.nonstandard) == sorted(found.nonstandard)
    assert len(found) == len(names)
    assert len(MessageFiles.of(found.uids, found.nonstandard)) == len(names)


@pytest.mark.parametrize("window", [0, 5, 20])
@given(names=files, seed=st.integers())
def test_reading_in_windows(window: int, names: frozenset[bytes], seed: int) -> None:
    whole = in_a_row(names, seed)
    expected = whole.uids, whole.nonstandard
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(message_files, "_WINDOW", window)
        found = in_a_row(names, seed)
        assert (found.uids, found.nonstandard) == expected
        assert found == whole


@given(files, files, st.integers())
@example(frozenset({b"12.", b"3."}), frozenset({b"1.", b"23."}), 0)
def test_equality(left: frozenset[bytes], right: frozenset[bytes], seed: int) -> None:
    """Two sets are equal if the names are, whatever order they were found in and whatever was read of them."""
    ours, theirs = in_a_row(left, seed), in_a_row(right, seed + 1)
    read = MessageFiles.of(theirs.uids, theirs.nonstandard)
    assert (ours == theirs) is (ours == read) is (read == ours) is (left == right)
    assert in_a_row(left, seed) == in_a_row(left, seed + 1)


@given(files)
def test_rows_come_back(names: frozenset[bytes]) -> None:
    found = in_a_row(names)
    assert MessageFiles(MessageFiles.of(found.uids, found.nonstandard).row()) == found
    assert found.row() == in_a_row(names).row()


@given(files, dotted | plain | undotted)
def test_membership(names: frozenset[bytes], name: bytes) -> None:
    found = in_a_row(names)
    assert (name in found) is (name in names)
    assert all(name in found for name in names)
