"""A folder that loses a message between its reading and its sending is read again, until it rests or patience ends."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.ends.tree import Removed
from cyrsync.far.folder import Folder, Incarnation
from cyrsync.far.message_files import MessageFiles
from cyrsync.far.remove import Removal
from cyrsync.rsync.driver import Ends
from cyrsync.rsync.messages import Complaint, Kind
from cyrsync.rsync.outcome import Outcome
from cyrsync.spool.account import Account
from cyrsync.spool.losses import Losses
from cyrsync.spool.sending import send
from cyrsync.spool.steps import Transfer
from cyrsync.sync.folder_plan import FolderPlan, State

INDEX = (b"cyrus.index",)
STAGING = Path("/state/staging")
ROUNDS = 5
OURS, OTHER = Incarnation("ours", 1, 9), Incarnation("other", 2, 9)

Answer = Callable[[list[bytes]], Outcome]


@dataclass
class FakeRsync:
    """Keeps what it is asked for; `answers` in turn, then all goes well."""

    answers: list[Outcome | Answer] = field(default_factory=list)
    runs: list[tuple[list[bytes], tuple[str, ...], Path | None]] = field(default_factory=list)
    verbatim: bool = False
    directory: Path = Path("/nonexistent")
    ends: Ends = field(default_factory=lambda: Ends("/source/", "/replica/", (b"/source", b"/replica")))

    def transfer(
        self,
        entries: Iterable[bytes],
        extra: tuple[str, ...] = (),
        tick: Callable[[int, int], None] | None = None,
        instead: Path | None = None,
    ) -> Outcome:
        listed = list(entries)
        if not listed:
            return Outcome()
        self.runs.append((listed, extra, instead))
        answer = self.answers.pop(0) if self.answers else Outcome()
        return answer(listed) if callable(answer) else answer

    @property
    def lists(self) -> list[list[bytes]]:
        return [listed for listed, *_ in self.runs]


@dataclass
class FakeWriter:
    removals: list[Removal] = field(default_factory=list)

    def remove(self, root: bytes, removals: Iterable[Removal], *, keep_times: bool) -> Removed:
        self.removals += [removal for removal in removals if removal.folders != (b".~tmp~",)]
        return Removed()


Look = Callable[[Losses, FolderPlan], object]


class ReadsAgain:
    """Answers in turn what the folders are when they are read again; then the last answer again.

    `looks` in turn are what a folder shows when it is looked at after its messages were sent; then all is as it was.
    """

    def __init__(self, *answers: list[FolderPlan], looks: list[Look] | None = None) -> None:
        self.answers = list(answers)
        self.asked: list[list[bytes]] = []
        self.looks = looks or []
        self.checked: list[list[bytes]] = []

    def check(self, losses: Losses, plans: list[FolderPlan]) -> None:
        self.checked.append([plan.path for plan in plans])
        for plan in plans:
            if self.looks:
                self.looks.pop(0)(losses, plan)

    def read_again(self, paths: list[bytes]) -> list[FolderPlan]:
        self.asked.append(paths)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def plan(path: bytes = b"joe", *uids: int, state: State = State.CHANGED, **fields: Any) -> FolderPlan:
    fields = {
        "metadata": INDEX,
        "staged": True,
        "was_locked": True,
        "incarnation": OURS,
        "messages_send": len(uids),
        **fields,
    }
    return FolderPlan(path, state, uids=array("I", uids), **fields)


def transfer_of(plans: list[FolderPlan], *answers: Outcome | Answer) -> tuple[Transfer, FakeRsync, FakeWriter]:
    rsync, tree = FakeRsync(list(answers)), FakeWriter()
    made = Transfer(plans, rsync, tree, b"/replica", lambda *_: None, staging=STAGING)  # type: ignore[arg-type]
    return made, rsync, tree


def vanished(*paths: bytes) -> Outcome:
    return Outcome(24, vanished=set(paths))


def failed(*paths: bytes) -> Outcome:
    return Outcome(23, failed={path: Complaint(Kind.FAILED, path, "reason", 13) for path in paths})


def assert_adds_up(account: Account) -> None:
    assert account.planned == account.sent + account.vanished + account.failed
    assert account.pending == 0
    assert min(account.sent, account.vanished, account.failed) >= 0


def test_nothing_is_taken_again_where_nothing_vanished() -> None:
    transfer, rsync, _ = transfer_of([plan(b"joe", 1, 2)])
    source = ReadsAgain([])
    assert send(transfer, source) == set()
    assert source.asked == []
    assert [(listed, instead) for listed, _, instead in rsync.runs] == [
        ([b"joe/1.", b"joe/2."], None),
        ([b"joe", b"joe/cyrus.index"], STAGING),
    ]


def test_what_was_sent_is_not_sent_again() -> None:
    transfer, rsync, _ = transfer_of([plan(b"joe", 1, 2, 3), plan(b"ann", 7)], vanished(b"joe/2."))
    source = ReadsAgain([plan(b"joe", 1, 3, 4, derived=())])
    assert send(transfer, source) == set()
    assert source.asked == [[b"joe"]]
    assert rsync.lists == [
        [b"joe/1.", b"joe/2.", b"joe/3.", b"ann/7."],
        [b"joe/4."],
        [b"joe", b"joe/cyrus.index", b"ann", b"ann/cyrus.index"],
    ]
    account = transfer.account
    assert (account.planned, account.sent, account.vanished, account.failed) == (7, 6, 1, 0)
    assert_adds_up(account)


def test_a_whole_folder_that_lost_one_goes_on_by_names() -> None:
    transfer, rsync, _ = transfer_of([plan(b"joe", 1, 2, 3, state=State.NEW, whole=True)], vanished(b"joe/2."))
    send(transfer, ReadsAgain([plan(b"joe", 1, 3, 4, state=State.NEW, whole=True)]))
    assert rsync.lists == [[b"joe/"], [b"joe/4."], [b"joe", b"joe/cyrus.index"]]
    assert_adds_up(transfer.account)


def test_a_whole_folder_that_vanished_and_came_back_is_sent_again() -> None:
    transfer, rsync, _ = transfer_of([plan(b"joe", 1, 2, state=State.NEW, whole=True)], vanished(b"joe"))
    send(transfer, ReadsAgain([plan(b"joe", 1, 2, state=State.NEW)]))
    assert rsync.lists == [[b"joe/"], [b"joe/1.", b"joe/2."], [b"joe", b"joe/cyrus.index"]]
    assert_adds_up(transfer.account)


def test_loose_metadata_that_went_already_goes_again() -> None:
    """The newer index may need what has been added to it since."""
    derived = (b"cyrus.cache",)
    transfer, rsync, _ = transfer_of([plan(b"joe", 1, 2, derived=derived)], vanished(b"joe/2."))
    send(transfer, ReadsAgain([plan(b"joe", 1, derived=derived)]))
    assert rsync.lists == [
        [b"joe/1.", b"joe/2.", b"joe/cyrus.cache"],
        [b"joe/cyrus.cache"],
        [b"joe", b"joe/cyrus.index"],
    ]
    assert_adds_up(transfer.account)


def test_deletions_are_those_of_the_last_look() -> None:
    transfer, _, tree = transfer_of([plan(b"joe", 1, delete_uids=array("I", [8]))], vanished(b"joe/1."))
    send(transfer, ReadsAgain([plan(b"joe", delete_uids=array("I", [8, 9]))]))
    transfer.delete(keep_times=True)
    assert tree.removals == [Removal(b"joe", array("I", [8, 9]))]


def test_another_mailbox_is_sent_whole_whatever_it_looks_like() -> None:
    transfer, rsync, tree = transfer_of([plan(b"joe", 1, 2)], vanished(b"joe/2."))
    send(transfer, ReadsAgain([plan(b"joe", 1, 2, state=State.RECREATED, incarnation=OTHER)]))
    assert rsync.lists == [[b"joe/1.", b"joe/2."], [b"joe/1.", b"joe/2."], [b"joe", b"joe/cyrus.index"]]
    assert ["--ignore-times" in extra for _, extra, _ in rsync.runs] == [False, True, True]
    assert [removal.path for removal in tree.removals] == [b"joe"]  # what would make a mailbox of it, until its end
    assert_adds_up(transfer.account)


def test_a_new_folder_that_became_another_mailbox() -> None:
    """The replica has none, so the new plan by itself would trust what looks right."""
    transfer, rsync, _ = transfer_of([plan(b"joe", 1, 2, state=State.NEW, whole=True)], vanished(b"joe/2."))
    send(transfer, ReadsAgain([plan(b"joe", 1, 2, state=State.NEW, whole=True, incarnation=OTHER)]))
    assert [b"joe/"] in rsync.lists[1:2] or [b"joe/1.", b"joe/2."] in rsync.lists[1:2]
    assert "--ignore-times" in rsync.runs[1][1]
    assert_adds_up(transfer.account)


def another(losses: Losses, plan: FolderPlan) -> None:
    """Show another mailbox."""
    losses.lose(plan, None)


def holding(*uids: int, last_uid: int = 9) -> Look:
    """Show the same mailbox, with these messages."""
    messages, incarnation = MessageFiles.of(array("I", uids)), OURS._replace(last_uid=last_uid)
    return lambda losses, plan: losses.lose_of_whole(
        plan, Folder(plan.path, messages=messages, incarnation=incarnation)
    )


def test_what_was_sent_is_looked_at_once_more() -> None:
    """Each plan once: what is taken again and sends more, again; where nothing was taken or sent, there is no need."""
    plans = [plan(b"joe", 1), plan(b"ann", 7), plan(b"idle"), plan(b"daemon's", 3, staged=False, was_locked=False)]
    transfer, _, _ = transfer_of(plans, vanished(b"joe/1."))
    source = ReadsAgain([plan(b"joe", 2)])
    send(transfer, source)
    assert source.checked == [[b"joe", b"ann"], [b"joe"]]


CACHE = (b"cyrus.cache",)


def test_where_no_message_was_sent_of_another_mailbox_the_rest_is_sent_again() -> None:
    """Messages that the replica has are still those of the mailbox that it has."""
    transfer, rsync, tree = transfer_of([plan(b"joe", derived=CACHE)])
    send(transfer, ReadsAgain([plan(b"joe", 3, derived=CACHE)], looks=[another]))
    assert rsync.lists == [[b"joe/cyrus.cache"], [b"joe/3.", b"joe/cyrus.cache"], [b"joe", b"joe/cyrus.index"]]
    assert not any("--ignore-times" in extra for _, extra, _ in rsync.runs)
    assert tree.removals == []
    assert_adds_up(transfer.account)


@pytest.mark.parametrize("fresh", [plan(b"joe", state=State.VANISHED, metadata=(), was_locked=False), plan(b"joe")])
def test_what_is_not_sent_again_after_another_mailboxs_is_taken_away(fresh: FolderPlan) -> None:
    transfer, _, tree = transfer_of([plan(b"joe", derived=CACHE)])
    send(transfer, ReadsAgain([fresh], looks=[another]))
    assert tree.removals == [Removal(b"joe", files=CACHE)]
    assert_adds_up(transfer.account)


def test_what_is_another_mailboxs_in_every_round_is_taken_away() -> None:
    transfer, _, tree = transfer_of([plan(b"joe", derived=CACHE)])
    assert send(transfer, ReadsAgain([plan(b"joe", derived=CACHE)], looks=[another] * (ROUNDS + 1))) == {b"joe"}
    assert tree.removals == [Removal(b"joe", files=CACHE)]
    assert_adds_up(transfer.account)


def test_another_mailbox_in_its_place_is_taken_and_sent_whole() -> None:
    """Also one that looks like the one before: messages of the mailbox between them may have been sent."""
    transfer, rsync, tree = transfer_of([plan(b"joe", 1, 2)])
    source = ReadsAgain([plan(b"joe", 1, 2)], looks=[another])
    assert send(transfer, source) == set()
    assert source.asked == [[b"joe"]]
    assert rsync.lists == [[b"joe/1.", b"joe/2."], [b"joe/1.", b"joe/2."], [b"joe", b"joe/cyrus.index"]]
    assert ["--ignore-times" in extra for _, extra, _ in rsync.runs] == [False, True, True]
    assert tree.removals == [Removal(b"joe", files=INDEX)]
    assert_adds_up(transfer.account)


def test_once_mixed_it_stays_so() -> None:
    """What was sent in the rounds between is not told from the first's."""
    transfer, rsync, _ = transfer_of([plan(b"joe", 1, 2)], Outcome(), vanished(b"joe/2."))
    send(transfer, ReadsAgain([plan(b"joe", 1, 2)], [plan(b"joe", 1)], looks=[another]))
    assert rsync.lists == [[b"joe/1.", b"joe/2."]] * 2 + [[b"joe/1."], [b"joe", b"joe/cyrus.index"]]
    assert ["--ignore-times" in extra for _, extra, _ in rsync.runs] == [False, True, True, True]
    assert_adds_up(transfer.account)


def test_folders_that_change_places_in_every_round_are_held_and_named() -> None:
    transfer, rsync, _ = transfer_of([plan(b"joe", 1, delete_uids=array("I", [8]))])
    source = ReadsAgain([plan(b"joe", 1, delete_uids=array("I", [8]))], looks=[another] * (ROUNDS + 1))
    assert send(transfer, source) == {b"joe"}
    assert source.asked == [[b"joe"]] * ROUNDS
    assert rsync.lists == [[b"joe/1."]] * (ROUNDS + 1)
    assert not transfer.deletes()
    assert transfer.account.errors.keys() == {b"joe"}
    assert_adds_up(transfer.account)


def test_a_whole_folder_that_lost_one_and_rsync_did_not_miss_it() -> None:
    """It was gone before rsync looked."""
    transfer, rsync, _ = transfer_of([plan(b"joe", 1, 2, 3, state=State.NEW, whole=True)])
    source = ReadsAgain([plan(b"joe", 1, 3, 4, state=State.NEW, whole=True)], looks=[holding(1, 3)])
    assert send(transfer, source) == set()
    assert source.asked == [[b"joe"]]
    assert rsync.lists == [[b"joe/"], [b"joe/4."], [b"joe", b"joe/cyrus.index"]]
    assert_adds_up(transfer.account)


def test_a_whole_folder_may_have_sent_what_came_since() -> None:
    """Also what came and went: no index will ever name it."""
    transfer, _, tree = transfer_of([plan(b"joe", 1, 2, state=State.NEW, whole=True)])
    source = ReadsAgain([], looks=[holding(1, 2, 12, last_uid=12)])
    send(transfer, source)
    assert source.asked == []
    transfer.delete(keep_times=True)
    assert tree.removals == [Removal(b"joe", array("I", [10, 11, 12]))]


def test_a_folder_that_is_gone_by_then() -> None:
    transfer, rsync, _ = transfer_of([plan(b"joe", 1, 2, state=State.NEW, whole=True)], vanished(b"joe"))
    send(transfer, ReadsAgain([FolderPlan(b"joe", State.VANISHED)]))
    assert rsync.lists == [[b"joe/"]]
    assert not transfer.deletes()
    assert (transfer.account.planned, transfer.account.vanished) == (2, 2)
    assert_adds_up(transfer.account)


def test_a_folder_that_never_rests_is_held_and_named() -> None:
    restless = [vanished(b"joe/1.")] * (ROUNDS + 1)
    joe = [plan(b"joe", 1, delete_uids=array("I", [8]))]
    transfer, rsync, _ = transfer_of([*joe, plan(b"ann", 7)], *restless)
    source = ReadsAgain(*([plan(b"joe", 1, delete_uids=array("I", [8]))] for _ in range(ROUNDS)))
    assert send(transfer, source) == {b"joe"}
    assert source.asked == [[b"joe"]] * ROUNDS
    assert rsync.lists[-1] == [b"ann", b"ann/cyrus.index"]
    assert b"joe/cyrus.index" not in [entry for listed in rsync.lists for entry in listed]
    assert not transfer.deletes()
    assert transfer.account.errors.keys() == {b"joe"}
    assert "will be retried in the next run" in transfer.account.errors[b"joe"]
    assert (transfer.account.vanished, transfer.account.failed, transfer.account.sent) == (ROUNDS + 1, 1, 2)
    assert_adds_up(transfer.account)


def test_what_comes_to_rest_at_last_is_sent() -> None:
    transfer, rsync, _ = transfer_of([plan(b"joe", 1)], *[vanished(b"joe/1.")] * ROUNDS)
    source = ReadsAgain(*([plan(b"joe", 1)] for _ in range(ROUNDS)))
    assert send(transfer, source) == set()
    assert rsync.lists[-1] == [b"joe", b"joe/cyrus.index"]
    assert transfer.account.errors == {}
    assert_adds_up(transfer.account)


def test_what_was_never_taken_is_not_taken_again() -> None:
    transfer, rsync, _ = transfer_of([plan(b"joe", 1, 2, staged=False, was_locked=False)], vanished(b"joe/2."))
    source = ReadsAgain([])
    assert send(transfer, source) == set()
    assert source.asked == []
    assert rsync.runs[-1][0] == [b"joe/cyrus.index"]
    assert rsync.runs[-1][2] is None


def test_where_nothing_can_be_taken() -> None:
    """A daemon: what vanished, vanished, and the index that rsync finds then tells so."""
    transfer, rsync, _ = transfer_of([plan(b"joe", 1, 2, staged=False, was_locked=False)], vanished(b"joe/2."))
    assert send(transfer, None) == set()
    assert len(rsync.runs) == 2


def test_a_failure_holds_also_what_has_vanished() -> None:
    first = failed(b"joe/1.")
    first.vanished.add(b"joe/2.")
    transfer, rsync, _ = transfer_of([plan(b"joe", 1, 2)], first)
    source = ReadsAgain([])
    assert send(transfer, source) == {b"joe"}
    assert source.asked == []
    assert len(rsync.runs) == 1
    assert_adds_up(transfer.account)


FOLDERS = [b"joe", b"joe/Sent", b"ann"]
fates = st.sampled_from(["sent", "sent", "sent", "vanished", "failed"])


@st.composite
def some_plans(draw: st.DrawFn, paths: list[bytes]) -> list[FolderPlan]:
    made = []
    for path in paths:
        state = draw(st.sampled_from([State.CHANGED, State.NEW, State.RECREATED, State.VANISHED]))
        if state is State.VANISHED:
            made.append(FolderPlan(path, state))
            continue
        uids = draw(st.lists(st.integers(1, 5), unique=True).map(sorted))
        fields = {
            "derived": draw(st.sampled_from([(), (b"cyrus.cache",)])),
            "other_files": draw(st.sampled_from([(), (b"x",)])),
            "incarnation": draw(st.sampled_from([OURS, OTHER, None])),
            "touch": True,
        }
        made.append(plan(path, *uids, state=state, **fields))
    return made


some_looks: st.SearchStrategy[Look] = st.sampled_from(
    [lambda *_: None, lambda *_: None, another, holding(1, 2, 3), holding(4, 10, last_uid=10)]
)


@given(some_plans(FOLDERS), st.data())
def test_every_file_is_accounted_for(plans: list[FolderPlan], data: st.DataObject) -> None:
    def answer(listed: list[bytes]) -> Outcome:
        outcome = Outcome()
        for entry in listed:
            fate = data.draw(fates) if entry not in FOLDERS else "sent"
            if fate == "vanished":
                outcome.vanished.add(entry)
            elif fate == "failed":
                outcome.failed[entry] = Complaint(Kind.FAILED, entry, "reason", 13)
        return outcome

    class Source(ReadsAgain):
        def check(self, losses: Losses, plans: list[FolderPlan]) -> None:
            for one in plans:
                data.draw(some_looks)(losses, one)

        def read_again(self, paths: list[bytes]) -> list[FolderPlan]:
            return data.draw(some_plans(paths))

    transfer, rsync, _ = transfer_of(plans, *[answer] * 100)
    held = send(transfer, Source())
    assert_adds_up(transfer.account)
    # Who is held has got no index: in no run after the one that told.
    last = rsync.runs[-1][0] if rsync.runs else []
    failures = {path for path, reason in transfer.account.errors.items() if path.endswith(b".")}
    assert {path.rpartition(b"/")[0] for path in failures} <= held
    assert not {path.rpartition(b"/")[0] for path in failures} & {
        entry.rpartition(b"/")[0] for entry in last if entry.endswith(b"cyrus.index")
    }
