"""Messages that the replica may have, and has: a run that was cut off has sent them. They are not sent again."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far import guids, quick_check
from cyrsync.server.engine import MailboxChange
from cyrsync.server.reading import MailboxReader
from cyrsync.server.replica import Replica
from cyrsync.sync.folder_plan import State

#: So many messages are asked for at once.
_ASKED = 10_000


def leave_same(change: MailboxChange, reader: MailboxReader, replica: Replica) -> None:
    """Take what the replica has from the messages to send; nothing may be under way.

    If a mailbox was made again, size and time prove nothing: a file may be that of the mailbox before. Then the replica
    must have an index of this mailbox, which names the message with the same GUID.
    """
    is_anew = change.summary.state is State.RECREATED
    there = replica.root(reader.roots.homes[kinds.INDEX], make=True)
    if is_anew:
        change.arrived = _has_index(change, replica, there)
        if not change.arrived:
            return
    for root, plan in change.plans.items():
        for uids in _portions(change.doubtful(root)):
            asked = _with_same_guid(change, uids, replica, there) if is_anew else uids
            messages = tuple(reader.entries(root, plan.path, asked))
            question = quick_check.Question(replica.root(root, make=True), plan.path, messages)
            change.has(root, replica.tree.same(question, numeric_ids=replica.numeric_ids))


def _has_index(change: MailboxChange, replica: Replica, there: bytes) -> bool:
    """Tell whether the index on the replica, below the root `there`, is one of this mailbox."""
    (found,) = replica.tree.look(there, [change.location.key.path])
    return found.incarnation is not None and found.incarnation.same_as(change.mailbox.incarnation)


def _with_same_guid(change: MailboxChange, uids: array[int], replica: Replica, there: bytes) -> array[int]:
    """Return the messages that both indexes name with one GUID."""
    index = change.mailbox.index
    (found,) = replica.tree.guids(there, [guids.Question(change.location.key.path, uids)])
    both = zip(uids, found, strict=False)  # nothing was found if the index cannot be read
    return array("I", (uid for uid, guid in both if index is not None and guid == index.guid_of(uid)))


def _portions(uids: array[int]) -> Iterator[array[int]]:
    for start in range(0, len(uids), _ASKED):
        yield uids[start : start + _ASKED]
