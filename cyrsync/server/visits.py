"""The mailboxes that one run reads and sends, one after the other. Some may be asked for before their turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from cyrsync.server.delivery import Delivery
from cyrsync.server.engine import MailboxChange
from cyrsync.server.mounted import EmptyRoots
from cyrsync.server.ownership import Ownership
from cyrsync.server.sender import Sender
from cyrsync.server.snapshots import Snapshots
from cyrsync.server.unlisted import UnlistedFolders
from cyrsync.state.mailbox_row import Key
from cyrsync.state.store import Store
from cyrsync.sync.session import Session

#: Sends mailboxes before their turn; returns those that are not on the replica's disks then, and why, or None for those
#: that this run sends later.
SendNow = Callable[[Sequence[Key]], dict[Key, str | None]]


@dataclass(slots=True)
class Visits:
    """Reads each mailbox under its locks, sends it, and counts it once, however often it is asked for."""

    session: Session
    store: Store
    snapshots: Snapshots
    sender: Sender | None  # with neither of these, nothing is sent
    delivery: Delivery | None
    ownership: Ownership
    empty: EmptyRoots  # there, a mailbox with a message is an error: a disk is not mounted
    unlisted: UnlistedFolders  # mailboxes that are not to be sent
    late: dict[Key, MailboxChange]  # those that are left until all have been looked at
    unchanged: int  # messages of mailboxes that have not changed: at first, all that the replica has
    unproven: int = 0  # messages that the replica may have beside those
    _counted: set[Key] = field(default_factory=set)

    def all(self, keys: Sequence[Key], between: Callable[[SendNow], None]) -> None:
        """Send mailboxes; `between` two of them, let others be sent."""
        for key in keys:
            if key not in self._counted:
                self._visit(key)
            if self.delivery and not self._is_in_doubt():
                between(self._send_now)
            if self._is_in_doubt():
                break  # the state does not speak of what is there
        if self.sender and self.delivery:
            self.delivery.settle()
            self.session.limit.sent(messages=self.sender.messages, folders=self.sender.folders)

    def _is_in_doubt(self) -> bool:
        return self.sender is not None and bool(self.sender.reason)

    def _send_now(self, keys: Sequence[Key]) -> dict[Key, str | None]:
        """Send mailboxes as they are now, whether they were sent before or not.

        What they have lost is deleted at the end of the run, as of all others.
        """
        assert self.delivery and self.sender
        self.delivery.settle()  # the plan of one that is on its way would be that of a new one
        unfit = {key for key in keys if self.empty.has(key.partition) or key in self.unlisted}
        for key in keys:
            if key not in unfit and not self._is_in_doubt():
                self._visit(key)
        self.delivery.settle()
        if self._is_in_doubt():
            return dict.fromkeys(keys)
        if self.ownership.begun:
            self.ownership.to_disk()
        failed = self.delivery.failed()
        left: dict[Key, str | None] = dict.fromkeys(key for key in keys if key in unfit or key in self.late)
        return {**left, **{key: failed[key] for key in keys if key in failed}}

    def _visit(self, key: Key) -> None:
        self.snapshots.forget(key)
        if self.delivery and not self.empty.has(key.partition):
            change = self.delivery.read_and_send(key)
        else:
            change = self.snapshots.read(self.store, key)
        if change is None:
            return
        self.empty.refuse(key.partition, change.mailbox.messages, change.mailbox.archived)
        earlier = self.late.pop(key, None)
        if not change.going:
            self.late[key] = change
        self._count(change, earlier)
        self.session.progress.scan(len(self._counted), self.session.result.messages.seen)

    def _count(self, change: MailboxChange, earlier: MailboxChange | None) -> None:
        """Count a mailbox, in the place of its `earlier` change if that was not sent."""
        key, now, result = change.location.key, change.summary, self.session.result
        deleted = self.session.limit.planned(key)[0]
        self.session.limit.count(key, now)
        if earlier:
            result.revise(earlier.summary, now)
            return
        self.unchanged -= now.replica_messages
        if key in self._counted:
            # What was sent before stays counted; what is to be deleted is so still.
            before = replace(now, messages_seen=0, messages_present=0, messages_send=0, messages_delete=deleted)
            result.revise(before, now)
            return
        self._counted.add(key)
        self.unproven += change.row.unproven() if change.row else 0
        result.add(now, change.location.name)
