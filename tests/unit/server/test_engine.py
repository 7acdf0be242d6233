"""What is planned for one mailbox, and that no history of mailboxes and killed runs leads the replica astray."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far.folder import Entry, Folder, Incarnation
from cyrsync.far.grown import Cache
from cyrsync.far.locked_folder import File
from cyrsync.far.message_files import MessageFiles
from cyrsync.server.engine import MailboxChange, count_gone, plan_gone, plan_mailbox
from cyrsync.server.reading import MailboxState
from cyrsync.server.rebuild import rebuild
from cyrsync.server.roots import Roots
from cyrsync.state.mailbox_row import UNSEEN, Key, Location, MailboxRow
from cyrsync.sync.folder_plan import State

DATA, META, ARCHIVE = b"/data", b"/meta", b"/archive"
PLAIN = Roots("default", DATA, DATA, dict.fromkeys([*kinds.SNAPSHOT, b"cyrus.cache"], DATA), DATA)
SPLIT = Roots("default", DATA, ARCHIVE, dict.fromkeys([*kinds.SNAPSHOT, b"cyrus.cache"], META), META)
KEY = Key("default", b"user/joe")
PLACE = Location(KEY, b"user.joe", "", b"", b"", b"", b"")
ENTRY = Entry(0o100600, 1, 1, "0:0:root:root", "")
LIFE = Incarnation("id", 1, 100)
SEEN = b"s" * 64


def uids(*numbers: int) -> array[int]:
    return array("I", sorted(numbers))


def mailbox(
    messages: tuple[int, ...] = (),
    archived: tuple[int, ...] = (),
    *,
    life: Incarnation = LIFE,
    roots: Roots = SPLIT,
    names: tuple[bytes, ...] = (kinds.HEADER, kinds.INDEX),
) -> MailboxState:
    """A mailbox with these messages and metadata files."""
    snapshot_files = [(roots.homes[name], File(name, ENTRY, b"12345")) for name in names]
    return MailboxState(
        life, SEEN, uids(*messages), uids(*archived), snapshot_files, [(roots.homes[b"cyrus.cache"], b"cyrus.cache")]
    )


def row_after(found: MailboxState, **changed: Any) -> MailboxRow:
    """What the replica has when all of a mailbox has arrived."""
    return replace(plan_mailbox(PLACE, None, found, SPLIT).after(deleted=True), **changed)


def plan(before: MailboxRow | None, found: MailboxState, roots: Roots = SPLIT) -> MailboxChange:
    return plan_mailbox(PLACE, before, found, roots)


# --- What is to be sent, and what is to go


def test_a_new_mailbox_is_sent_whole() -> None:
    change = plan(None, mailbox((1, 3), (2,)))
    assert {root: (list(plan.uids), plan.metadata, plan.derived) for root, plan in change.plans.items()} == {
        META: ([], (kinds.HEADER, kinds.INDEX), (b"cyrus.cache",)),
        DATA: ([1, 3], (), ()),
        ARCHIVE: ([2], (), ()),
    }
    assert (change.summary.state, change.summary.messages_send, change.summary.messages_present) == (State.NEW, 3, 0)
    assert not change.deletes()


def test_an_empty_mailbox_has_a_directory() -> None:
    assert plan(None, mailbox()).plans[DATA].touch


def test_only_what_is_not_proven_is_sent() -> None:
    change = plan(row_after(mailbox((1, 2), (3,))), mailbox((1, 2, 4), (3, 5)))
    assert (list(change.plans[DATA].uids), list(change.plans[ARCHIVE].uids)) == ([4], [5])
    assert (change.summary.state, change.summary.messages_send, change.summary.messages_present) == (
        State.CHANGED,
        2,
        3,
    )


@pytest.mark.parametrize(
    ("before", "names"),
    [
        (SEEN[:32] + b"t" * 32, (kinds.INDEX,)),
        (b"t" + SEEN[1:], (kinds.HEADER, kinds.INDEX)),
        (UNSEEN, (kinds.HEADER, kinds.INDEX)),
    ],
)
def test_metadata_of_a_changed_mailbox_is_sent_but_for_the_header_that_was(
    before: bytes, names: tuple[bytes, ...]
) -> None:
    found = mailbox((1,))
    change = plan(row_after(found, seen=before), found)
    assert change.plans[META].metadata == names
    assert change.before() == row_after(found, seen=UNSEEN)
    assert change.after(deleted=True) == row_after(found)


def test_another_mailbox_has_another_header_whatever_it_looks_like() -> None:
    other = mailbox((1,), life=LIFE._replace(uniqueid="other"))
    assert plan(row_after(mailbox((1,))), other).plans[META].metadata == (kinds.HEADER, kinds.INDEX)


@pytest.mark.parametrize("other", [Incarnation("other", 1, 100), Incarnation("id", 2, 100)])
def test_a_recreated_mailbox_is_sent_whole(other: Incarnation) -> None:
    change = plan(row_after(mailbox((1, 2, 9))), mailbox((1, 2), life=other))
    assert {plan.state for plan in change.plans.values()} == {State.RECREATED}
    assert list(change.plans[DATA].uids) == [1, 2]
    assert list(change.plans[DATA].delete_uids) == [9]


def test_messages_of_nobody_known_are_sent_whole() -> None:
    change = plan(MailboxRow(KEY, uids=uids(1, 2)), mailbox((1, 2)))
    assert (change.summary.state, list(change.plans[DATA].uids)) == (State.RECREATED, [1, 2])


@pytest.mark.parametrize(("old", "new"), [(DATA, ARCHIVE), (ARCHIVE, DATA)])
def test_an_archived_message_moves(old: bytes, new: bytes) -> None:
    both = mailbox((1,)), mailbox((), (1,))
    before, now = both if old == DATA else both[::-1]
    change = plan(row_after(before), now)
    assert (list(change.plans[new].uids), list(change.plans[new].delete_uids)) == ([1], [])
    assert (list(change.plans[old].uids), list(change.plans[old].delete_uids)) == ([], [1])


def test_without_an_archive_partition_nothing_moves() -> None:
    change = plan(None, mailbox((1, 2), roots=PLAIN), PLAIN)
    assert list(change.plans) == [DATA]
    assert list(change.plans[DATA].uids) == [1, 2]


def test_an_expunged_message_goes() -> None:
    change = plan(row_after(mailbox((1, 2, 3), (4, 5))), mailbox((1, 3), (4,)))
    assert (list(change.plans[DATA].delete_uids), list(change.plans[ARCHIVE].delete_uids)) == ([2], [5])
    assert (change.summary.messages_delete, change.deletes()) == (2, True)


def test_annotations_that_are_gone_go() -> None:
    before = row_after(mailbox(names=(kinds.ANNOTATIONS, kinds.HEADER, kinds.INDEX)))
    change = plan(before, mailbox())
    assert change.plans[META].delete_files == (kinds.ANNOTATIONS,)
    assert (change.deletes(), change.summary.others_delete) == (True, 1)
    assert change.after(deleted=True).stale == ()
    assert change.after(deleted=False).stale == (kinds.ANNOTATIONS,)
    assert plan(change.after(deleted=False), mailbox()).plans[META].delete_files == (kinds.ANNOTATIONS,)


def test_what_a_killed_run_may_have_left_goes_or_is_compared() -> None:
    before = row_after(mailbox((1,)), maybe=uids(2, 3))
    change = plan(before, mailbox((1, 2)))
    assert list(change.plans[DATA].uids) == [2]
    assert list(change.plans[DATA].delete_uids) == [3]
    assert list(change.plans[ARCHIVE].delete_uids) == [2, 3]


def test_it_counts_once_what_may_be_in_either_root() -> None:
    assert plan(row_after(mailbox((1,)), maybe=uids(2, 3)), mailbox((1,))).summary.messages_delete == 2


def test_what_a_killed_first_copy_may_have_left_is_no_deletion() -> None:
    """Else a large archive would be more than may be deleted."""
    found = mailbox((1,), tuple(range(2, 500)))
    first = plan(None, found).before()
    assert first
    assert plan(first, found).summary.messages_delete == 0


def test_what_was_kept_counts_again() -> None:
    """A run after the other must not get past the rails."""
    change = plan(row_after(mailbox(tuple(range(1, 100)))), mailbox((1,)))
    kept = change.after(deleted=False)
    assert list(kept.maybe) == list(range(2, 100))
    assert plan(kept, mailbox((1,))).summary.messages_delete == 98


# --- The rows


def test_before_anything_is_sent_it_may_be_there() -> None:
    change = plan(row_after(mailbox((1,))), mailbox((1, 2), (3,)))
    row = change.before()
    assert row == row_after(mailbox((1,)), seen=UNSEEN, maybe=uids(2, 3))


def test_before_metadata_of_another_name_is_sent_it_may_be_there() -> None:
    names = (kinds.ANNOTATIONS, kinds.HEADER, kinds.INDEX)
    row = plan(row_after(mailbox((1,))), mailbox((1,), names=names)).before()
    assert row
    assert row.names == (kinds.ANNOTATIONS, b"cyrus.cache", kinds.HEADER, kinds.INDEX)


@pytest.mark.parametrize("new", [(), (2,)], ids=["flags", "mail"])
def test_what_a_cache_is_while_it_is_sent_is_not_known(new: tuple[int, ...]) -> None:
    """It may be cut off in the middle. What has arrived is known."""
    old, found = mailbox((1,)), mailbox((1, *new))
    old.caches, found.caches = {META: Cache(9, 5, "old")}, {META: Cache(12, 6, "new")}
    change = plan(row_after(old), found)
    assert change.row and change.row.caches == old.caches
    assert change.before().caches == {}
    assert change.after(deleted=True).caches == found.caches


def test_before_a_first_copy_it_is_known_whose_it_will_be() -> None:
    names = (b"cyrus.cache", kinds.HEADER, kinds.INDEX)
    assert plan(None, mailbox((1,))).before() == MailboxRow(KEY, "id", 1, maybe=uids(1), names=names)
    assert plan(None, mailbox()).before() == MailboxRow(KEY, "id", 1, names=names)


def test_before_another_mailbox_comes_nobody_knows_whose_it_is() -> None:
    row = plan(row_after(mailbox((1, 9))), mailbox((1, 2), life=Incarnation("other", 1, 9))).before()
    assert row
    assert (row.uniqueid, row.uidvalidity, list(row.maybe)) == ("", 0, [1, 2, 9])


def test_what_is_to_go_is_in_the_row_until_it_is_gone() -> None:
    change = plan(row_after(mailbox((1, 2))), mailbox((1,)))
    assert list(change.after(deleted=False).maybe) == [2]
    assert list(change.after(deleted=True).maybe) == []


def test_a_message_without_a_file_is_done_without() -> None:
    change = plan(row_after(mailbox((1,))), mailbox((1, 2, 3), (4,)))
    assert change.leave_out(DATA, 2)
    assert change.leave_out(ARCHIVE, 4)
    assert not change.leave_out(DATA, 1)
    row = change.after(deleted=True)
    assert (list(row.uids), list(row.archived), row.seen) == ([1, 3], [], UNSEEN)
    assert change.plans[DATA].messages_send == 1


# --- A mailbox that is gone


def test_a_mailbox_that_is_gone_goes_whole_or_file_by_file() -> None:
    row = row_after(mailbox((1,), (2,)), maybe=uids(3))
    assert {plan.state for plan in plan_gone(row, SPLIT, whole=row.key.path).values()} == {State.GONE}
    plans = plan_gone(row, SPLIT, whole=None)
    assert list(plans[DATA].delete_uids) == [1, 2, 3]
    assert plans[META].delete_files == tuple(sorted(SPLIT.homes))
    assert plans[DATA].delete_files == ()


def test_a_renamed_mailbox_loses_nothing() -> None:
    row = row_after(mailbox((1,), (2,)))
    assert count_gone(row, renamed=False).messages_delete == 2
    assert count_gone(row, renamed=True).messages_delete == 0


# --- Any history


class Life(NamedTuple):
    """What tells one mailbox from another."""

    uniqueid: str
    uidvalidity: int


@dataclass
class Mailbox:
    """What the source has."""

    life: Life
    last_uid: int = 0
    messages: set[int] = field(default_factory=set)
    archived: set[int] = field(default_factory=set)
    names: frozenset[bytes] = frozenset({kinds.HEADER, kinds.INDEX})

    def mailbox(self, roots: Roots) -> MailboxState:
        life = Incarnation(*self.life, self.last_uid)
        return mailbox(
            tuple(self.messages), tuple(self.archived), life=life, roots=roots, names=tuple(sorted(self.names))
        )

    def files(self, roots: Roots) -> dict[tuple[bytes, bytes], object]:
        """Every file with its content."""
        found: dict[tuple[bytes, bytes], object] = {}
        for root, some in ((roots.data, self.messages), (roots.archive, self.archived)):
            found.update({(root, b"%d." % uid): (self.life, uid) for uid in some})
        for name in self.names:
            found[roots.homes[name], name] = self.content(name)
        found[roots.homes[b"cyrus.cache"], b"cyrus.cache"] = "cache"
        return found

    def content(self, name: bytes) -> object:
        if name == kinds.INDEX:
            return (self.life, self.last_uid, frozenset(self.messages), frozenset(self.archived))
        return self.life


class Killed(Exception):
    """The run is over."""


class Replica:
    """Files by root and name; each change to one of them may be the last one of a run."""

    def __init__(self) -> None:
        self.files: dict[tuple[bytes, bytes], Any] = {}
        self.patience = 0

    def _step(self) -> None:
        if self.patience == 0:
            raise Killed
        self.patience -= 1

    def put(self, root: bytes, name: bytes, content: object, *, always: bool) -> None:
        """As rsync does it; a message of that name passes its quick check, whosever it is."""
        if not always and (root, name) in self.files and kinds.is_message(name):
            return
        self._step()
        self.files[root, name] = content

    def remove(self, root: bytes, name: bytes) -> None:
        if (root, name) in self.files:
            self._step()
            del self.files[root, name]


class Listing:
    """A replica as the agent lists it."""

    def __init__(self, files: dict[tuple[bytes, bytes], Any]) -> None:
        self._files = files

    def walk(self, root: bytes, users: frozenset[str]) -> Iterator[Folder]:
        names = sorted(name for where, name in self._files if where == root)
        header, index = self._files.get((root, kinds.HEADER)), self._files.get((root, kinds.INDEX))
        yield Folder(
            KEY.path,
            messages=MessageFiles(b"".join(filter(kinds.is_message, names))),
            metadata=dict.fromkeys(filter(kinds.is_metadata, names)),
            incarnation=Incarnation(header.uniqueid, index[0].uidvalidity, index[1]) if header and index else None,
        )


class Histories(RuleBasedStateMachine):
    """One path on the source, which mailboxes come to and go from, and runs that may be killed at any point."""

    @initialize(roots=st.sampled_from([PLAIN, SPLIT]))
    def begin(self, roots: Roots) -> None:
        self.roots = roots
        self.lives = 0
        self.elsewhere: list[Mailbox] = []  # mailboxes that were here, and may come back
        self.source: Mailbox | None = self._made()
        self.replica = Replica()
        self.row: MailboxRow | None = None

    def _made(self) -> Mailbox:
        self.lives += 1
        return Mailbox(Life(f"id{self.lives}", self.lives))

    # What happens on the source

    @precondition(lambda self: self.source)
    @rule(count=st.integers(1, 3))
    def deliver(self, count: int) -> None:
        assert self.source
        self.source.messages |= set(range(self.source.last_uid + 1, self.source.last_uid + 1 + count))
        self.source.last_uid += count

    @precondition(lambda self: self.source and self.source.messages)
    @rule(data=st.data())
    def expunge(self, data: st.DataObject) -> None:
        assert self.source
        self.source.messages.discard(data.draw(st.sampled_from(sorted(self.source.messages))))

    @precondition(lambda self: self.source and self.source.messages and self.roots is SPLIT)
    @rule(data=st.data())
    def archive(self, data: st.DataObject) -> None:
        assert self.source
        uid = data.draw(st.sampled_from(sorted(self.source.messages)))
        self.source.messages.discard(uid)
        self.source.archived.add(uid)

    @precondition(lambda self: self.source and self.source.archived)
    @rule(data=st.data(), back=st.booleans())
    def take_from_archive(self, data: st.DataObject, back: bool) -> None:
        assert self.source
        uid = data.draw(st.sampled_from(sorted(self.source.archived)))
        self.source.archived.discard(uid)
        if back:
            self.source.messages.add(uid)

    @precondition(lambda self: self.source)
    @rule(name=st.sampled_from([kinds.ANNOTATIONS, kinds.EXPUNGE]))
    def annotate_or_not(self, name: bytes) -> None:
        assert self.source
        self.source.names ^= {name}

    @precondition(lambda self: self.source)
    @rule()
    def recreate(self) -> None:
        self.source = self._made()

    @rule()
    def delete(self) -> None:
        self.source = None

    @rule(data=st.data())
    def swap(self, data: st.DataObject) -> None:
        """Another mailbox comes here by a rename, perhaps one that was here before."""
        chosen = data.draw(st.integers(0, len(self.elsewhere)))
        left, self.source = self.source, (self.elsewhere.pop(chosen) if chosen < len(self.elsewhere) else self._made())
        if left:
            self.elsewhere.append(left)

    # Runs

    @rule(delete=st.booleans())
    def run(self, delete: bool) -> None:
        self._run(delete, patience=-1)
        if self.source:
            want = self.source.files(self.roots)
            has = self.replica.files
            assert want == has if delete else want.items() <= has.items()
        elif delete:
            assert not self.replica.files

    @rule(delete=st.booleans(), patience=st.integers(0, 12))
    def run_and_kill(self, delete: bool, patience: int) -> None:
        try:
            self._run(delete, patience)
        except Killed:
            event("killed")

    @rule()
    def lose_the_state(self) -> None:
        roots = {root: root for root in self.roots.all()}
        rows = list(rebuild(self.roots, Listing(self.replica.files), roots))  # type: ignore[arg-type]
        self.row = rows[0] if rows else None

    def _run(self, delete: bool, patience: int) -> None:
        self.replica.patience = patience
        if self.source is None:
            if self.row and delete:
                # Without its header Cyrus does not open a mailbox that has lost messages.
                for where in sorted(self.replica.files, key=lambda where: where[1] != kinds.HEADER):
                    self.replica.remove(*where)
                self.row = None
            return
        found = self.source.mailbox(self.roots)
        if (
            self.row
            and self.row.seen == self._seen(self.source)
            and not (delete and (self.row.maybe or self.row.stale))
        ):
            return
        found.seen = self._seen(self.source)
        change = plan_mailbox(PLACE, self.row, found, self.roots)
        self.row = change.before()
        self._send(change, self.source.files(self.roots))
        self.row = change.after(deleted=not change.deletes())
        if delete and change.deletes():
            for root, plan in change.plans.items():
                for name in (*(b"%d." % uid for uid in plan.delete_uids), *plan.delete_files):
                    self.replica.remove(root, name)
            self.row = change.after(deleted=True)

    def _seen(self, mailbox: Mailbox) -> bytes:
        return repr((mailbox.life, sorted(mailbox.names), mailbox.content(kinds.INDEX))).encode()

    def _send(self, change: MailboxChange, files: dict[tuple[bytes, bytes], object]) -> None:
        for root, plan in change.plans.items():
            if plan.state is State.RECREATED and plan.sends():
                self.replica.remove(root, kinds.HEADER)
            for name in (*(b"%d." % uid for uid in plan.uids), *plan.derived):
                self.replica.put(root, name, files[root, name], always=plan.state is State.RECREATED)
        for root, plan in change.plans.items():
            for name in plan.metadata:
                self.replica.put(root, name, files[root, name], always=True)

    # What always holds

    @invariant()
    def what_the_index_names_is_there(self) -> None:
        """Where header and index belong together, so that Cyrus would open the mailbox."""
        files, roots = self.replica.files, self.roots
        header = files.get((roots.homes[kinds.HEADER], kinds.HEADER))
        index = files.get((roots.homes[kinds.INDEX], kinds.INDEX))
        if not index or header != index[0]:
            return
        life, _, messages, archived = index
        for root, some in ((roots.data, messages), (roots.archive, archived)):
            for uid in some:
                assert files.get((root, b"%d." % uid)) == (life, uid)


Histories.TestCase.settings = settings(max_examples=100, stateful_step_count=25)
TestHistories = Histories.TestCase


@given(st.sets(st.integers(1, 60)), st.sets(st.integers(1, 60)), st.sets(st.integers(1, 60)))
def test_what_is_sent_and_what_goes_are_apart(before: set[int], maybe: set[int], now: set[int]) -> None:
    row = MailboxRow(KEY, "id", 1, SEEN, uids(*before), maybe=uids(*maybe))
    change = plan(row, mailbox(tuple(now), roots=PLAIN), PLAIN)
    (only,) = change.plans.values()
    assert set(only.uids) == now - before
    assert set(only.delete_uids) == (before | maybe) - now
    assert only.messages_delete == len(only.delete_uids)
