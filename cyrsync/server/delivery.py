"""Mailboxes on their way to the replica: they are sent, again if they change meanwhile; then deletions follow."""

from __future__ import annotations

import errno
import os
from collections.abc import Container

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.errors import Exit, ReplicaFull, hint
from cyrsync.far import host
from cyrsync.far import uids as uid_sets
from cyrsync.far.remove import Removal
from cyrsync.server.deleting import delete
from cyrsync.server.engine import MailboxChange, deletions
from cyrsync.server.replica import Replica
from cyrsync.server.roots import Roots
from cyrsync.server.sender import Sender
from cyrsync.server.snapshots import Snapshots
from cyrsync.state.mailbox_row import Key
from cyrsync.state.store import Store
from cyrsync.sync.session import Session
from cyrsync.text import path_text

#: How often a mailbox is read if it loses messages before they are sent.
_LOOKS = 20


class Delivery:
    """Sends the mailboxes of one run, and counts the results."""

    def __init__(
        self,
        session: Session,
        store: Store,
        replica: Replica,
        roots: dict[str, Roots],
        snapshots: Snapshots,
        sender: Sender,
    ) -> None:
        """`snapshots` reads the mailboxes, `sender` sends them."""
        #: Mailboxes that were counted, and are sent when all has been looked at.
        self.late: dict[Key, MailboxChange] = {}
        self._session = session
        self._store = store
        self._replica = replica
        self._roots = roots
        self._snapshots = snapshots
        self._sender = sender

    def read_and_send(self, key: Key) -> MailboxChange | None:
        """Read a mailbox and send it; do so again, a few times, if it has lost messages meanwhile."""
        for _ in range(_LOOKS):
            change = self._snapshots.read(self._store, key, self._sender)
            if change is None or key not in self._sender.read_again:
                return change
        reason = self._sender.read_again.reasons.get(key)
        self._snapshots.unreadable[key] = reason or "it changed too often while it was sent; the next run sends it"
        return None

    def settle(self) -> None:
        """Wait until what was sent has arrived; what the replica proved not to have is sent with the late mailboxes."""
        self._sender.settle()
        distrusted, self._sender.to_distrust = self._sender.to_distrust, {}
        self.late.update(distrusted)
        if self._sender.is_late and distrusted:
            for key in sorted(distrusted):
                self.send_late(key)
            self._sender.settle()

    def send_late(self, key: Key, come: Container[Key] = frozenset()) -> None:
        """Read and send a mailbox when others have been sent already; what it would delete is counted first.

        Mailboxes that were made since the first look (`come`) were not counted then.
        """
        change = self.read_and_send(key)
        if change is None:
            return
        self._session.limit.replan(key, change.summary)
        result = self._session.result
        before = self.late.pop(key, None)
        if before:
            result.revise(before.summary, change.summary)
        else:
            result.add(change.summary, change.location.name)
            result.folders.seen -= key not in come  # it was counted at first
            result.files.planned -= change.summary.files_planned()  # who sends it counts them

    def send_all_late(self) -> None:
        """Send what was left until all had been looked at."""
        self._sender.is_late = True
        for key in sorted(self.late):
            self.send_late(key)
        self.settle()

    def finish(self) -> None:
        """Delete what sent mailboxes have lost, send what there is room for now, and report all of it."""
        self.delete_sent()
        self._send_what_is_left()
        self._report()

    def delete_sent(self) -> None:
        """Delete what sent mailboxes have lost."""
        if not self._session.limit.allows():
            return
        for name, roots in self._roots.items():
            changes = [change for key, change in self._sender.deletes.items() if key.partition == name]
            failed: set[bytes] = set()
            for root in roots.all():
                plans = [plan for change in changes if (plan := deletions(change.plans[root])).deletes()]
                failed |= delete(self._session, self._replica, root, plans)
            self._session.limit.done(change.location.key for change in changes)
            self._store.put(change.after(deleted=True) for change in changes if change.location.key.path not in failed)
        self._sender.deletes.clear()

    def failed(self) -> dict[Key, str]:
        """Return the mailboxes that could not be read, or not be written, with the reasons."""
        unwritten = dict.fromkeys(self._sender.failed, "not all of it could be sent")
        for key, (_, path) in self._sender.full.items():
            unwritten[key] = f"{path_text(path)}: {os.strerror(errno.ENOSPC)}"
        return {**unwritten, **self._snapshots.unread()}

    def _send_what_is_left(self) -> None:
        """Send again what there was no room for: deletions may have made some.

        If that is not enough, a mailbox that loses as much as it gets first loses its old index and its messages.
        """
        full = self._sender.full
        left = len(full) + 1
        while full and len(full) < left:
            left = len(full)
            self._send_again(sorted(full))
        for key in sorted(full):
            if self._make_way(key):
                self._send_again([key])
        for _, path in list(full.values())[:1]:
            reason = "what was deleted is kept: run cyrsync prune" if self._replica.is_kept else ""
            reason = reason or hint(os.strerror(errno.ENOSPC))
            self._session.full = ReplicaFull(f"not all could be written: {path_text(path)}: {reason}", Exit.FILE_IO)

    def _send_again(self, keys: list[Key]) -> None:
        self.late.update({key: self._sender.full[key][0] for key in keys})
        for key in keys:
            self.send_late(key)
        self.settle()
        self.delete_sent()

    def _make_way(self, key: Key) -> bool:
        """Delete what a mailbox has lost, and its old index before that; tell whether that made room enough for it."""
        if self._replica.is_kept:
            return False
        change = self._snapshots.read(self._store, key)
        if change is None or not change.deletes() or not self._session.limit.allows():
            return False
        if self._bytes_gone(change) < _bytes_coming(change):
            return False
        self._store.put([change.before()])
        roots = self._roots[key.partition]
        index_root = self._replica.root(roots.homes[kinds.INDEX])
        index = Removal(key.path, files=(kinds.INDEX,))
        if self._replica.tree.remove(index_root, [index], keep_times=False).failed:
            return False
        for root in roots.all():
            delete(self._session, self._replica, root, [deletions(change.plans[root])])
        return True

    def _bytes_gone(self, change: MailboxChange) -> int:
        """Return how much room the deletions of a mailbox make on the replica."""
        gone = 0
        for root, plan in change.plans.items():
            there = os.path.join(self._replica.root(root), change.location.key.path)
            names = [*uid_sets.file_names(plan.delete_uids), *plan.delete_files]
            looks = self._replica.tree.stat([os.path.join(there, name) for name in names])
            gone += sum(look[0] for look in looks if isinstance(look, tuple))
        return gone

    def _report(self) -> None:
        """Report the results of all that was to be sent."""
        result, sender = self._session.result, self._sender
        result.files.planned += sender.files + sender.files_failed
        result.files.sent += sender.files
        result.files.failed += sender.files_failed
        result.messages.linked += sender.linked
        result.bytes_sent += sender.bytes_sent
        result.errors += sender.errors
        result.hold({key.path for key in sender.failed | sender.full.keys()})


def _bytes_coming(change: MailboxChange) -> int:
    """Return how much room the new messages of a mailbox take."""
    paths = [
        os.path.join(root, change.location.key.path, name)
        for root, plan in change.plans.items()
        for name in uid_sets.file_names(plan.uids)
    ]
    looks = map(host.status, paths)
    return sum(look[0] for look in looks if isinstance(look, tuple))
