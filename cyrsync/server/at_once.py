"""A mailbox that is too busy for rsync: its messages are read right after its index, and sent from what was read.

Between the reading of an index and the end of an rsync there is time enough for a busy mailbox to lose a message, over
and over again. What is read at once needs milliseconds; and when all of it was there, it is sent as it was then.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far import uids as uid_sets
from cyrsync.far.place import Placing
from cyrsync.far.remove import Removal
from cyrsync.server.engine import Work
from cyrsync.server.quick import placing_of
from cyrsync.server.reading import MailboxReader
from cyrsync.server.replica import Replica
from cyrsync.server.roots import Roots
from cyrsync.sync.folder_plan import State

#: So often a mailbox is read until all that its index names is there.
_LOOKS = 20


class AtOnce:
    """Sends one mailbox."""

    def __init__(self, roots: Roots, arrived: dict[bytes, array[int]]) -> None:
        """`arrived` are the messages that the replica has from this run, by root."""
        self._roots = roots
        self._arrived = arrived
        self._placings: list[Placing] | None = None

    def read(self, take: Callable[[], Work | None], looks: int = _LOOKS) -> Work | None:
        """Read a mailbox until all is there, at most so often; None where that never was, or is too much."""
        for _ in range(looks):
            work = take()
            if work is None or self._placings is not None:
                return work
        return None

    def takes(self, work: Work, reader: MailboxReader) -> bool:
        """Read what is to be sent of a mailbox whose index has just been read, and tell whether all was there."""
        self._placings = None
        placings = []
        # An index comes last, behind the messages in all of the roots.
        for root in sorted(self._roots.all(), key=lambda root: root == self._roots.homes[kinds.INDEX]):
            plan = work.plans[root]
            plan.uids = uid_sets.difference(plan.uids, self._arrived[root])
            if plan.uids or plan.metadata or plan.loose:
                placings.append(placing_of(root, plan, work, reader))
        whole = [one for one in placings if one]
        if len(whole) == len(placings):
            self._placings = whole
        return self._placings is not None

    def send(self, replica: Replica, work: Work) -> bool:
        """Put what was read in its places on the replica, and tell whether it is there."""
        side = replica.side
        placings = [one._replace(root=replica.root(one.root, make=True)) for one in self._placings or ()]
        if work.summary.state is State.RECREATED and not self._clear(replica, work):
            return False
        for one in placings:
            side.begin_placing(numeric_ids=replica.numeric_ids)
            side.place(one)
            if side.end_placing():
                return False
        return True

    def _clear(self, replica: Replica, work: Work) -> bool:
        """Remove what another mailbox has under the same names, its index first; tell whether all of that is gone.

        Neither size nor time tells the files of two mailboxes apart.
        """
        for root in sorted(self._roots.all(), key=lambda root: root != self._roots.homes[kinds.INDEX]):
            plan = work.plans[root]
            removal = Removal(plan.path, plan.uids, (kinds.INDEX,) if root == self._roots.homes[kinds.INDEX] else ())
            if replica.side.remove(replica.root(root, make=True), [removal], keep_times=False).failed:
                return False
        return True
