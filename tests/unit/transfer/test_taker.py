"""Folders are taken just before they are sent: their plans are of what is there then."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import samplespool
from cyrsync.plan.compare import Policy, compare
from cyrsync.plan.folder_plan import FolderPlan, State
from cyrsync.report.result import RunResult
from cyrsync.transfer import taker as taking
from cyrsync.transfer.staging import Staging
from cyrsync.transfer.taker import Taker, batches
from cyrsync.tree.folder import Folder
from cyrsync.tree.take import Taken, take
from cyrsync.tree.walk import Reader

JOE, SENT = b"j/user/joe", b"j/user/joe/Sent"


@dataclass
class Source:
    """The source: folders are taken from a spool, but for those with a trouble."""

    root: bytes
    problems: dict[bytes, int] = field(default_factory=dict)
    asked: list[list[bytes]] = field(default_factory=list)

    def take(self, root: bytes, paths: Sequence[bytes]) -> Iterator[Taken]:
        assert root == self.root
        self.asked.append(list(paths))
        reader = Reader(root)
        for path in paths:
            problem = self.problems.get(path)
            yield Taken(Folder(path, problem=problem)) if problem else take(reader, path)


@dataclass
class Case:
    """A spool, the plans of a look at it, and a taker."""

    spool: Path
    staging: Path
    result: RunResult = field(default_factory=lambda: RunResult("a", "b", "walk", dry_run=False, started=""))

    def __post_init__(self) -> None:
        self.source = Source(os.fsencode(self.spool))
        policy = Policy()
        self.taker = Taker(self.source, self.source.root, policy, Staging(self.staging), self.result)  # type: ignore[arg-type]

    def plan(self, path: bytes, replica: Folder | None = None) -> FolderPlan:
        made = compare(Reader(self.source.root).read(path), replica, Policy())
        self.result.add(made)
        return made

    def staged(self) -> list[str]:
        return sorted(str(path.relative_to(self.staging)) for path in self.staging.rglob("cyrus.*"))


@pytest.fixture
def case(tmp_path: Path) -> Case:
    samplespool.make(tmp_path / "spool", messages=40, folder_count=3)
    return Case(tmp_path / "spool", tmp_path / "staging")


def test_plans_are_of_what_is_there_now(case: Case) -> None:
    before = case.plan(SENT)
    uids = samplespool.deliver(case.spool / os.fsdecode(SENT), 3)
    (fresh,) = case.taker.take([before])
    assert list(fresh.uids) == [*before.uids, *uids]
    assert fresh.staged
    assert fresh.state is State.NEW
    assert case.staged() == [f"{os.fsdecode(SENT)}/{name}" for name in ("cyrus.header", "cyrus.index")]
    assert case.result.messages.send == len(fresh.uids)


def test_only_what_has_metadata_to_send_is_taken(case: Case) -> None:
    same = compare(reader_of(case).read(JOE), reader_of(case).read(JOE), Policy())
    lost = Folder(JOE)._replace(**{**reader_of(case).read(JOE)._asdict(), "strays": {b"extra": None}})
    plans = [same, case.plan(SENT), compare(reader_of(case).read(JOE), lost, Policy())]
    taken = case.taker.take(plans)
    assert case.source.asked == [[SENT]]
    assert taken[0] is plans[0]
    assert taken[2] is plans[2]


def reader_of(case: Case) -> Reader:
    return Reader(case.source.root)


def test_nothing_to_take(case: Case) -> None:
    assert case.taker.take([]) == []


def test_what_was_taken_is_taken_again(case: Case) -> None:
    """Also where the replica turns out to have that metadata."""
    (first,) = case.taker.take([case.plan(SENT)])
    first.metadata = ()
    (again,) = case.taker.take([first])
    assert case.source.asked == [[SENT], [SENT]]
    assert again.staged


def test_a_folder_that_is_gone_meanwhile(case: Case) -> None:
    plans = [case.plan(JOE), case.plan(SENT)]
    samplespool.delete_folder(case.spool / os.fsdecode(SENT))
    joe, sent = case.taker.take(plans)
    assert joe.staged
    assert (sent.state, sent.staged, sent.sends(), sent.deletes()) == (State.VANISHED, False, False, False)
    assert case.result.errors == []
    assert case.result.messages.send == len(joe.uids)


@pytest.mark.parametrize(("problem", "named"), [(errno.EBUSY, True), (errno.EACCES, False)])
def test_a_folder_that_cannot_be_taken_is_left(case: Case, problem: int, named: bool) -> None:
    case.source.problems[SENT] = problem
    joe, sent = case.taker.take([case.plan(JOE), case.plan(SENT)])
    assert joe.staged
    assert not (sent.staged or sent.sends() or sent.deletes())
    assert [error.startswith("j/user/joe/Sent: a writer") for error in case.result.errors] == [True] * named


def test_another_mailbox_by_now(case: Case) -> None:
    replica = reader_of(case).read(SENT)
    samplespool.deliver(case.spool / os.fsdecode(SENT), 1)
    before = case.plan(SENT, replica)
    assert before.state is State.CHANGED
    samplespool.swap(case.spool / os.fsdecode(SENT), case.spool / "j/user/joe/Trash")
    (fresh,) = case.taker.take([before])
    assert fresh.state is State.RECREATED
    assert case.result.folders.recreated == 1
    assert case.result.folders.changed == 0


def some(count: int, size: int = 0, messages: int = 0) -> list[FolderPlan]:
    fields: dict[str, Any] = {"metadata_bytes": size, "messages_send": messages}
    return [FolderPlan(b"%d" % number, State.NEW, **fields) for number in range(count)]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "_STAGED_BYTES", 100)
    monkeypatch.setattr(taking, "_LISTED", 10)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("plans", "sizes"),
    [
        (some(0), []),
        (some(1), [1]),
        (some(50), [50]),
        (some(4, size=50), [2, 2]),
        (some(5, size=51), [1] * 5),
        (some(3, size=1000), [1] * 3),
        (some(4, messages=5), [2, 2]),
        (some(3, messages=1000), [1] * 3),
        (some(1, size=1000) + some(3, size=10), [1, 3]),
        (some(3, size=10) + some(1, size=1000) + some(1), [3, 1, 1]),
        (some(2, size=40) + some(1, messages=11) + some(2, size=40), [2, 1, 2]),
    ],
)
def test_batches(plans: list[FolderPlan], sizes: list[int]) -> None:
    parts = list(batches(plans))
    assert [plan for part in parts for plan in part] == plans
    assert [len(part) for part in parts] == sizes
