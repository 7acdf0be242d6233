"""What an entry is, from its name alone."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cyrsync.cyrus.mailbox.entry import is_left_alone, is_leftover, is_message, is_metadata, temporary_of

names = st.binary(min_size=1).filter(lambda name: not {0, ord("/")} & set(name))


@pytest.mark.parametrize("name", [b"1.", b"0.", b"007.", b"4294967295.", b"99999999999999999999."])
def test_messages(name: bytes) -> None:
    assert is_message(name)
    assert not is_metadata(name)
    assert not is_left_alone(name, at_root=True)


@pytest.mark.parametrize(
    "name",
    [b"1", b"1..", b"1.2.", b".", b"..", b".1.", b"1.\n", b"\n1.", b" 1.", b"-1.", b"+1.", b"1_0.", b"x.", b"1.x",
     "\N{ARABIC-INDIC DIGIT ONE}.".encode(), b"\xb2."],
)  # fmt: skip
def test_no_messages(name: bytes) -> None:
    assert not is_message(name)


@pytest.mark.parametrize(
    ("name", "metadata"),
    [
        (b"cyrus.index", True),
        (b"cyrus.header", True),
        (b"cyrus.", True),
        (b"cyrus.index.NEW.1", True),
        (b"cyrus.index\n", True),
        (b"cyrus.index.NEW", False),
        (b"cyrus.NEW", False),
        (b"cyrus..NEW", False),
        (b"cyrus", False),
        (b"Cyrus.index", False),
        (b".cyrus.index", False),
        (b"cyrusXindex", False),
    ],
)
def test_metadata(name: bytes, metadata: bool) -> None:
    assert is_metadata(name) is metadata


@pytest.mark.parametrize(
    ("name", "in_a_folder", "at_root"),
    [
        (b".hidden", True, True),
        (b".1..AbCdEf", True, True),
        (b"cyrus.index.NEW", True, True),
        (b"stage.", False, True),
        (b"sync.", False, True),
        (b"lost+found", False, True),
        (b"stage", False, False),
        (b"index.NEW", False, False),
        (b"#calendars", False, False),
        (b"1.", False, False),
    ],
)
def test_left_alone(name: bytes, in_a_folder: bool, at_root: bool) -> None:
    assert is_left_alone(name, at_root=False) is in_a_folder
    assert is_left_alone(name, at_root=True) is at_root


@pytest.mark.parametrize(
    ("name", "leftover"),
    [
        (b".1..AbCdE9", True),
        (b".007..AbCdEf", True),
        (b".cyrus.index.AbCdEf", True),
        (b".cyrus.odd\nname.AbCdEf", True),
        (b".1..AbCdEf\n", False),
        (b".1..AbCdE", False),
        (b".1..AbCdEfg", False),
        (b".1..AbC-Ef", False),
        (b".1.AbCdEf", True),
        (b"1..AbCdEf", False),
        (b".cyrus..AbCdEf", False),
        (b".bashrc.AbCdEf", False),  # could be anybody's
        (b".hidden", False),
    ],
)
def test_leftovers(name: bytes, leftover: bool) -> None:
    assert is_leftover(name) is leftover


@given(names, st.booleans())
@example(b"cyrus.index.NEW", False)
def test_nothing_is_two_things(name: bytes, at_root: bool) -> None:
    assert [is_message(name), is_metadata(name), is_left_alone(name, at_root)].count(True) <= 1


@given(names)
def test_leftovers_are_hidden(name: bytes) -> None:
    assert is_left_alone(name, at_root=False) or not is_leftover(name)


@pytest.mark.parametrize(
    ("name", "temporary"),
    [
        (b".12..AbCd12", b"12."),
        (b".12.AbCd12", b"12."),
        (b".cyrus.index.AbCd12", b"cyrus.index"),
        (b".joe\n.sub.AbCd12", b"joe\n.sub"),
        (b".hidden.AbCd12", b".hidden"),
    ],
)
def test_whose_temporary_file_it_is(name: bytes, temporary: bytes) -> None:
    assert temporary in temporary_of(name)


@pytest.mark.parametrize(
    "name", [b"12.", b".12.", b"12..AbCd12", b".12..AbCd1", b".12..AbCd-2", b"..AbCd12", b".~tmp~"]
)
def test_no_temporary_file(name: bytes) -> None:
    assert temporary_of(name) == ()
