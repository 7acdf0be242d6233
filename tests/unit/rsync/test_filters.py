"""Which filter rules a run in steps can honour, and what they leave out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.rsync import filters
from cyrsync.rsync.filters import Rules

PIECES = ["a", "b", ".", "1", "7", "*", "**", "?", "/", "-", "\n"]
patterns = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join)


def rules_of(*words: str) -> Rules:
    found = [filters.parse(*word.split("=", 1)) for word in words]
    return Rules(tuple(rule for rule in found if rule))


@given(st.lists(st.tuples(st.sampled_from(["exclude", "include"]), patterns), min_size=1, max_size=3))
def test_no_rule_is_about_messages_unless_it_says_so(words: list[tuple[str, str]]) -> None:
    rules = [rule for word in words if (rule := filters.parse(*word))]
    harmless = Rules(tuple(rule for rule in rules if not rule.may_match_message()))
    for path in (b"12.", b"a/1.", b"1./7.", b"a/b/4294967295."):
        assert not harmless._decide(path, directory=False)


@pytest.mark.parametrize(
    ("pattern", "about"),
    [
        ("*", True),
        ("*.", True),
        ("?.", True),
        ("1?", True),
        ("1*", True),
        ("*.tmp", False),
        (".*", False),
        ("a*", False),
    ],
)
def test_what_may_be_a_message(pattern: str, about: bool) -> None:
    rule = filters.parse("exclude", pattern)
    assert rule
    assert rule.may_match_message() == about
    below = filters.parse("exclude", f"/user/joe/{pattern}")
    assert below
    assert below.may_match_message() == about


def test_what_is_in_a_directory_that_is_left_out_is_left_out() -> None:
    rules = rules_of("exclude=/user/joe/")
    assert rules.excludes(b"user/joe/Sent/cyrus.cache", directory=False)
    assert not rules.excludes(b"a/user/joe/cyrus.cache", directory=False)
    anchored = Rules(rules.rules, (), b"spool")
    assert not anchored.excludes(b"user/joe", directory=True)
