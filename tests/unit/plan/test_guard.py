"""The rails against a deletion that nobody meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.errors import UsageError
from cyrsync.plan.folder_plan import FolderPlan, State
from cyrsync.plan.guard import Deletions, MaxDelete, withhold

counts = st.integers(0, 10**6)


def deletions(messages: int = 0, folders: int = 0, others: int = 0, *, of: int = 0, of_folders: int = 0) -> Deletions:
    return Deletions(messages, folders, others, replica_messages=of, replica_folders=of_folders)


@pytest.mark.parametrize(
    ("planned", "withheld"),
    [
        (deletions(), False),
        (deletions(of=1000, of_folders=100), False),
        (deletions(100, of=100), False),  # not more than is harmless
        (deletions(101, of=101), True),
        (deletions(101, of=201), True),
        (deletions(101, of=202), False),  # exactly half
        (deletions(500_000, of=1_000_000), False),
        (deletions(500_001, of=1_000_000), True),
        (deletions(folders=100, of_folders=100), False),
        (deletions(folders=101, of_folders=201), True),
        (deletions(folders=101, of_folders=202), False),
        (deletions(60, 60, of=60, of_folders=60), False),
        (deletions(1, 101, of=1000, of_folders=150), True),
        (deletions(others=10_000), False),
    ],
)
def test_without_a_limit(planned: Deletions, withheld: bool) -> None:
    reason = withhold(planned, None)
    assert (reason is not None) is withheld
    if reason:
        assert "--max-delete" in reason


@pytest.mark.parametrize(
    ("planned", "limit", "withheld"),
    [
        (deletions(10, of=10), "10", False),
        (deletions(11, of=1000), "10", True),
        (deletions(5, 3, 2), "10", False),
        (deletions(5, 3, 3), "10", True),
        (deletions(), "0", False),
        (deletions(1), "0", True),
        (deletions(others=1), "0", True),
        (deletions(10**6, of=10**6), "1000000", False),  # the user's own rail replaces ours
        (deletions(10, of=100), "10%", False),
        (deletions(11, of=100), "10%", True),
        (deletions(101, of=1000), "10%", True),
        (deletions(100, of=1000), "10%", False),
        (deletions(folders=1, of_folders=10), "10%", False),
        (deletions(folders=2, of_folders=10), "10%", True),
        (deletions(1, of=1), "100%", False),
        (deletions(500, 50, of=500, of_folders=50), "100%", False),
        (deletions(1, of=10**6), "0%", True),
        (deletions(), "0%", False),
    ],
)
def test_with_a_limit(planned: Deletions, limit: str, withheld: bool) -> None:
    reason = withhold(planned, MaxDelete.parse(limit))
    assert (reason is not None) is withheld
    if reason:
        assert f"--max-delete={limit}" in reason


@pytest.mark.parametrize(
    ("text", "number", "percent"),
    [("0", 0, False), ("10", 10, False), (" 10 ", 10, False), ("007", 7, False), ("0%", 0, True), ("100%", 100, True)],
)
def test_parse(text: str, number: int, percent: bool) -> None:
    assert MaxDelete.parse(text) == MaxDelete(number, percent)


@pytest.mark.parametrize(
    "text", ["", "%", "-1", "+1", "1.5", "10 %", "101%", "10%%", "%10", "x", "1e3", "1_000", "10\n1"]
)
def test_parse_refuses(text: str) -> None:
    with pytest.raises(UsageError, match="--max-delete="):
        MaxDelete.parse(text)


@given(st.text(max_size=8))
def test_parse_raises_nothing_else(text: str) -> None:
    try:
        limit = MaxDelete.parse(text)
    except UsageError:
        return
    assert limit.number >= 0


@given(counts, counts, counts, counts, counts, st.none() | st.builds(MaxDelete, st.integers(0, 100), st.booleans()))
def test_nothing_to_delete_is_never_withheld_and_less_never_more(
    messages: int, folders: int, others: int, of: int, of_folders: int, limit: MaxDelete | None
) -> None:
    assert withhold(deletions(of=of, of_folders=of_folders), limit) is None
    fewer = deletions(messages // 2, folders // 2, others // 2, of=of, of_folders=of_folders)
    more = deletions(messages, folders, others, of=of, of_folders=of_folders)
    assert withhold(fewer, limit) is None or withhold(more, limit) is not None


def test_counting() -> None:
    counted = Deletions()
    kept = FolderPlan(b"kept", State.CHANGED, messages_delete=50, others_delete=5, replica_messages=60)
    kept.delete_files = (b"x",)
    kept.keep()
    for plan in (
        FolderPlan(b"same", State.SAME, replica_messages=10),
        FolderPlan(
            b"changed", State.CHANGED, delete_files=(b"x",), messages_delete=2, others_delete=1, replica_messages=20
        ),
        FolderPlan(b"gone", State.GONE, messages_delete=3, others_delete=2, replica_messages=3),
        FolderPlan(b"gone/in", State.GONE, inside_gone=True, messages_delete=4, replica_messages=4),
        FolderPlan(b"new", State.NEW),
        FolderPlan(b"unreadable", State.UNREADABLE),
        FolderPlan(b"vanished", State.VANISHED),
        kept,
    ):
        counted.add(plan)
    assert counted == Deletions(messages=9, folders=2, others=3, replica_messages=97, replica_folders=5)
    assert counted.total() == 14


def test_leftovers_of_rsync_are_not_counted() -> None:
    """They are nobody's, and must not stand in the way of what is meant."""
    counted = Deletions()
    counted.add(FolderPlan(b"a", State.CHANGED, leftovers=(b".1..AbCdEf",) * 200))
    assert counted.total() == 0
