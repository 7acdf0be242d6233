"""Two streams of folders become one of plans, and no look at the source is taken for more than it was."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.far.folder import Folder, Incarnation, join, sort_key
from cyrsync.far.message_files import MessageFiles
from cyrsync.spool.walk_engine import WalkEngine, pair
from cyrsync.sync.folder_plan import FolderPlan, State
from cyrsync.sync.policy import Policy

MAILBOX = Incarnation("3f1d0cb8", 1000, 10)
names = st.sampled_from([b"a", b"a b", b"a-b", b"b", b"5.", b"\x01", b"\xff"])
paths = st.lists(names, max_size=3).map(b"/".join)
trees = st.frozensets(paths).map(lambda found: {b""}.union(*(_with_parents(path) for path in found)))


def _with_parents(path: bytes) -> set[bytes]:
    parts = path.split(b"/")
    return {b"/".join(parts[:length]) for length in range(len(parts) + 1)}


def stream(found: Iterable[bytes], problems: dict[bytes, int] | None = None, **fields: Any) -> list[Folder]:
    """Folders in order, what is below one with a problem left out, sub-folders filled in."""
    problems = problems or {}
    seen = [path for path in found if not any(path != top and is_below(path, top) for top in problems)]
    return [
        Folder(path, problem=problems[path])
        if path in problems
        else Folder(
            path,
            folders=tuple(sorted(p.rpartition(b"/")[2] for p in seen if p and p.rpartition(b"/")[0] == path)),
            incarnation=MAILBOX,
            **fields,
        )
        for path in sorted(seen, key=sort_key)
    ]


def is_below(path: bytes, top: bytes) -> bool:
    """Whether `path` is `top` or below it."""
    return not top or path == top or path.startswith(top + b"/")


def planned(source: list[Folder], replica: list[Folder]) -> dict[bytes, FolderPlan]:
    plans = list(WalkEngine(Policy()).plans(iter(source), iter(replica)))
    assert [plan.path for plan in plans] == sorted((plan.path for plan in plans), key=sort_key)
    return {plan.path: plan for plan in plans}


@given(trees, trees)
def test_pair(ours: set[bytes], theirs: set[bytes]) -> None:
    pairs = list(pair(iter(stream(ours)), iter(stream(theirs))))
    found = [(left or right).path for left, right in pairs if left or right]
    assert found == sorted(ours | theirs, key=sort_key)
    assert {left.path for left, _ in pairs if left} == ours
    assert {right.path for _, right in pairs if right} == theirs
    assert all(left.path == right.path for left, right in pairs if left and right)


def test_pair_asks_for_no_more_than_it_needs() -> None:
    """Both sides are read while the plan is made."""
    asked = []

    def watched(tree: str, found: list[bytes]) -> Iterable[Folder]:
        for path in found:
            asked.append(tree + path.decode())
            yield Folder(path)

    pairs = pair(iter(watched("<", [b"", b"a", b"c"])), iter(watched(">", [b"", b"b"])))
    next(pairs)
    assert asked == ["<", ">"]
    next(pairs)
    assert asked == ["<", ">", "<a", ">b"]


@pytest.mark.parametrize(("ours", "theirs"), [([], []), ([b""], []), ([], [b""]), ([b"", b"a"], [b"", b"a", b"a/b"])])
def test_pair_of_short_streams(ours: list[bytes], theirs: list[bytes]) -> None:
    pairs = list(pair(iter(stream(ours)), iter(stream(theirs))))
    assert len(pairs) == len({*ours, *theirs})


@given(trees, trees)
def test_states(ours: set[bytes], theirs: set[bytes]) -> None:
    plans = planned(stream(ours), stream(theirs))
    assert plans.keys() == ours | theirs
    for path, plan in plans.items():
        if path not in theirs:
            assert plan.state is State.NEW
        elif path not in ours:
            assert plan.state is State.GONE
            assert plan.inside_gone is (path.rpartition(b"/")[0] not in ours)
        else:
            assert plan.state is State.CHANGED  # no attributes are known here


@given(trees, trees, st.dictionaries(paths, st.sampled_from([errno.EACCES, errno.ENOENT, errno.EIO, errno.ENOTDIR])))
def test_nothing_is_planned_below_what_could_not_be_read(
    ours: set[bytes], theirs: set[bytes], problems: dict[bytes, int]
) -> None:
    problems = {path: number for path, number in problems.items() if path in ours}
    source = stream(ours, problems)
    plans = planned(source, stream(theirs))
    for path, plan in plans.items():
        below = [top for top in problems if is_below(path, top)]
        if below:
            assert path in problems
            assert not plan.sends()
            assert not plan.deletes()
            assert plan.state in (State.UNREADABLE, State.VANISHED)
        else:
            assert plan.state is State.GONE or path in ours
    unseen = {path for path in theirs if any(is_below(path, top) for top in problems)}
    assert {path for path, plan in plans.items() if plan.state is State.GONE} == theirs - ours - unseen


def test_gone_topmost_and_inside() -> None:
    plans = planned(stream([b""]), stream([b"", b"a", b"a/b", b"a/b/c", b"a-b", b"b"]))
    assert {path: plan.inside_gone for path, plan in plans.items() if path} == {
        b"a": False, b"a/b": True, b"a/b/c": True, b"a-b": False, b"b": False,
    }  # fmt: skip


def test_a_folder_beside_an_unreadable_one_goes() -> None:
    """`ab` is not below `a`."""
    source = stream([b"", b"a"], {b"a": errno.EACCES})
    plans = planned(source, stream([b"", b"a", b"a/b", b"a b", b"ab"]))
    assert {path for path, plan in plans.items() if plan.state is State.GONE} == {b"a b", b"ab"}


def test_an_unreadable_root() -> None:
    plans = planned([Folder(b"", problem=errno.EACCES)], stream([b"", b"a", b"b"]))
    assert [(plan.path, plan.state) for plan in plans.values()] == [(b"", State.UNREADABLE)]


@pytest.mark.parametrize(
    ("fields", "name", "in_the_way"),
    [
        ({"messages": MessageFiles(b"5.")}, b"5.", True),
        ({"messages": MessageFiles(b"5.")}, b"6.", False),
        ({"messages": MessageFiles(b"007.")}, b"007.", True),
        ({"messages": MessageFiles(b"7.")}, b"007.", False),
        ({"metadata": {b"cyrus.x": None}}, b"cyrus.x", True),
        ({"other_files": {b"x": None}}, b"x", True),
        ({"other_files": {b"x": None}}, b"y", False),
        ({}, b"5.", False),
    ],
)
@pytest.mark.parametrize("path", [b"", b"user/joe"])
def test_in_the_way(path: bytes, fields: dict[str, Any], name: bytes, in_the_way: bool) -> None:
    source = stream(_with_parents(path) | {join(path, b"Sub"), b"zz"}, **fields)
    found = join(path, name)
    replica = stream(_with_parents(found) | {found + b"/below", join(path, b"Sub"), join(path, b"Sub/gone")})
    engine = WalkEngine(Policy())
    list(engine.plans(iter(source), iter(replica)))
    assert engine.in_the_way is in_the_way


def test_only_what_stands_in_the_very_place_is_in_the_way() -> None:
    source = [Folder(b"", other_files={b"x": None}, folders=(b"a",)), Folder(b"a")]
    engine = WalkEngine(Policy())
    list(engine.plans(iter(source), iter(stream([b"", b"a", b"a/x", b"y", b"y/x"]))))
    assert not engine.in_the_way


def test_a_large_spool_takes_no_memory_for_where_it_is() -> None:
    """What is remembered is the way to the present folder, not the whole tree."""
    engine = WalkEngine(Policy())
    source = stream([b"", *(b"user/u%03d" % number for number in range(200)), b"user"])
    for _ in engine.plans(iter(source), iter(())):
        assert len(engine._above) <= 3
