"""What a pull asks for: each entry once, so that rsync's receiver can hold the far end to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.rsync.asked import OtherFile, Own, Piece, pieces

FILES_ONLY = ("--no-dirs",)

_name = st.text(st.sampled_from("ab*?[\\]\n"), min_size=1, max_size=3).map(str.encode)
_path = st.lists(_name, min_size=1, max_size=3).map(b"/".join)
_entry = st.one_of(_path, _path.map(OtherFile), _path.map(Own), _path.map(lambda path: path + b"/"))


def test_names_of_files_are_asked_for_as_such() -> None:
    assert list(pieces([b"joe/1.", b"joe/2."])) == [Piece([b"joe/1.", b"joe/2."], FILES_ONLY, (), files=True)]


def test_a_stray_may_be_anything() -> None:
    assert list(pieces([OtherFile(b"joe/link")])) == [Piece([b"joe/link"], FILES_ONLY, (), files=False)]


def test_a_whole_folder_is_a_directory() -> None:
    assert list(pieces([b"joe/", b"sue/1."])) == [
        Piece([b"joe/"], (), (), files=True),
        Piece([b"sue/1."], FILES_ONLY, (), files=True),
    ]


def test_a_directory_by_itself_lets_nothing_in_it_pass() -> None:
    assert list(pieces([Own(b"a/b")])) == [Piece([b"a/b"], (), [b"S /a/", b"S /a/b/", b"H *"], files=True)]


def test_what_leads_to_a_file_needs_no_entry() -> None:
    assert list(pieces([Own(b"a"), b"a/1.", Own(b"b"), Own(b"c"), b"b/1."])) == [
        Piece([b"a/1.", b"b/1."], FILES_ONLY, (), files=True),
        Piece([b"b", b"c"], (), [b"S /b/", b"S /c/", b"H *"], files=True),
    ]


@pytest.mark.parametrize(
    ("entry", "rules"),
    [
        (b"**", [rb"S /\*\*", b"H *"]),
        (rb"a\b/x?", [rb"S /a\b/", rb"S /a\\b/x\?", b"H *"]),
        (b"[a]/", [rb"S /\[a]/", rb"S /\[a]/*", b"H *"]),
    ],
)
def test_a_pattern_stands_for_itself_alone(entry: bytes, rules: list[bytes]) -> None:
    ((entries, words, found, *_),) = pieces([entry])
    assert (entries, words, found) == ([entry], (), rules)


def test_what_rsync_takes_for_an_escape_is_asked_for_by_a_pattern_too() -> None:
    ((entries, _, rules, _, aliases),) = pieces([b"a\\*/1.", b"b\\c*/2."])
    assert entries == [b"a\\*/1.", b"b\\c*/2."]
    assert aliases == (b"a??/1.",)
    assert rules[-1] == b"H *"


def test_lists_are_short() -> None:
    names = [b"%d." % uid for uid in range(12_000)]
    found = list(pieces(names))
    assert [len(list(piece.entries)) for piece in found] == [5000, 5000, 2000]
    assert [name for piece in found for name in piece.entries] == names
    assert [len(list(piece.entries)) for piece in pieces(b"%d/" % i for i in range(1200))] == [500, 500, 200]


@given(st.lists(_entry))
def test_no_entry_is_left_out(entries: list[bytes]) -> None:
    found = [entry for piece in pieces(entries) for entry in piece.entries]
    leads = {entry for entry in entries if isinstance(entry, Own)}
    assert sorted(entry for entry in found if entry not in leads) == sorted(e for e in entries if e not in leads)
    for entry in leads.difference(found):
        assert any(other.rpartition(b"/")[0] == entry for other in found)


def test_the_tree_has_a_name_of_its_own() -> None:
    ((_, _, rules, *_),) = pieces([Own(b"."), Own(b"a")], b"spool")
    assert set(rules[:-1]) == {b"S /spool/", b"S /spool/a/"}
    ((_, words, rules, *_),) = pieces([b"joe/1."], b"sp*l")
    assert (words, rules) == ((), [rb"S /sp\*l/joe/", rb"S /sp\*l/", rb"S /sp\*l/joe/1.", b"H *"])
