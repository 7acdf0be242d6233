"""Folders are read just before they are sent: their plans are of what is there then."""

from __future__ import annotations

import errno
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import samplespool
from cyrsync.far.extended import NO_KINDS, Kinds
from cyrsync.far.folder import Folder
from cyrsync.far.locked_folder import LockedFolder, read_under_locks
from cyrsync.far.walk import Reader
from cyrsync.spool import folder_reader
from cyrsync.spool.compare import compare
from cyrsync.spool.folder_reader import FolderReader, batches
from cyrsync.spool.staging import Staging
from cyrsync.sync.folder_plan import FolderPlan, State
from cyrsync.sync.guard import DeleteLimit, MaxDelete
from cyrsync.sync.policy import Policy
from cyrsync.sync.result import RunResult

JOE, SENT = b"j/user/joe", b"j/user/joe/Sent"


@dataclass
class Source:
    """The source: folders are read from a spool, but for those with a trouble."""

    root: bytes
    problems: dict[bytes, int] = field(default_factory=dict)
    asked: list[list[bytes]] = field(default_factory=list)

    def read_under_locks(
        self, root: bytes, paths: Sequence[bytes], wanted: Kinds = NO_KINDS, *, numeric_ids: bool = False
    ) -> Iterator[LockedFolder]:
        assert root == self.root
        self.asked.append(list(paths))
        reader = Reader(root)
        for path in paths:
            problem = self.problems.get(path)
            yield LockedFolder(Folder(path, problem=problem)) if problem else read_under_locks(reader, path)

    def look(self, root: bytes, paths: Sequence[bytes]) -> Iterator[Folder]:
        assert root == self.root
        return map(Reader(root).read, paths)


@dataclass
class Losses:
    """A transfer: what it is told to have lost, None for everything; and of which whole folders it is to see itself."""

    lost: list[tuple[bytes, array[int] | None]] = field(default_factory=list)
    looked_at: list[tuple[bytes, Folder]] = field(default_factory=list)

    def lose(self, plan: FolderPlan, uids: array[int] | None) -> None:
        self.lost.append((plan.path, uids))

    def lose_of_whole(self, plan: FolderPlan, now: Folder) -> None:
        self.looked_at.append((plan.path, now))


@dataclass
class Case:
    """A spool, the plans of a look at it, and a reader."""

    spool: Path
    staging: Path
    result: RunResult = field(default_factory=lambda: RunResult("a", "b", "walk", dry_run=False, started=""))
    limit: DeleteLimit = field(default_factory=lambda: DeleteLimit(MaxDelete(2, percent=False), asked=True))

    def __post_init__(self) -> None:
        self.source = Source(os.fsencode(self.spool))
        self.reader = self.make_reader(indexed=True)

    def make_reader(self, *, indexed: bool) -> FolderReader:
        return FolderReader(
            self.source,  # type: ignore[arg-type]
            self.source.root,
            Policy(),
            Staging(self.staging),
            self.result,
            self.limit,
            indexed,
        )

    def read_again(self, path: bytes) -> FolderPlan:
        (fresh,) = self.reader.read_again([path])
        return fresh

    def check(self, *plans: FolderPlan) -> Losses:
        losses = Losses()
        self.reader.check(losses, list(plans))  # type: ignore[arg-type]
        return losses

    def folder(self, path: bytes) -> Path:
        return self.spool / os.fsdecode(path)

    def plan(self, path: bytes, replica: Folder | None = None) -> FolderPlan:
        made = compare(Reader(self.source.root).read(path), replica, Policy())
        self.result.add(made)
        return made

    def staged(self) -> list[str]:
        return sorted(str(path.relative_to(self.staging / "tree")) for path in self.staging.rglob("cyrus.*"))


@pytest.fixture
def case(tmp_path: Path) -> Case:
    samplespool.make(tmp_path / "spool", messages=40, folder_count=3)
    return Case(tmp_path / "spool", tmp_path / "staging")


def test_plans_are_of_what_is_there_now(case: Case) -> None:
    before = case.plan(SENT)
    uids = samplespool.deliver(case.spool / os.fsdecode(SENT), 3)
    (fresh,) = case.reader.read([before])
    assert list(fresh.uids) == [*before.uids, *uids]
    assert fresh.staged
    assert fresh.state is State.NEW
    assert case.staged() == [f"{os.fsdecode(SENT)}/{name}" for name in ("cyrus.header", "cyrus.index")]
    assert case.result.messages.send == len(fresh.uids)


def test_what_a_plan_made_anew_deletes_is_counted_in_place_of_what_the_first_one_did(case: Case) -> None:
    replica = reader_of(case).read(SENT)
    samplespool.expunge(case.folder(SENT), 1)
    before = case.plan(SENT, replica)
    case.limit.listed(SENT, before)
    (fresh,) = case.reader.read([before])
    assert (case.limit.counted.messages, fresh.deletes()) == (1, True)
    samplespool.expunge(case.folder(SENT), 1)
    assert case.read_again(SENT).deletes()
    assert case.limit.counted.messages == 2
    samplespool.expunge(case.folder(SENT), 1)
    assert not case.read_again(SENT).deletes()
    assert case.limit.counted.messages == 3
    assert not case.limit.allows()


def test_only_what_has_metadata_to_send_is_read(case: Case) -> None:
    same = compare(reader_of(case).read(JOE), reader_of(case).read(JOE), Policy())
    lost = Folder(JOE)._replace(**{**reader_of(case).read(JOE)._asdict(), "other_files": {b"extra": None}})
    plans = [same, case.plan(SENT), compare(reader_of(case).read(JOE), lost, Policy())]
    fresh = case.reader.read(plans)
    assert case.source.asked == [[SENT]]
    assert fresh[0] is plans[0]
    assert fresh[2] is plans[2]


def test_a_folder_whose_cache_alone_has_grown_is_read(case: Case) -> None:
    """Another mailbox may take its name, before its cache is sent."""
    replica = reader_of(case).read(SENT)
    (case.folder(SENT) / "cyrus.cache").write_bytes(b"more")
    (fresh,) = case.reader.read([case.plan(SENT, replica)])
    assert (fresh.was_locked, fresh.metadata, fresh.derived) == (True, (), (b"cyrus.cache",))
    other_mailbox(case.folder(SENT))
    assert case.check(fresh).lost == [(SENT, None)]
    other_mailbox(case.folder(SENT))
    back = case.read_again(SENT)
    assert (back.state, back.messages_send, back.derived) == (State.CHANGED, 0, (b"cyrus.cache",))


def reader_of(case: Case) -> Reader:
    return Reader(case.source.root)


def test_nothing_to_take(case: Case) -> None:
    assert case.reader.read([]) == []


@pytest.mark.parametrize("indexed", [True, False])
def test_messages_without_an_index_are_read_where_there_are_indexes(case: Case, indexed: bool) -> None:
    """Elsewhere it lies in a metapartition, and tells nothing."""
    for name in ("cyrus.header", "cyrus.index", "cyrus.cache"):
        (case.folder(SENT) / name).unlink()
    os.utime(case.folder(SENT), (0, 0))  # or it may be a mailbox in the making
    before = case.plan(SENT, Folder(SENT))
    assert before.messages_send
    (fresh,) = case.make_reader(indexed=indexed).read([before])
    assert case.source.asked == ([[SENT]] if indexed else [])
    assert (fresh.was_locked, fresh.staged) == (indexed, False)
    assert list(fresh.uids) == list(before.uids)


def test_a_repack_is_waited_for_where_messages_go(case: Case) -> None:
    """It takes files away before the index says so: the same index does not make them deletions."""
    replica = reader_of(case).read(SENT)
    uid = replica.messages.uids[0]
    message = case.folder(SENT) / f"{uid}."
    message.rename(case.spool / "aside")
    before = case.plan(SENT, replica)
    assert (before.metadata, list(before.delete_uids)) == ((), [uid])
    (case.spool / "aside").rename(message)
    (fresh,) = case.reader.read([before])
    assert case.source.asked == [[SENT]]
    assert not fresh.delete_uids


def test_what_was_read_is_read_again(case: Case) -> None:
    """Also where the replica turns out to have that metadata."""
    (first,) = case.reader.read([case.plan(SENT)])
    first.metadata = ()
    (again,) = case.reader.read([first])
    assert case.source.asked == [[SENT], [SENT]]
    assert again.staged


def test_what_was_sent_and_is_no_more_goes(case: Case) -> None:
    """Of all the reads before; it was never planned for the replica, so no limit counts it."""
    (first,) = case.reader.read([case.plan(SENT, Folder(SENT))])
    samplespool.expunge(case.folder(SENT), 1)
    second = case.read_again(SENT)
    samplespool.expunge(case.folder(SENT), 1)
    third = case.read_again(SENT)
    lost = [uid for uid in first.uids if uid not in set(third.uids)]
    assert len(lost) == 2
    assert set(second.delete_uids) < set(lost)
    assert list(third.delete_uids) == lost
    assert third.messages_delete == 0
    assert case.result.messages.delete == 0


def test_a_folder_that_went_after_it_was_read_goes(case: Case) -> None:
    """What was sent of it would wait there without an index."""
    case.reader.read([case.plan(SENT)])
    samplespool.delete_folder(case.folder(SENT))
    fresh = case.read_again(SENT)
    assert fresh.state is State.GONE
    assert not fresh.sends()
    assert fresh.messages_delete == 0
    assert case.limit.counted.total() == 0
    assert fresh.deletes()


def test_a_mailbox_in_the_making_is_left_to_the_next_run(case: Case) -> None:
    case.source.problems[SENT] = errno.EAGAIN
    (fresh,) = case.reader.read([case.plan(SENT)])
    assert fresh.state is State.VANISHED
    assert not (fresh.was_locked or fresh.sends() or fresh.deletes())
    assert case.result.errors == []


def test_what_rests_has_lost_nothing(case: Case) -> None:
    """What has come waits for the next run; of folders that went whole, the transfer sees itself what they hold."""
    replica = Folder(JOE)
    joe, sent = case.reader.read([case.plan(JOE, replica), case.plan(SENT)])
    joe.whole = False
    assert sent.whole
    samplespool.deliver(case.folder(JOE), 1)
    samplespool.deliver(case.folder(SENT), 1)
    losses = case.check(joe, sent)
    assert losses.lost == []
    assert losses.looked_at == [(SENT, reader_of(case).read(SENT))]


def other_mailbox(folder: Path) -> None:
    samplespool.swap(folder, folder.parent / "Trash")


def renamed_there_and_back(folder: Path) -> None:
    """What was sent meanwhile may be another's; Cyrus writes a header with each rename."""
    header = (folder / "cyrus.header").read_bytes()
    (folder / "cyrus.header").unlink()
    (folder / "cyrus.header").write_bytes(header)


@pytest.mark.parametrize("happens", [other_mailbox, renamed_there_and_back, samplespool.delete_folder])
def test_where_another_mailbox_is_all_is_lost(case: Case, happens: Callable[[Path], None]) -> None:
    joe, sent = case.reader.read([case.plan(JOE), case.plan(SENT)])
    happens(case.folder(SENT))
    losses = case.check(joe, sent)
    assert losses.lost == [(SENT, None)]
    assert [path for path, _ in losses.looked_at] == [JOE]


def test_where_two_were_mixed_the_folder_is_sent_anew(case: Case) -> None:
    """Be it the mailbox that the replica had before: what lies there now may be of both."""
    replica = reader_of(case).read(SENT)
    samplespool.deliver(case.folder(SENT), 1)
    (sent,) = case.reader.read([case.plan(SENT, replica)])
    assert sent.state is State.CHANGED
    other_mailbox(case.folder(SENT))
    case.check(sent)
    other_mailbox(case.folder(SENT))
    back = case.read_again(SENT)
    assert back.state is State.RECREATED
    assert back.messages_send == back.messages_seen


def test_a_mailbox_that_comes_back_after_another_was_sent_is_sent_anew(case: Case) -> None:
    """What the replica had of it has been replaced, and its index is gone."""
    replica = reader_of(case).read(SENT)
    samplespool.set_flags(case.folder(SENT))
    (sent,) = case.reader.read([case.plan(SENT, replica)])
    assert (sent.state, sent.messages_send) == (State.CHANGED, 0)
    other_mailbox(case.folder(SENT))
    assert case.read_again(SENT).state is State.RECREATED
    other_mailbox(case.folder(SENT))
    back = case.read_again(SENT)
    assert (back.state, back.messages_send, b"cyrus.index" in back.metadata) == (
        State.RECREATED,
        back.messages_seen,
        True,
    )


def test_messages_of_another_mailbox_that_went_whole_are_deleted(case: Case) -> None:
    (sent,) = case.reader.read([case.plan(SENT)])
    other_mailbox(case.folder(SENT))
    samplespool.deliver(case.folder(SENT), 60)
    seen = reader_of(case).read(SENT).messages.uids
    case.check(sent)
    other_mailbox(case.folder(SENT))
    back = case.read_again(SENT)
    assert list(back.uids) == list(sent.uids)
    assert list(back.delete_uids) == [uid for uid in seen if uid not in set(sent.uids)] != []


def test_a_folder_that_is_gone_meanwhile(case: Case) -> None:
    plans = [case.plan(JOE), case.plan(SENT)]
    samplespool.delete_folder(case.spool / os.fsdecode(SENT))
    joe, sent = case.reader.read(plans)
    assert joe.staged
    assert (sent.state, sent.staged, sent.sends(), sent.deletes()) == (State.VANISHED, False, False, False)
    assert case.result.errors == []
    assert case.result.messages.send == len(joe.uids)


@pytest.mark.parametrize(
    ("problem", "said"), [(errno.EBUSY, "locked by a writer"), (errno.EACCES, "Permission denied")]
)
def test_a_folder_that_cannot_be_read_is_left(case: Case, problem: int, said: str) -> None:
    case.source.problems[SENT] = problem
    joe, sent = case.reader.read([case.plan(JOE), case.plan(SENT)])
    assert joe.staged
    assert not (sent.staged or sent.sends() or sent.deletes())
    (error,) = case.result.errors
    assert error.startswith(f"j/user/joe/Sent: {said}")


def test_another_mailbox_by_now(case: Case) -> None:
    replica = reader_of(case).read(SENT)
    samplespool.deliver(case.spool / os.fsdecode(SENT), 1)
    before = case.plan(SENT, replica)
    assert before.state is State.CHANGED
    samplespool.swap(case.spool / os.fsdecode(SENT), case.spool / "j/user/joe/Trash")
    (fresh,) = case.reader.read([before])
    assert fresh.state is State.RECREATED
    assert case.result.folders.recreated == 1
    assert case.result.folders.changed == 0


def some(count: int, size: int = 0, messages: int = 0) -> list[FolderPlan]:
    fields: dict[str, Any] = {"metadata_bytes": size, "messages_send": messages}
    return [FolderPlan(b"%d" % number, State.NEW, **fields) for number in range(count)]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_reader, "_STAGED_BYTES", 100)
    monkeypatch.setattr(folder_reader, "_LISTED", 10)


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
