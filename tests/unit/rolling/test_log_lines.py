"""What the lines of a sync log name, in all their forms; and that no torn line is believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.rolling.log_lines import Change, Kind, parse

ONE_NAME = "APPEND ACL MAILBOX UNMAILBOX USER UNUSER META SIEVE QUOTA ANNOTATION".split()
TWO_NAMES = "RENAME DOUBLEMAILBOX SEEN SUB UNSUB".split()
#: What each version writes.
BY_VERSION = {
    "2.3": "USER META MAILBOX APPEND ACL QUOTA ANNOTATION SEEN SUB",
    "2.4": "USER META MAILBOX QUOTA ANNOTATION SEEN SUB",
    "2.5": "USER META MAILBOX QUOTA ANNOTATION SEEN SUB UNMAILBOX UNUSER",
    "3.0": "USER META MAILBOX QUOTA ANNOTATION SEEN SUB UNMAILBOX UNUSER APPEND",
    "3.6": "USER META MAILBOX QUOTA ANNOTATION SEEN SUB UNMAILBOX UNUSER APPEND DOUBLEMAILBOX RENAME",
}
_QUOTED = frozenset(b' \t()"\\{}')


def mailbox(name: bytes) -> Change:
    return Change(Kind.MAILBOX, name)


def quoted(name: bytes) -> bytes:
    """A name as Cyrus writes it."""
    if name and not _QUOTED.intersection(name):
        return name
    escaped = b"".join(b"\\%c" % byte if byte in b'\\"{}' else b"%c" % byte for byte in name)
    return b'"%s"' % escaped


def line(word: str, *names: bytes) -> bytes:
    return b" ".join([word.encode(), *map(quoted, names)]) + b"\n"


names = st.one_of(
    st.sampled_from([b"user.joe", b"user.joe.Sent Items", b"example.com!user.jane", b'user.a"b', b"user.joe.c&AOk-t"]),
    st.binary(min_size=1, max_size=20).filter(lambda name: not {0, 10, 13}.intersection(name)),
)


@st.composite
def records(draw: st.DrawFn, words: str = " ".join([*ONE_NAME, *TWO_NAMES])) -> tuple[str, list[bytes]]:
    word = draw(st.sampled_from(words.split()))
    return word, [draw(names) for _ in range(2 if word in TWO_NAMES else 1)]


# --- What lines say


@pytest.mark.parametrize(
    ("data", "changes"),
    [
        (b"MAILBOX user.joe\n", [mailbox(b"user.joe")]),
        (b"MAILBOX user.joe\r\n\r\n\nMAILBOX user.jane\n", [mailbox(b"user.joe"), mailbox(b"user.jane")]),
        (b'mailbox "user.joe.Sent Items"\n', [mailbox(b"user.joe.Sent Items")]),
        (b'MAILBOX "a\\"b\\\\c\\{d\\}"\n', [mailbox(b'a"b\\c{d}')]),
        (b"MAILBOX {8}\r\nuser.joe\r\n", [mailbox(b"user.joe")]),
        (b"MAILBOX {9+}\r\nuser.\njoe\n", [mailbox(b"user.\njoe")]),
        (b"RENAME a b\nMAILBOX a\nMAILBOX b\n", [mailbox(b"a"), mailbox(b"b")]),
        (b"USER joe\nMETA joe\n", [Change(Kind.USER, b"joe"), Change(Kind.FILES, b"joe")]),
        (b"SEEN joe 1234-5678\nSUB joe user.jane\n", [Change(Kind.FILES, b"joe")]),
        (b'QUOTA user.joe\nANNOTATION ""\n', [Change(Kind.FILES, b"")]),
        (b'MAILBOX ""\nUSER ""\n', []),
        (b"", []),
    ],
)
def test_what_a_line_names(data: bytes, changes: list[Change]) -> None:
    found = parse(data)
    assert (list(found.changes), found.doubts) == (changes, [])


@pytest.mark.parametrize(
    "data",
    [
        b"APPE",
        b"MAILBOX user.joe",
        b"MAILBOX\n",
        b"MAILBOX \n",
        b" MAILBOX user.joe\n",
        b"APPEMAILBOX user.joe\n",
        b"SEEN joe MAILBOX user.joe\n",
        b"SEEN MAILBOX user.joe\n",
        b'MAILBOX "user.joe\n',
        b'MAILBOX "user.joe"x\n',
        b'MAILBOX user."joe\n',
        b"MAILBOX user.joe user.jane\n",
        b"MAILBOX {5}user.joe\n",
        b"MAILBOX {500}\r\nuser.joe\n",
        b"MAILBOX user.\0joe\n",
        b"RESERVE user.joe\n",
        b"\xff\xfe\n",
    ],
)
def test_lines_that_are_not_believed(data: bytes) -> None:
    found = parse(data + b"\nMAILBOX user.jane\n" if data.endswith(b"\n") else data)
    assert found.doubts
    assert list(found.changes) == [mailbox(b"user.jane")] * data.endswith(b"\n")


def test_an_append_is_followed_by_its_mailbox() -> None:
    assert parse(b"APPEND a\n").changes == {mailbox(b"a"): False}
    assert parse(b"APPEND a\nMAILBOX a\nAPPEND a\n").changes == {mailbox(b"a"): True}


@pytest.mark.parametrize(("data", "relist"), [(b"MAILBOX a\n", False), (b"UNMAILBOX a\n", True), (b"UNUSER a\n", True)])
def test_what_makes_the_list_of_mailboxes_another(data: bytes, relist: bool) -> None:
    assert parse(data).relist is relist


def test_few_doubts_are_kept_and_shown_safely() -> None:
    found = parse(b"\x1b[31mX" * 1000 + b"\n" + b"NEWWORD a\n" * 1000)
    assert len(found.doubts) == 5
    assert all(len(doubt) < 400 and doubt.isprintable() for doubt in found.doubts)


# --- Whatever stands there


@pytest.mark.parametrize("version", BY_VERSION)
@given(data=st.data())
def test_what_each_version_writes_is_understood(version: str, data: st.DataObject) -> None:
    written = data.draw(st.lists(records(BY_VERSION[version])))
    found = parse(b"".join(line(word, *names) for word, names in written))
    assert not found.doubts or any(
        len(names) > 1 and names[0].endswith(tuple(word.encode() for word in [*ONE_NAME, *TWO_NAMES]))
        for _, names in written
    )
    named = {name for word, names in written if word in ("MAILBOX", "UNMAILBOX", "DOUBLEMAILBOX") for name in names}
    assert {mailbox(name) for name in named} <= found.changes.keys() or found.doubts


@given(st.binary())
def test_no_bytes_are_too_strange(data: bytes) -> None:
    found = parse(data)
    assert found.doubts or found.changes or not data.strip() or b'""' in data or b"{0" in data


@given(records(), records(), st.data())
def test_a_record_glued_to_a_torn_one_is_not_believed(
    torn: tuple[str, list[bytes]], whole: tuple[str, list[bytes]], data: st.DataObject
) -> None:
    first, second = line(torn[0], *torn[1]), line(whole[0], *whole[1])
    cut = data.draw(st.integers(min_value=1, max_value=len(first) - 1))
    found = parse(first[:cut] + second)
    # `UN` in front of another word makes a word of its own, about the same names; it has the list read again.
    assert found.doubts or (found.relist and found.changes.keys() >= parse(second).changes.keys())


@given(st.lists(records(), min_size=1), st.data())
def test_a_torn_end_is_not_believed(written: list[tuple[str, list[bytes]]], data: st.DataObject) -> None:
    lines = [line(word, *names) for word, names in written]
    cut = data.draw(st.integers(min_value=1, max_value=len(lines[-1]) - 1))
    found = parse(b"".join([*lines[:-1], lines[-1][:cut]]))
    assert found.doubts
