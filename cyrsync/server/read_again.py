"""Mailboxes that changed while they were sent: each is read again, and nothing of it is sent twice."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from cyrsync.far import uids as uid_sets
from cyrsync.server.contents import UnreadableFileError
from cyrsync.server.engine import MailboxChange
from cyrsync.server.reading import UnreadableMailboxError
from cyrsync.state.mailbox_row import Key


@dataclass(slots=True)
class _Earlier:
    """What earlier looks at one mailbox have found; by root."""

    incarnation: object
    arrived: dict[bytes, array[int]] = field(default_factory=dict)
    lost: dict[bytes, set[int]] = field(default_factory=dict)  # at the last look
    lacking: dict[bytes, set[int]] = field(default_factory=dict)  # at two, though the index named them both times
    bad: dict[bytes, str] = field(default_factory=dict)  # files that cannot be read to their end, and why


class ReadAgain:
    """The mailboxes that are to be read again, with what earlier looks have found."""

    def __init__(self) -> None:
        #: Why nothing of a mailbox was sent at the last look, "" where it has changed meanwhile.
        self.reasons: dict[Key, str] = {}
        self._keys: set[Key] = set()
        self._earlier: dict[Key, _Earlier] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._keys

    def add(self, key: Key) -> None:
        """Have a mailbox read again."""
        self._keys.add(key)

    def discard(self, key: Key) -> None:
        """Do not have a mailbox read again: it has just been, or has failed."""
        self._keys.discard(key)

    def add_unsent(self, change: MailboxChange, error: Exception) -> None:
        """Have a mailbox read again of which nothing is sent now; a file that cannot be read is left out then."""
        self.reasons[change.location.key] = str(error) if isinstance(error, UnreadableMailboxError) else ""
        if isinstance(error, UnreadableFileError):
            self._kept(change).bad[error.name] = error.reason
        self.add(change.location.key)

    def add_lost(self, change: MailboxChange, lost: Mapping[bytes, Collection[int]]) -> None:
        """Have a mailbox read again, and remember by root which messages were not there."""
        earlier = self._kept(change)
        for root, uids in lost.items():
            now = set(uids)
            earlier.lacking.setdefault(root, set()).update(now & earlier.lost.get(root, set()))
            earlier.lost[root] = now
        self.add(change.location.key)

    def note_arrived(self, change: MailboxChange, root: bytes, uids: array[int]) -> None:
        """Remember messages that the replica has got."""
        arrived = self._kept(change).arrived
        arrived[root] = uid_sets.union(arrived.get(root, uid_sets.empty()), uids)

    def leave_out(self, change: MailboxChange) -> list[int]:
        """Do without messages that were not there at two looks, though the index named them both times. Return them."""
        lacking = self._of(change).lacking.items()
        return [uid for root, uids in lacking for uid in sorted(uids) if change.leave_out(root, uid)]

    def wanted(self, change: MailboxChange) -> dict[bytes, array[int]]:
        """Return the messages that are to be sent and have not arrived, by root."""
        arrived, none = self._of(change).arrived, uid_sets.empty()
        return {root: uid_sets.difference(plan.uids, arrived.get(root, none)) for root, plan in change.plans.items()}

    def bad(self, change: MailboxChange) -> dict[bytes, str]:
        """Return files that could not be read to their end, and why."""
        return self._of(change).bad

    def _of(self, change: MailboxChange) -> _Earlier:
        """Return what earlier looks have found of a mailbox, if it is the same one still."""
        incarnation = change.mailbox.incarnation[:2]
        earlier = self._earlier.get(change.location.key)
        return earlier if earlier and earlier.incarnation == incarnation else _Earlier(incarnation)

    def _kept(self, change: MailboxChange) -> _Earlier:
        """Return the same, to be added to."""
        earlier = self._earlier[change.location.key] = self._of(change)
        return earlier
