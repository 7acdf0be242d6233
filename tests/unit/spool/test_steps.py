"""Messages, then metadata, then deletions; and no folder gets an index without its messages."""

from __future__ import annotations

import errno
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.ends.tree import Removed
from cyrsync.errors import RsyncFailed
from cyrsync.far.remove import Removal
from cyrsync.rsync import list_file
from cyrsync.rsync.driver import Ends
from cyrsync.rsync.messages import Complaint, Kind
from cyrsync.rsync.outcome import Outcome
from cyrsync.spool.lists import whole_folder_filters
from cyrsync.spool.sending import send
from cyrsync.spool.steps import Transfer
from cyrsync.sync.folder_plan import FolderPlan, State
from support import campaign

DENIED = errno.EACCES
BUSY = errno.EMFILE  # worth another try


def failed(*paths: bytes, number: int = DENIED) -> Outcome:
    return Outcome(23, failed={path: Complaint(Kind.FAILED, b"/srv/" + path, "reason", number) for path in paths})


def vanished(*paths: bytes) -> Outcome:
    return Outcome(24, vanished=set(paths))


def attributes(*paths: bytes) -> Outcome:
    return Outcome(
        23, attributes={path: Complaint(Kind.ATTRIBUTES, path, "Operation not permitted", 1) for path in paths}
    )


@dataclass
class FakeRsync:
    """Keeps what it is asked for, and answers what a test says; nothing is to be sent: nothing is run."""

    answers: list[Outcome] = field(default_factory=list)
    verbatim: bool = False
    directory: Path = Path("/nonexistent")
    ends: Ends = field(default_factory=lambda: Ends("/source/", "/replica/", (b"/source", b"/replica")))
    runs: list[tuple[list[bytes], tuple[str, ...]]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    answer: Callable[[list[bytes]], Outcome] | None = None

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
        self.runs.append((listed, extra))
        self.log.append("rsync")
        if self.answer:
            return self.answer(listed)
        return self.answers.pop(0) if self.answers else Outcome()

    def differing(self, entries: Iterable[bytes], extra: tuple[str, ...]) -> set[bytes]:
        return set(entries)

    @property
    def lists(self) -> list[list[bytes]]:
        return [listed for listed, _ in self.runs]


@dataclass
class FakeWriter:
    """The replica: keeps what is to be removed."""

    answers: list[Removed] = field(default_factory=list)
    removals: list[list[Removal]] = field(default_factory=list)
    keep_times: list[bool] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def remove(self, root: bytes, removals: Iterable[Removal], *, keep_times: bool) -> Removed:
        assert root == b"/replica"
        self.removals.append(list(removals))
        self.keep_times.append(keep_times)
        self.log.append("remove")
        return self.answers.pop(0) if self.answers else Removed()


def transferring(
    plans: list[FolderPlan], *answers: Outcome, tree: FakeWriter | None = None, **fields: Any
) -> tuple[Transfer, FakeRsync, FakeWriter]:
    """Send these plans, and delete what goes, with an rsync that answers so."""
    pretend, writes = fields.pop("pretend", False), fields.pop("writes", True)
    rsync, tree = FakeRsync(list(answers), **fields), tree or FakeWriter()
    tree.log = rsync.log
    writer = tree if writes else None
    transfer = Transfer(plans, rsync, writer, b"/replica", lambda *_: None, pretend=pretend)  # type: ignore[arg-type]
    send(transfer, None)
    if transfer.deletes():
        transfer.delete(keep_times=True)
    return transfer, rsync, tree


def plan(path: bytes = b"joe", *uids: int, state: State = State.CHANGED, **fields: Any) -> FolderPlan:
    fields.setdefault("messages_send", len(uids) + len(fields.get("nonstandard", ())))
    made = FolderPlan(path, state, uids=array("I", uids), **fields)
    if made.whole:
        made.uids = array("I")
    return made


INDEX = (b"cyrus.index",)


@pytest.mark.parametrize("coarse", [False, True])
def test_all_metadata_goes_where_rsync_sees_no_difference(coarse: bool) -> None:
    rsync = FakeRsync()
    joe = plan(b"joe", 1, metadata=INDEX)
    send(Transfer([joe], rsync, FakeWriter(), b"/replica", lambda *_: None), None, coarse=coarse)  # type: ignore[arg-type]
    assert ["--ignore-times" in extra for _, extra in rsync.runs] == [False, coarse]


def test_metadata_that_differs_unseen_is_sent_whatever_its_time() -> None:
    rsync = FakeRsync()
    plans = [plan(b"ann", metadata=INDEX), plan(b"joe", metadata=INDEX, unseen=True)]
    send(Transfer(plans, rsync, FakeWriter(), b"/replica", lambda *_: None), None)  # type: ignore[arg-type]
    lists = zip(rsync.lists, rsync.runs, strict=True)
    found = [(listed, "--ignore-times" in extra) for listed, (_, extra) in lists]
    assert found == [([b"ann/cyrus.index"], False), ([b"joe/cyrus.index"], True)]


def test_what_rsync_did_not_come_to_is_not_sent() -> None:
    """It gave up as a whole in the first step: nothing that was planned counts as sent."""
    rsync = FakeRsync(answer=lambda _: fail())
    transfer = Transfer([plan(b"joe", 1, metadata=INDEX)], rsync, FakeWriter(), b"/replica", lambda *_: None)  # type: ignore[arg-type]
    with pytest.raises(RsyncFailed):
        send(transfer, None)
    assert (transfer.account.planned, transfer.account.pending, transfer.account.sent) == (2, 2, 0)


def fail() -> Outcome:
    raise RsyncFailed("the disk is full", 11)


def test_order_of_steps() -> None:
    joe = plan(b"joe", 1, 2, metadata=INDEX, other_files=(b"x",), touch=True, delete_uids=array("I", [9]))
    ann = plan(b"ann", 5, state=State.NEW, whole=True, metadata=INDEX, touch=True)
    transfer, rsync, tree = transferring([joe, ann])
    assert rsync.lists == [
        [b"joe/1.", b"joe/2.", b"ann/"],
        [b"joe", b"joe/cyrus.index", b"joe/x", b"ann", b"ann/cyrus.index"],
    ]
    assert rsync.log == ["rsync", "rsync", "remove"]
    assert tree.removals == [[Removal(b"joe", array("I", [9]))]]
    assert tree.keep_times == [True]
    assert (transfer.account.planned, transfer.account.sent) == (6, 6)


def test_whole_folders_go_without_what_must_not_travel_yet() -> None:
    _, rsync, _ = transferring([plan(b"ann", 5, whole=True, metadata=INDEX)])
    assert [set(whole_folder_filters(skip_derived=False)) <= set(extra) for _, extra in rsync.runs] == [True, False]


def test_nothing_to_do_starts_nothing() -> None:
    transfer, rsync, tree = transferring([plan(b"joe", state=State.SAME), plan(b"gone", state=State.VANISHED)])
    assert rsync.log == []
    assert tree.removals == []
    assert not transfer.deletes()
    assert transfer.account.planned == 0


def test_deletions_alone_need_no_rsync() -> None:
    tree = FakeWriter()
    transfer = Transfer(
        [plan(b"joe", delete_files=(b"x",))], None, tree, b"/replica", lambda *_: None  # type: ignore[arg-type]
    )  # fmt: skip
    send(transfer, None, force=True)
    transfer.delete(keep_times=False)
    assert tree.removals == [[Removal(b"joe", files=(b"x",))]]


@pytest.mark.parametrize("force", [False, True])
def test_force(force: bool) -> None:
    rsync = FakeRsync()
    send(
        Transfer([plan(b"joe", 1, metadata=INDEX)], rsync, FakeWriter(), b"/replica", lambda *_: None),  # type: ignore[arg-type]
        None,
        force=force,
    )
    assert ["--force" in extra for _, extra in rsync.runs] == [force, force]


def test_recreated_folders_lose_their_index_first_and_are_sent_whatever_they_look_like() -> None:
    joe = plan(b"joe", 1, state=State.RECREATED, whole=True, metadata=INDEX)
    ann = plan(b"ann", 5, metadata=INDEX)
    _, rsync, tree = transferring([joe, ann])
    assert rsync.log == ["rsync", "remove", "rsync", "rsync", "rsync"]
    assert tree.removals == [[Removal(b"joe", files=INDEX)]]
    assert rsync.lists == [[b"ann/5."], [b"joe/"], [b"ann/cyrus.index"], [b"joe/cyrus.index"]]
    assert ["--ignore-times" in extra for _, extra in rsync.runs] == [False, True, False, True]


def test_a_recreated_folder_whose_index_stays_is_left_as_it_is() -> None:
    joe = plan(b"joe", 1, 2, state=State.RECREATED, metadata=INDEX, delete_uids=array("I", [9]))
    tree = FakeWriter(answers=[Removed(failed=[(b"joe/cyrus.index", DENIED)])])
    transfer, rsync, _ = transferring([joe], tree=tree)
    assert rsync.lists == []
    assert not transfer.deletes()
    assert (transfer.account.failed, transfer.account.sent) == (3, 0)
    assert transfer.account.errors.keys() == {b"joe/cyrus.index"}


def test_indexes_go_by_rsync_where_nothing_else_can_remove_them(tmp_path: Path) -> None:
    joe = plan(b"joe/\xff", 1, state=State.RECREATED, metadata=INDEX)
    _, rsync, _ = transferring([joe], writes=False, directory=tmp_path)
    assert rsync.lists[0] == [b"joe/\xff/cyrus.index"]
    (blank,) = tmp_path.rglob("cyrus.*")
    assert blank.read_bytes() == b""


def test_an_index_that_rsync_cannot_replace_holds_its_folder(tmp_path: Path) -> None:
    joe = plan(b"joe", 1, state=State.RECREATED, metadata=INDEX)
    ann = plan(b"ann", 1, state=State.RECREATED, metadata=INDEX)
    answers = [failed(b"joe/cyrus.index")]
    transfer, rsync, _ = transferring([joe, ann], *answers, writes=False, directory=tmp_path)
    assert rsync.lists[1:] == [[b"ann/1."], [b"ann/cyrus.index"]]
    assert (transfer.account.failed, transfer.account.sent) == (2, 2)


def test_no_plan_is_compared_with_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 20,000 folders whose messages are all compared, that took minutes."""
    monkeypatch.setattr(FolderPlan, "__eq__", None)  # whoever compares two, fails
    plans = [plan(b"%d" % number, 1, state=State.COMPARED, under_index=True) for number in range(9)]
    _, rsync, _ = transferring([*plans, plan(b"joe", 2)])
    assert rsync.lists == [[b"joe/2."], [b"%d/1." % number for number in range(9)]]


def test_gone_folders_go_last_and_only_the_topmost_are_named() -> None:
    plans = [
        plan(b"a/gone", state=State.GONE),
        plan(b"a/gone/in", state=State.GONE, inside_gone=True),
        plan(b"joe", delete_uids=array("I", [9]), delete_files=(b"007.",), leftovers=(b".1..AbCdEf",)),
        plan(b"kept", delete_files=(b"x",), kept=True),
        plan(b"old", state=State.GONE),
    ]
    transfer, _, tree = transferring(plans)
    assert tree.removals == [
        [
            Removal(b"joe", array("I", [9]), (b"007.", b".1..AbCdEf")),
            Removal(b"a", folders=(b"gone",)),
            Removal(b"", folders=(b"old",)),
        ]
    ]
    assert list(transfer.goes()) == [b"joe/9.", b"joe/007.", b"joe/.1..AbCdEf", b"a/gone/", b"old/"]


def test_what_could_not_be_deleted_is_named() -> None:
    tree = FakeWriter(answers=[Removed(5, 2, [(b"joe/9.", DENIED)])])
    transfer, _, _ = transferring([plan(b"joe", delete_uids=array("I", [9]))], tree=tree)
    assert transfer.account.deleted == 7
    assert transfer.account.errors[b"joe/9."].startswith("not deleted: Permission denied")


PULL = Ends("host:/source/", "/replica/", (b"/source", b"/replica"), pull=True)


@pytest.mark.parametrize(
    ("change", "is_last"),
    [
        (plan(b"", 7), True),
        (plan(b"", touch=True), True),
        (plan(b"", other_files=(b"x",)), True),
        (plan(b"new", state=State.NEW, whole=True, messages_send=1), True),
        (plan(b"joe", 7), False),
        (plan(b"joe/new", state=State.NEW, whole=True, messages_send=1), False),
        (plan(b"joe", touch=True), False),
    ],
)
def test_a_pull_sets_the_root_last_if_it_has_written_there(change: FolderPlan, is_last: bool) -> None:
    """What it lists implies nothing of the root, and whatever is made in it gives it another time."""
    _, rsync, _ = transferring([change], ends=PULL)
    assert ([listed for listed, _ in rsync.runs][-1] == [list_file.ROOT]) is is_last
    assert [listed for listed, _ in rsync.runs].count([list_file.ROOT]) == is_last


def test_a_pull_of_a_tree_with_a_name_implies_its_root() -> None:
    _, rsync, _ = transferring([plan(b"", 7, touch=True, other_files=(b"x",))], ends=replace(PULL, name=b"spool"))
    assert [list_file.ROOT] not in [listed for listed, _ in rsync.runs]


def test_pretending_removes_nothing() -> None:
    recreated = plan(b"joe", 1, state=State.RECREATED, metadata=INDEX, delete_files=(b"x",))
    _, rsync, tree = transferring([recreated], pretend=True)
    assert tree.removals == []
    assert rsync.lists == [[b"joe/1."], [b"joe/cyrus.index"]]


def test_a_folder_with_a_failed_message_keeps_its_metadata() -> None:
    joe = plan(b"joe", 1, 2, 3, metadata=(b"cyrus.header", b"cyrus.index"), other_files=(b"x",), delete_files=(b"y",))
    ann = plan(b"ann", 5, metadata=INDEX, delete_uids=array("I", [9]))
    transfer, rsync, tree = transferring([joe, ann], failed(b"joe/2."))
    assert rsync.lists == [[b"joe/1.", b"joe/2.", b"joe/3.", b"ann/5."], [b"ann/cyrus.index"]]
    assert tree.removals == [[Removal(b"ann", array("I", [9]))]]
    account = transfer.account
    assert (account.planned, account.sent, account.failed, account.vanished) == (8, 4, 4, 0)
    assert account.errors == {b"joe/2.": "reason"}


def test_a_vanished_message_holds_nothing() -> None:
    """Expunged meanwhile: the index that is sent after it tells so."""
    joe = plan(b"joe", 1, 2, metadata=INDEX, delete_files=(b"y",))
    transfer, rsync, tree = transferring([joe], vanished(b"joe/1."))
    assert rsync.lists[1] == [b"joe/cyrus.index"]
    assert tree.removals
    assert (transfer.account.sent, transfer.account.vanished, transfer.account.errors) == (2, 1, {})


def test_a_folder_with_failed_metadata_keeps_what_is_in_it() -> None:
    joe = plan(b"joe", 1, metadata=(b"cyrus.header", b"cyrus.index"), delete_uids=array("I", [9]))
    transfer, _, tree = transferring([joe], Outcome(), failed(b"joe/cyrus.index"))
    assert tree.removals == []
    assert (transfer.account.sent, transfer.account.failed) == (2, 1)


def test_attributes_are_told_and_hold_nothing() -> None:
    joe = plan(b"joe", 1, metadata=INDEX, delete_files=(b"y",))
    transfer, rsync, tree = transferring([joe], attributes(b"joe/1.", b"joe"))
    assert len(rsync.runs) == 2
    assert tree.removals
    assert (transfer.account.sent, transfer.account.failed) == (2, 0)
    assert transfer.account.errors.keys() == {b"joe/1.", b"joe"}


def test_a_whole_folder_that_failed() -> None:
    plans = [
        plan(b"joe", 1, 2, state=State.NEW, whole=True, metadata=INDEX),
        plan(b"joe/Sub", 3, state=State.NEW, metadata=INDEX),
        plan(b"joe-x", 4, state=State.NEW, metadata=INDEX),
    ]
    transfer, rsync, _ = transferring(plans, failed(b"joe"))
    assert rsync.lists[1] == [b"joe-x/cyrus.index"]
    account = transfer.account
    assert (account.planned, account.sent, account.failed) == (7, 2, 5)


def test_the_root_that_failed() -> None:
    plans = [plan(b"", 1, metadata=INDEX), plan(b"joe", 2, metadata=INDEX)]
    transfer, rsync, _ = transferring(plans, failed(b""))
    assert len(rsync.runs) == 1
    assert (transfer.account.sent, transfer.account.failed) == (0, 4)


def test_one_message_of_a_whole_folder_failed() -> None:
    joe = plan(b"joe", 1, 2, 3, state=State.NEW, whole=True, metadata=INDEX)
    transfer, rsync, _ = transferring([joe], failed(b"joe/2."))
    assert len(rsync.runs) == 1
    assert (transfer.account.sent, transfer.account.failed) == (2, 2)


def test_a_whole_folder_that_vanished() -> None:
    joe = plan(b"joe", 1, 2, state=State.NEW, whole=True, metadata=INDEX, touch=True)
    transfer, _, _ = transferring([joe], vanished(b"joe"), vanished(b"joe", b"joe/cyrus.index"))
    assert (transfer.account.sent, transfer.account.vanished, transfer.account.failed) == (0, 3, 0)


def test_passing_failures_are_tried_again() -> None:
    joe = plan(b"joe", 1, 2, 3, metadata=INDEX)
    first = failed(b"joe/1.", b"joe/2.", number=BUSY)
    transfer, rsync, _ = transferring([joe], first, Outcome())
    assert rsync.lists == [[b"joe/1.", b"joe/2.", b"joe/3."], [b"joe/1.", b"joe/2."], [b"joe/cyrus.index"]]
    assert (transfer.account.sent, transfer.account.failed, transfer.account.errors) == (4, 0, {})
    assert rsync.runs[1][1] == rsync.runs[0][1]


def test_passing_failures_are_tried_once() -> None:
    joe = plan(b"joe", 1, 2, metadata=INDEX)
    again = [failed(b"joe/1.", b"joe/2.", number=BUSY), Outcome(23, failed(b"joe/1.", number=BUSY).failed, {b"joe/2."})]
    transfer, rsync, _ = transferring([joe], *again)
    assert len(rsync.runs) == 2
    assert (transfer.account.sent, transfer.account.failed, transfer.account.vanished) == (0, 2, 1)


@pytest.mark.parametrize(
    ("cleared", "together"),
    [(Removed(), True), (Removed(failed=[(b"joe/.~tmp~", DENIED)]), False)],
)
def test_staged_metadata_comes_to_its_place_together(cleared: Removed, together: bool) -> None:
    """Unless what an earlier run left is in the way; and what is tried again finds nothing of the first time."""
    joe = plan(b"joe", metadata=(b"cyrus.header", b"cyrus.index"), staged=True)
    _, rsync, tree = transferring([joe], failed(b"joe/cyrus.index", number=BUSY), tree=FakeWriter(answers=[cleared]))
    assert tree.removals == [[Removal(b"joe", folders=(b".~tmp~",))]]
    assert ["--delay-updates" in extra for _, extra in rsync.runs] == [together, False]


def test_an_index_alone_need_not_wait_for_others() -> None:
    _, rsync, _ = transferring([plan(b"joe", metadata=INDEX, staged=True), plan(b"ann", metadata=INDEX, staged=True)])
    assert ["--delay-updates" in extra for _, extra in rsync.runs] == [False]


def test_what_will_not_pass_is_not_tried_again() -> None:
    first = failed(b"joe/1.")
    first.failed.update(failed(b"joe/2.", number=BUSY).failed)
    transfer, rsync, _ = transferring([plan(b"joe", 1, 2)], first, Outcome())
    assert rsync.lists[1] == [b"joe/2."]
    assert (transfer.account.sent, transfer.account.failed) == (1, 1)


def test_a_whole_folder_is_tried_again_as_a_whole() -> None:
    """The directory's own entry would bring none of its messages, and the index would come without them."""
    joe = plan(b"joe", 1, 2, state=State.NEW, whole=True, metadata=INDEX)
    transfer, rsync, _ = transferring([joe], failed(b"joe", number=BUSY), Outcome())
    retried = rsync.lists[1]
    assert retried == [b"joe/"] or b"joe/cyrus.index" not in [entry for listed in rsync.lists[1:] for entry in listed]
    assert transfer.account.sent == 3 or transfer.account.failed == 3


def test_what_the_second_try_says_of_attributes_is_told() -> None:
    transfer, _, _ = transferring([plan(b"joe", 1)], failed(b"joe/1.", number=BUSY), attributes(b"joe/1."))
    assert b"joe/1." in transfer.account.errors
    assert transfer.account.failed == 0


def test_bytes_are_summed_up() -> None:
    first = failed(b"joe/1.", number=BUSY)
    first.bytes_sent = 100
    transfer, _, _ = transferring(
        [plan(b"joe", 1, metadata=INDEX)], first, Outcome(bytes_sent=20), Outcome(bytes_sent=3)
    )
    assert transfer.account.bytes_sent == 123


def test_verbatim_the_user_has_seen_it_already() -> None:
    transfer, _, _ = transferring([plan(b"joe", 1, metadata=INDEX)], failed(b"joe/1."), verbatim=True)
    assert transfer.account.errors == {}
    assert transfer.account.failed == 2


def test_deleting_by_rsync() -> None:
    plans = [
        plan(b"", delete_files=(b"x",)),
        plan(b"a/gone", state=State.GONE),
        plan(b"joe", delete_uids=array("I", [9]), delete_files=(b"y",)),
    ]
    deleted = Outcome(deleted=[b"x", b"joe/9.", b"a/gone/1.", b"a/gone/"])
    rsync = FakeRsync([deleted])
    transfer = Transfer(plans, rsync, None, b"/replica", lambda *_: None)  # type: ignore[arg-type]
    transfer.delete_by_rsync(("--filter=P .*",), 17)
    ((listed, extra),) = rsync.runs
    assert listed == [b"", b"a/", b"joe/"]
    assert {"--delete", "--existing", "--ignore-existing", "--max-delete=17", "--filter=P .*"} == set(extra)
    assert transfer.account.deleted == 4
    assert transfer.account.errors.keys() == {b"joe/y"}


FOLDERS = [b"", b"joe", b"joe/Sub", b"ann"]


@st.composite
def some_plans(draw: st.DrawFn) -> list[FolderPlan]:
    plans = []
    for path in FOLDERS:
        state = draw(st.sampled_from([State.CHANGED, State.NEW, State.RECREATED, State.COMPARED]))
        uids = draw(st.lists(st.integers(1, 4), unique=True).map(sorted))
        made = plan(
            path,
            *uids,
            state=state,
            metadata=draw(st.sampled_from([(), INDEX, (b"cyrus.header", b"cyrus.index")])),
            other_files=draw(st.sampled_from([(), (b"x",)])),
            whole=bool(path and uids) and state is not State.CHANGED and draw(st.booleans()),
            delete_files=draw(st.sampled_from([(), (b"gone",)])),
            touch=draw(st.booleans()),
        )
        plans.append(made)
    return plans


#: What an entry may come to, and whether it goes well when it is tried again.
fates = st.sampled_from(["sent", "sent", "failed", "vanished", "busy, then sent", "busy, then failed", "attributes"])


@campaign.slow()
@given(some_plans(), st.data())
def test_every_file_is_accounted_for(plans: list[FolderPlan], data: st.DataObject) -> None:
    """planned = sent + vanished + failed, file by file, for whatever becomes of each."""
    by_path = {made.path: made for made in plans}
    fate: dict[bytes, str] = {}
    booked: dict[bytes, str] = {}

    def answer(listed: list[bytes]) -> Outcome:
        outcome = Outcome()
        for entry in listed:
            for path in files(entry):
                tried = path in fate
                became = fate.setdefault(path, data.draw(fates))
                if became.startswith("busy"):
                    became = became.partition("then ")[2] if tried else "busy"
                if became in ("failed", "busy"):
                    number = BUSY if became == "busy" else DENIED
                    outcome.failed[path] = Complaint(Kind.FAILED, path, "reason", number)
                elif became == "vanished":
                    outcome.vanished.add(path)
                elif became == "attributes":
                    outcome.attributes[path] = Complaint(Kind.ATTRIBUTES, path, "reason", 1)
                booked[path] = became
        return outcome

    def files(entry: bytes) -> list[bytes]:
        """The messages that an entry stands for; nothing for the folder's own entry."""
        made = by_path.get(b"" if entry == list_file.ROOT else entry.rstrip(b"/"))
        if made is None:
            return [entry]
        return [entry + b"%d." % uid for uid in range(1, made.messages_send + 1)] if entry.endswith(b"/") else []

    transfer, rsync, tree = transferring(plans, answer=answer)
    account = transfer.account
    assert account.planned == sum(made.files_planned() for made in plans)
    undressed = {path for path, became in booked.items() if became == "attributes" and b"cyrus." in path}
    bad = undressed | {path for path, became in booked.items() if became == "failed"}
    held = {path.rpartition(b"/")[0] for path in bad}
    without_index = {path.rpartition(b"/")[0] for path in bad if path.endswith(b".")}
    metadata_sent = {path.rpartition(b"/")[0] for listed in rsync.lists for path in listed if b"cyrus." in path}
    assert not metadata_sent & without_index
    emptied = {removal.path for removals in tree.removals for removal in removals if removal.files == (b"gone",)}
    assert emptied == {made.path for made in plans if made.delete_files} - held
    never_listed = sum(len(made.metadata) + len(made.other_files) for made in plans if made.path in without_index)
    assert account.vanished == list(booked.values()).count("vanished")
    assert account.failed == len(bad) + never_listed
    assert account.errors.keys() == {path for path, became in booked.items() if became in ("failed", "attributes")}


paths = st.sampled_from(
    [b"", *FOLDERS, *(f + b"/" + n if f else n for f in FOLDERS for n in (b"1.", b"2.", b"9.", b"cyrus.index", b"x"))]
)
outcomes = st.builds(
    lambda bad, gone, number: Outcome(23, failed(*bad, number=number).failed, set(gone)),
    st.lists(paths, max_size=4),
    st.lists(paths, max_size=4),
    st.sampled_from([DENIED, BUSY]),
)


@given(some_plans(), st.lists(outcomes, max_size=8))
@example(
    [plan(b"joe", 1, state=State.NEW, whole=True, other_files=(b"x",))],
    [Outcome(23, failed(b"joe/x").failed, {b"joe/1."})],
)
@example([plan(b"joe", 1)], [Outcome(23, failed(b"joe/1.").failed, {b"joe"})])
@example([plan(b"joe", 1)], [Outcome(23, failed(b"joe/1.").failed, {b"joe/1."})])
def test_the_account_adds_up_whatever_rsync_says(plans: list[FolderPlan], answers: list[Outcome]) -> None:
    copies = [Outcome(a.code, dict(a.failed), set(a.vanished)) for a in answers]
    transfer, _, _ = transferring(plans, *copies)
    account = transfer.account
    assert account.planned == account.sent + account.vanished + account.failed
    assert min(account.sent, account.vanished, account.failed) >= 0


@pytest.mark.parametrize("name", sorted(kinds.SNAPSHOT))
def test_metadata_of_one_moment_counts_as_delivered_only_with_its_attributes(name: bytes) -> None:
    """With another time an index is taken for one that somebody else has written: nothing is deleted there."""
    complaint = Complaint(Kind.ATTRIBUTES, b"joe/" + name, "Operation not permitted", 1)
    rsync = FakeRsync([Outcome(23, attributes={b"joe/" + name: complaint})])
    tree = FakeWriter()
    plans = [plan(b"joe", metadata=(name,), delete_uids=array("I", [9]))]
    transfer = Transfer(plans, rsync, tree, b"/replica", lambda *_: None)  # type: ignore[arg-type]
    held = send(transfer, None)
    assert held == {b"joe"}
    assert transfer.account.failed == 1
    transfer.delete(keep_times=False)
    assert [one for removals in tree.removals for one in removals if one.uids] == []
