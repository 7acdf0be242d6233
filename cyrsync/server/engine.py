"""The index engine: makes a plan from what a mailbox has now and what the replica has acknowledged. Pure."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, replace

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far import uids as uid_sets
from cyrsync.server.reading import MailboxState
from cyrsync.server.roots import Roots
from cyrsync.state.mailbox_row import UNSEEN, Location, MailboxRow, same_header
from cyrsync.sync.folder_plan import FolderPlan, State


@dataclass(slots=True)
class MailboxChange:
    """What is to be done for one mailbox: a plan for each root, and one that counts for all of them."""

    location: Location
    row: MailboxRow | None
    mailbox: MailboxState
    plans: dict[bytes, FolderPlan]
    summary: FolderPlan
    going: bool = False  # on its way to the replica
    left_alone: frozenset[bytes] = frozenset()  # metadata files that the replica has, and is to keep
    lacking: bool = False  # the index names messages that have no file
    arrived: bool = False  # though whose files there are is unknown, the index there is that of this mailbox

    def deletes(self) -> bool:
        """Tell whether anything is to be deleted."""
        return any(plan.delete_uids or plan.delete_files for plan in self.plans.values())

    def leave_out(self, root: bytes, uid: int) -> bool:
        """Do without a message that has no file; False if it was not to be sent."""
        plan, one = self.plans[root], uid_sets.of([uid])
        if uid not in plan.uids:
            return False
        plan.uids = uid_sets.difference(plan.uids, one)
        plan.messages_send -= 1
        self.mailbox.messages = uid_sets.difference(self.mailbox.messages, one)
        self.mailbox.archived = uid_sets.difference(self.mailbox.archived, one)
        self.lacking = True
        return True

    def doubtful(self, root: bytes) -> array[int]:
        """Return the messages that are to be sent, and that the replica may have."""
        uids = self.plans[root].uids
        if not self.row or (self.summary.state is State.RECREATED and self.row.uniqueid):
            return uid_sets.empty()
        return uids if self.summary.state is State.RECREATED else uid_sets.common(uids, self.row.maybe)

    def has(self, root: bytes, uids: array[int]) -> None:
        """Note that the replica has messages that were to be sent."""
        plan = self.plans[root]
        plan.uids = uid_sets.difference(plan.uids, uids)
        plan.messages_send -= len(uids)
        self.summary.messages_send -= len(uids)
        self.summary.messages_present += len(uids)

    def before(self) -> MailboxRow:
        """Return what the replica may have as soon as something is being sent."""
        old = self.row or MailboxRow(self.location.key)
        names = tuple(sorted({*old.names, *self.mailbox.names()}))
        if not self.summary.messages_send and self.summary.state is State.CHANGED and names == old.names:
            # The index there may be newer than the last one known to have arrived, the cache longer.
            return replace(old, seen=UNSEEN, caches={})
        if self.summary.state is State.CHANGED:
            messages = uid_sets.difference(self.mailbox.messages, old.uids)
            archived = uid_sets.difference(self.mailbox.archived, old.archived)
            maybe = uid_sets.union(old.maybe, uid_sets.union(messages, archived))
            return replace(old, seen=UNSEEN, maybe=maybe, names=names, caches={})
        coming = uid_sets.union(self.mailbox.messages, self.mailbox.archived)
        there = uid_sets.union(uid_sets.union(old.uids, old.archived), old.maybe)
        found = self.mailbox.incarnation if self.summary.state is State.NEW else None
        return MailboxRow(
            self.location.key,
            uniqueid=found.uniqueid if found else "",
            uidvalidity=found.uidvalidity if found else 0,
            maybe=uid_sets.union(there, coming),
            names=names,
            stale=old.stale,
        )

    def after(self, *, deleted: bool) -> MailboxRow:
        """Return what the replica has when messages and metadata have arrived, and deletions are done or not.

        What was to be kept is still there. As long as that is another mailbox's, with UIDs that this one may still
        give, the owner of the files is unknown.
        """
        mailbox = self.mailbox
        left = uid_sets.empty() if deleted else self._going()
        mixed = bool(left) and self.summary.state is State.RECREATED
        return MailboxRow(
            *(self.location.key, "" if mixed else mailbox.incarnation.uniqueid),
            0 if mixed else mailbox.incarnation.uidvalidity,
            UNSEEN if self.lacking else mailbox.seen,
            *(mailbox.messages, mailbox.archived),
            maybe=left,
            names=tuple(sorted({*mailbox.names(), *self.left_alone})),
            stale=() if deleted else self.summary.delete_files,
            caches=mailbox.caches,
        )

    def _going(self) -> array[int]:
        going = uid_sets.empty()
        for plan in self.plans.values():
            going = uid_sets.union(going, plan.delete_uids)
        return going


def plan_mailbox(
    location: Location,
    row: MailboxRow | None,
    mailbox: MailboxState,
    roots: Roots,
    *,
    before: MailboxRow | None = None,
    left_out: frozenset[bytes] = frozenset(),
    has_metadata: bool = False,
) -> MailboxChange:
    """Return the plan that brings the replica's mailbox up to date, except for metadata files that are `left_out`.

    If the replica `has_metadata` as it is here, nothing is to do unless there are messages to send or files to delete.
    `before` is what the replica had when this run began, if that differs: it cannot lose more than that.
    """
    old = row or MailboxRow(location.key)
    state = _state(row, mailbox)
    plans = {root: _plan(location.key.path, state) for root in roots.all()}
    for root, now, proven in _messages(roots, mailbox, old):
        plan = plans[root]
        plan.uids = now if state is not State.CHANGED else uid_sets.difference(now, proven)
        plan.messages_send = len(plan.uids)
        plan.delete_uids = uid_sets.difference(uid_sets.union(proven, old.maybe), now)
    _count_deletions(plans, mailbox, roots, before or old)
    gone = {*old.names, *old.stale}.difference(mailbox.names(), left_out)
    moves = any(plan.messages_send or plan.delete_uids for plan in plans.values())
    if has_metadata and state is State.CHANGED and not (moves or gone & roots.homes.keys()):
        summary = _summary(location.key.path, State.SAME, plans, mailbox, old)
        return MailboxChange(location, row, mailbox, plans, summary, left_alone=left_out.intersection(old.names))
    has_header = state is State.CHANGED and same_header(old.seen, mailbox.seen)
    _plan_metadata(plans, mailbox, left_out | {kinds.HEADER} if has_header else left_out)
    for name in sorted(gone & roots.homes.keys()):
        plan = plans[roots.homes[name]]
        plan.delete_files = (*plan.delete_files, name)
        plan.others_delete += 1
    for plan in plans.values():
        plan.incarnation, plan.identity = mailbox.incarnation, mailbox.identity
    # An empty mailbox has a directory, too.
    plans[roots.data].touch = mailbox.has_directory and not old.uids
    summary = _summary(location.key.path, state, plans, mailbox, old)
    return MailboxChange(location, row, mailbox, plans, summary, left_alone=left_out.intersection(old.names))


def _plan_metadata(plans: dict[bytes, FolderPlan], mailbox: MailboxState, left_out: frozenset[bytes]) -> None:
    for root, file in mailbox.snapshot_files:
        if file.name not in left_out:
            plans[root].metadata = (*plans[root].metadata, file.name)
            plans[root].metadata_bytes += len(file.data)
    for root, name in mailbox.derived:
        if name not in left_out:
            plans[root].derived = (*plans[root].derived, name)


def deletions(plan: FolderPlan) -> FolderPlan:
    """Return what is to be deleted by a plan whose files have been sent."""
    row = replace(plan, uids=uid_sets.empty(), nonstandard=(), metadata=(), derived=(), other_files=())
    return replace(row, messages_send=0, touch=False)


def plan_gone(row: MailboxRow, roots: Roots, *, whole: bytes | None) -> dict[bytes, FolderPlan]:
    """Return the plan that deletes a mailbox there: a `whole` directory, or only its own files in its directories."""
    plans = {}
    for root in roots.all():
        state = State.CHANGED if whole is None else State.GONE
        plan = plans[root] = _plan(row.key.path if whole is None else whole, state)
        if whole is None:
            plan.delete_uids = uid_sets.union(uid_sets.union(row.uids, row.archived), row.maybe)
            plan.delete_files = tuple(sorted(name for name, home in roots.homes.items() if home == root))
    return plans


def count_gone(row: MailboxRow, *, renamed: bool) -> FolderPlan:
    """Return the plan that counts for all roots of a mailbox that is gone; one that was renamed loses nothing."""
    return FolderPlan(
        row.key.path,
        State.GONE,
        is_cyrus=True,
        messages_delete=0 if renamed else len(row.uids) + len(row.archived) + row.unproven(),
        others_delete=len(row.names) + len(row.stale),
    )


def _count_deletions(plans: dict[bytes, FolderPlan], mailbox: MailboxState, roots: Roots, before: MailboxRow) -> None:
    unwanted = uid_sets.difference(uid_sets.difference(before.maybe, mailbox.messages), mailbox.archived)
    for root, now, proven in _messages(roots, mailbox, before):
        plans[root].messages_delete = len(uid_sets.difference(uid_sets.difference(proven, now), unwanted))
    # In whichever root they are: what an earlier run has kept counts again.
    plans[roots.data].messages_delete += len(unwanted)


def _state(row: MailboxRow | None, mailbox: MailboxState) -> State:
    if row is None:
        return State.NEW
    found = mailbox.incarnation
    same = row.uniqueid == found.uniqueid and row.uidvalidity == found.uidvalidity
    return State.CHANGED if same else State.RECREATED


def _messages(roots: Roots, mailbox: MailboxState, old: MailboxRow) -> list[tuple[bytes, array[int], array[int]]]:
    """Return (root, what is to be there, what is known to be there)."""
    found = [(roots.data, mailbox.messages, old.uids)]
    if roots.archive != roots.data:
        found.append((roots.archive, mailbox.archived, old.archived))
    return found


def _plan(path: bytes, state: State) -> FolderPlan:
    return FolderPlan(path, state, is_cyrus=True)


def _summary(
    path: bytes, state: State, plans: dict[bytes, FolderPlan], mailbox: MailboxState, old: MailboxRow
) -> FolderPlan:
    seen = len(mailbox.messages) + len(mailbox.archived)
    send = sum(plan.messages_send for plan in plans.values())
    return FolderPlan(
        *(path, state),
        is_cyrus=True,
        metadata=tuple(name for plan in plans.values() for name in plan.metadata),
        derived=tuple(name for plan in plans.values() for name in plan.derived),
        delete_files=tuple(name for plan in plans.values() for name in plan.delete_files),
        delete_uids=next((plan.delete_uids for plan in plans.values() if plan.delete_uids), uid_sets.empty()),
        messages_seen=seen,
        messages_send=send,
        messages_present=seen - send if state in (State.CHANGED, State.SAME) else 0,
        messages_delete=sum(plan.messages_delete for plan in plans.values()),
        others_delete=sum(plan.others_delete for plan in plans.values()),
        metadata_seen=len(mailbox.names()),
        metadata_bytes=sum(plan.metadata_bytes for plan in plans.values()),
        replica_messages=len(old.uids) + len(old.archived),
    )
