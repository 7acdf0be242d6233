"""The rails against a deletion that nobody meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.errors import UsageError
from cyrsync.far import uids as uid_sets
from cyrsync.sync.folder_plan import FolderPlan, State
from cyrsync.sync.guard import DeleteLimit, Deletions, MaxDelete, withhold

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
    limit = DeleteLimit(None, asked=True)
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
        limit.listed(plan.path, plan)
    assert limit.counted == Deletions(messages=9, folders=2, others=3, replica_messages=97, replica_folders=5)
    assert limit.counted.total() == 14


@pytest.mark.parametrize(
    ("limit", "earlier", "withheld"), [("100%", 500, False), ("50%", 90, False), ("50%", 110, True)]
)
def test_what_others_have_deleted_is_of_what_there_was_before(limit: str, earlier: int, *, withheld: bool) -> None:
    """The replica has 100 messages left."""
    one = DeleteLimit(MaxDelete.parse(limit), asked=True)
    one.after((earlier, 0, 0))
    one.of(messages=100, folders=10)
    one.count("joe", FolderPlan(b"joe", State.CHANGED, messages_delete=1, delete_uids=uid_sets.of([1])))
    one.decide()
    assert bool(one.reason) is withheld


def test_leftovers_of_rsync_are_not_counted() -> None:
    """They are nobody's, and must not stand in the way of what is meant."""
    limit = DeleteLimit(None, asked=True)
    limit.listed(b"a", FolderPlan(b"a", State.CHANGED, leftovers=(b".1..AbCdEf",) * 200))
    assert limit.counted.total() == 0


def changed(path: bytes, messages: int, *, of: int = 0) -> FolderPlan:
    return FolderPlan(
        path, State.CHANGED, delete_files=(b"x",) * bool(messages), messages_delete=messages, replica_messages=of
    )


def limit_of(number: int, *, asked: bool = True, percent: bool = False) -> DeleteLimit:
    return DeleteLimit(MaxDelete(number, percent), asked=asked)


def test_a_plan_made_anew_is_counted_in_place_of_the_first_one() -> None:
    limit = limit_of(5)
    limit.listed(b"a", changed(b"a", 3))
    limit.decide()
    limit.replan(b"a", changed(b"a", 5))
    assert (limit.counted.total(), limit.allows()) == (5, True)
    limit.replan(b"a", changed(b"a", 0))
    limit.replan(b"b", changed(b"b", 5))
    assert (limit.counted.total(), limit.allows()) == (5, True)


def test_a_plan_that_is_too_much_ends_all_deleting() -> None:
    limit = limit_of(5)
    limit.listed(b"a", changed(b"a", 3))
    limit.decide()
    late = changed(b"b", 3)
    limit.replan(b"b", late)
    assert not late.deletes()
    assert not limit.allows()
    assert limit.reason == "nothing is deleted: 6 files and folders to delete; the limit is --max-delete=5"
    limit.replan(b"b", changed(b"b", 0))
    assert not limit.allows(), "what one has said stays true"


def test_what_has_happened_is_counted_beside_what_comes_later() -> None:
    limit = limit_of(5)
    limit.listed(b"a", changed(b"a", 3))
    limit.decide()
    limit.done([b"a"])
    limit.replan(b"a", changed(b"a", 3))
    assert limit.reason.startswith("nothing more is deleted: 6 files")
    assert limit.left() == 3


def test_what_a_broken_attempt_may_have_deleted_stays_counted() -> None:
    limit = limit_of(5)
    limit.listed(b"a", changed(b"a", 3, of=10))
    limit.listed(b"b", changed(b"b", 1, of=10))
    limit.decide()
    assert limit.start()
    limit.done([b"b"])
    limit.begin()
    # Two of the three were deleted, or the last one's answer was lost: the same three all the same.
    limit.listed(b"a", changed(b"a", 1, of=8))
    assert limit.counted.total() == 4
    limit.listed(b"b", changed(b"b", 2, of=9))
    limit.decide()
    assert limit.reason.startswith("nothing more is deleted: 6 files")


def test_an_attempt_that_deleted_nothing_leaves_nothing_counted() -> None:
    limit = limit_of(5)
    limit.listed(b"a", changed(b"a", 6, of=10))
    limit.decide()
    assert not limit.start()
    limit.begin()
    limit.listed(b"b", changed(b"b", 5, of=10))
    limit.decide()
    assert (limit.start(), limit.reason) == (True, "")


def test_a_percentage_is_of_what_the_replica_had_before_the_first_attempt() -> None:
    limit = limit_of(50, percent=True)
    limit.listed(b"a", changed(b"a", 5, of=10))
    limit.decide()
    assert limit.start()
    limit.begin()
    limit.listed(b"a", changed(b"a", 1, of=6))
    limit.decide()
    assert limit.allows()


@pytest.mark.parametrize(("number", "percent"), [(5, False), (2, False), (49, True)])
def test_plans_in_doubt_that_would_be_too_much(number: int, percent: bool) -> None:
    limit = limit_of(number, percent=percent)
    limit.listed(b"a", changed(b"a", 2, of=10))
    limit.decide()
    limit.doubt([changed(b"b", 3), changed(b"c", 1)], "An old list?")
    assert (limit.allows(), limit.left()) == (False, 6)
    assert limit.reason == "nothing is deleted: An old list? Give --max-delete=6 if it is right"


@pytest.mark.parametrize(("number", "percent"), [(6, False), (60, True)])
def test_plans_in_doubt_that_would_not_count_for_nothing(number: int, percent: bool) -> None:
    limit = limit_of(number, percent=percent)
    limit.listed(b"a", changed(b"a", 2, of=10))
    limit.decide()
    limit.doubt([changed(b"b", 3), changed(b"c", 1)], "An old list?")
    assert (limit.allows(), limit.left(), limit.counted.total()) == (True, 2, 2)


def test_plans_in_doubt_are_nothing_to_who_deletes_nothing() -> None:
    limit = limit_of(0, asked=False)
    limit.doubt([changed(b"b", 3000)], "An old list?")
    assert (limit.reason, limit.left()) == ("", 0)


def test_who_does_not_ask_deletes_nothing_and_is_not_told_of_it() -> None:
    limit = limit_of(0, asked=False)
    plan = changed(b"a", 3)
    limit.listed(b"a", plan)
    limit.files(7, of=9)
    limit.decide()
    assert (limit.allows(), limit.reason, limit.left()) == (False, "", 0)
    assert (plan.deletes(), plan.messages_delete) == (False, 0)


@given(st.lists(st.tuples(st.sampled_from("list late done again".split()), st.integers(0, 3), st.integers(0, 9))))
def test_no_more_is_ever_deleted_than_was_counted(steps: list[tuple[str, int, int]]) -> None:
    """Deletions happen only where a plan is done that was allowed, and their sum is within the limit."""
    limit = limit_of(10)
    deleted = 0
    plans: dict[int, FolderPlan] = {}
    for step, folder, number in steps:
        plan = changed(b"%d" % folder, number)
        if step == "list":
            limit.listed(folder, plan)
            limit.decide()
            plans[folder] = plan
        elif step == "late":
            limit.replan(folder, plan)
            plans[folder] = plan
        elif step == "done" and folder in plans and limit.start():
            deleted += plans.pop(folder).messages_delete
            limit.done([folder])
        elif step == "again":
            limit.begin()
            plans.clear()
    assert deleted <= 10


def gone_messages(number: int) -> FolderPlan:
    return FolderPlan(b"a", State.CHANGED, messages_delete=number, delete_uids=uid_sets.of(range(1, number + 1)))


def test_what_others_have_deleted_within_the_hour_counts() -> None:
    limit = DeleteLimit(MaxDelete(10, percent=False), asked=True)
    assert limit.spent() == (0, 0, 0)
    limit.after((6, 2, 0))
    limit.of(messages=1000, folders=10)
    limit.count("a", gone_messages(2))
    limit.decide()
    assert limit.allows()
    assert limit.start()
    assert limit.spent() == (2, 0, 0)
    limit.count("b", gone_messages(1))
    limit.decide()
    assert not limit.allows()


def test_what_others_have_deleted_is_no_reason_of_itself() -> None:
    limit = DeleteLimit(MaxDelete(10, percent=False), asked=True)
    limit.after((60, 2, 0))
    limit.decide()
    assert not limit.reason
