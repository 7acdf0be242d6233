"""What was sent, compared with what was read: messages that vanished between, and mailboxes that changed places."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable
from dataclasses import replace

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.errors import hint
from cyrsync.far import uids as uid_sets
from cyrsync.far.folder import Folder
from cyrsync.far.message_files import MessageFiles
from cyrsync.far.remove import Removal
from cyrsync.far.uids import file_names
from cyrsync.spool.steps import Transfer
from cyrsync.sync.folder_plan import FolderPlan, State


class Losses:
    """What a transfer did not find as it was read, and how that is repaired."""

    def __init__(self, transfer: Transfer) -> None:
        self._transfer = transfer
        self._lost = transfer.account.lost
        self._checked: dict[bytes, FolderPlan] = {}
        self._mixed: set[bytes] = set()  # folders that were another mailbox's when their messages were sent
        self._arrived: dict[bytes, array[int]] = {}  # messages of folders that were read again
        self._foreign: dict[bytes, set[bytes]] = {}  # folders with derived metadata that may be another mailbox's

    def stale(self) -> set[bytes]:
        """Return the folders that have lost a message since their metadata was staged."""
        return {plan.path for plan in self._transfer.settled() if plan.was_locked and plan.path in self._lost}

    def unchecked(self) -> list[FolderPlan]:
        """Return the folders of which messages, or metadata from the spool, were sent since this was last asked."""
        plans = [plan for plan in self._transfer.settled() if plan.was_locked and (plan.messages_send or plan.derived)]
        fresh = [plan for plan in plans if self._checked.get(plan.path) is not plan]
        self._checked.update((plan.path, plan) for plan in fresh)
        for plan in fresh:
            self._foreign.pop(plan.path, None)
        return fresh

    def lose(self, plan: FolderPlan, uids: array[int] | None) -> None:
        """Take messages for lost that rsync said nothing of; None: what it sent is another mailbox's."""
        if uids is None:
            self._foreign[plan.path] = set(plan.derived)
            if plan.messages_send:
                self._mixed.add(plan.path)
        self._lost.setdefault(plan.path, set()).update(plan.entries(file_names(plan.uids if uids is None else uids)))

    def lose_of_whole(self, plan: FolderPlan, now: Folder) -> None:
        """Compare what a folder holds now with what it held when it was read: rsync sent what was there in between.

        What has gone was perhaps not there any more; what has come was perhaps sent without its index.
        """
        missing = uid_sets.difference(plan.uids, now.messages.uids)
        if missing:
            self.lose(plan, missing)
        came = uid_sets.difference(now.messages.uids, plan.uids)
        if plan.incarnation and now.incarnation:
            since = array("I", range(plan.incarnation.last_uid + 1, now.incarnation.last_uid + 1))
            came = uid_sets.union(came, since)
        plan.delete_too(came)

    def renew(self, plans: list[FolderPlan]) -> None:
        """Send the messages that folders still lack, by their plans after they were read again."""
        renewed = [replace(plan) for plan in plans]
        for new in renewed:
            old, lost = self._transfer.plan(new.path), self._lost.pop(new.path)
            assert old
            if new.path in self._mixed or _is_another(old, new):
                new.state = State.RECREATED  # what was sent is the other mailbox's
                arrived = uid_sets.empty()
            else:
                sent = uid_sets.difference(old.uids, _uids_of(lost))
                arrived = uid_sets.union(self._arrived.get(new.path, uid_sets.empty()), sent)
                _leave_out_sent(new, old, arrived)
            self._arrived[new.path] = arrived
        self._transfer.send_again(renewed)

    def take_foreign_away(self) -> None:
        """Take derived metadata from folders whose own was not sent after another mailbox's: Cyrus makes it again."""
        removals = [Removal(path, files=tuple(sorted(names))) for path, names in self._foreign.items() if names]
        transfer = self._transfer
        if removals and transfer.writer:
            for path, number in transfer.writer.remove(transfer.root, removals, keep_times=False).failed:
                transfer.account.errors[path] = hint(
                    f"it may belong to another mailbox, and cannot be removed: {os.strerror(number)}"
                )


def _is_another(old: FolderPlan, new: FolderPlan) -> bool:
    return bool(old.incarnation and new.incarnation and not new.incarnation.same_as(old.incarnation))


def _uids_of(paths: Iterable[bytes]) -> array[int]:
    """Return the UIDs of those of these files that are messages."""
    names = (path.rpartition(b"/")[2] for path in paths)
    return MessageFiles(b"".join(name for name in names if kinds.is_message(name))).uids


def _leave_out_sent(new: FolderPlan, old: FolderPlan, arrived: array[int]) -> None:
    """Take out of a folder's new plan the messages that have been sent by the old ones; other files change."""
    new.whole = False
    new.uids = uid_sets.difference(new.uids, arrived)
    new.nonstandard = tuple(name for name in new.nonstandard if name not in old.nonstandard)
    new.messages_send = len(new.uids) + len(new.nonstandard)
