"""Mailboxes that have another directory than when they were last sent: recognized, and not sent again."""

from __future__ import annotations

from collections.abc import Iterable

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far import uids as uid_sets
from cyrsync.far.relink import Move
from cyrsync.far.remove import Removal
from cyrsync.server.engine import MailboxChange
from cyrsync.server.replica import Replica
from cyrsync.server.roots import Roots
from cyrsync.state.mailbox_row import MailboxRow
from cyrsync.state.store import Store
from cyrsync.sync.folder_plan import State
from cyrsync.sync.result import RunResult


def find_renamed(store: Store, changes: Iterable[MailboxChange]) -> list[tuple[MailboxChange, MailboxRow]]:
    """Return mailboxes that are new in their place, with what the replica has of them in another one.

    One that is in that other place still was not renamed: 2.3 may have given two mailboxes one uniqueid.
    """
    moved = [change for change in changes if change.summary.state in (State.NEW, State.RECREATED)]
    if not moved:
        return []
    homes = store.homes()
    left = store.left() | {change.location.key for change in moved}
    found = []
    for change in moved:
        life = change.mailbox.incarnation
        before = [key for key in homes.get((life.uniqueid, life.uidvalidity), ()) if key in left]
        row = store.row(before[0]) if len(before) == 1 else None
        if row and row.key != change.location.key:
            found.append((change, row))
    return found


def relink(
    store: Store,
    replica: Replica,
    roots: dict[str, Roots],
    renamed: list[tuple[MailboxChange, MailboxRow]],
    result: RunResult,
) -> None:
    """Link on the replica the messages that renamed mailboxes have there; the others remain to be sent."""
    moves = []
    for change, row in renamed:
        if row.key.partition not in roots:
            continue
        old, new = roots[row.key.partition], roots[change.location.key.partition]
        for old_root, new_root, uids in ((old.data, new.data, row.uids), (old.archive, new.archive, row.archived)):
            plan = change.plans[new_root]
            common = uid_sets.difference(plan.uids, uid_sets.difference(plan.uids, uids))
            if common:
                there = replica.root(new_root, make=True)
                move = Move((replica.root(old_root), row.key.path), (there, change.location.key.path), common)
                moves.append((change, plan, move))
    if not moves:
        return
    # From here on, nobody could tell any more whose messages lie where, were this run to die.
    store.put(change.before() for change, _ in renamed)
    with_old_index = {change.location.key for change, _ in renamed if not _remove_index(change, replica)}
    possible = [one for one in moves if one[0].location.key not in with_old_index]
    for (change, plan, _), linked in zip(possible, replica.tree.relink([one[2] for one in possible]), strict=True):
        plan.uids = uid_sets.difference(plan.uids, linked)
        plan.messages_send -= len(linked)
        change.summary.messages_send -= len(linked)
        change.summary.messages_present += len(linked)
        result.messages.send -= len(linked)
        result.messages.present += len(linked)


def _remove_index(change: MailboxChange, replica: Replica) -> bool:
    """Remove another mailbox's index from the place of a renamed one; tell whether there is none."""
    if change.summary.state is not State.RECREATED:
        return True
    removal = Removal(change.location.key.path, files=(kinds.INDEX,))
    roots = {root for root, file in change.mailbox.snapshot_files if file.name == kinds.INDEX}
    return not any(
        replica.tree.remove(replica.root(root, make=True), [removal], keep_times=False).failed for root in roots
    )
