"""The last looks of a run: at mailboxes that could not be read, as they are just being made, renamed or deleted."""

from __future__ import annotations

import time
from collections.abc import Callable

from cyrsync.server.delivery import Delivery
from cyrsync.server.gone import UnnamedMailboxes, sort_out
from cyrsync.server.roots import Roots
from cyrsync.server.snapshots import Snapshots
from cyrsync.server.transition import Transitions
from cyrsync.server.unlisted import UnlistedFolders
from cyrsync.state.mailbox_row import UNSEEN, Key, MailboxRow
from cyrsync.state.store import Store

#: Seconds before each further look at mailboxes that could not be read; how many, for one that is damaged, says
#: `Transitions`. Where something moves still after the last of them, that is left for the next run.
PAUSES = (0.0, 0.2, 0.5, 0.3, 0.3, 0.5, 0.5, 1.0)
#: As many of them as tell a damaged mailbox: the looks of a run that is followed by another one soon.
_FEW = 3
#: Looks at what was moving still, with no pause between.
_LAST_LOOKS = 20


class LastLooks:
    """Looks again at the mailboxes that a run could not finish."""

    def __init__(
        self,
        store: Store,
        roots: dict[str, Roots],
        snapshots: Snapshots,
        delivery: Delivery,
        refresh: Callable[[], bool],
        unlisted: UnlistedFolders,
        *,
        patient: bool,
    ) -> None:
        """`refresh` reads mailboxes.db if it has changed, and tells whether it has. For `patient` see `RunPatience`."""
        self._pauses = PAUSES if patient else PAUSES[:_FEW]
        self._store = store
        self._roots = roots
        self._snapshots = snapshots
        self._delivery = delivery
        self._refresh = refresh
        self._unlisted = unlisted

    def look(self, *, anew: bool = False) -> None:
        """Send what could not be read at first. With `anew`, mailboxes.db is looked at in any case."""
        store, snapshots, transitions = self._store, self._snapshots, Transitions()
        for pause in self._pauses:
            waiting = self._waiting()
            if all(map(transitions.is_still, waiting)) and not anew:
                break
            anew = False
            time.sleep(pause)
            come = store.locations.new() if self._refresh() else []
            keys = sorted(key for key in {*self._waiting(), *come} if store.locations.has(key))
            snapshots.settled = {key for key in keys if transitions.look(store.locations.get(key))}
            snapshots.unreadable.clear()
            for key in keys:
                self._delivery.send_late(key, come)
            self._delivery.settle()
        self._look_without_pause(transitions)
        for key in [key for key in snapshots.unreadable if not transitions.is_still(key)]:
            reason = snapshots.unreadable.pop(key)
            if store.locations.has(key):  # else it has gone, or has another name
                snapshots.moving[key] = reason

    def not_named(self) -> tuple[list[MailboxRow], UnnamedMailboxes]:
        """Return what the replica has of mailboxes that mailboxes.db does not name, and whether they are gone.

        One that this run has begun with, and that was deleted and made again meanwhile, is on the replica without its
        index: it is looked for until mailboxes.db names it.
        """
        rows = self._unlisted.without(self._store.gone())
        now = sort_out(rows, self._roots)
        for pause in self._pauses:
            if all(row.seen != UNSEEN for row in now.there):
                break
            time.sleep(pause)
            self.look(anew=True)
            rows = self._unlisted.without(self._store.gone())
            now = sort_out(rows, self._roots)
        return rows, now

    def _look_without_pause(self, transitions: Transitions) -> None:
        """Look again at what was still moving, a few times without a pause."""
        snapshots = self._snapshots
        for _ in range(_LAST_LOOKS):
            moving = [key for key in snapshots.unreadable if not transitions.is_still(key)]
            if not moving:
                return
            self._refresh()
            for key in moving:
                reason = snapshots.unreadable.pop(key)
                if self._store.locations.has(key):
                    self._delivery.send_late(key)
                    if key in snapshots.unreadable:
                        snapshots.unreadable[key] = reason
            self._delivery.settle()

    def _waiting(self) -> set[Key]:
        """Return the mailboxes that are still to be read."""
        not_sent = [key for key in self._store.not_sent() if key not in self._unlisted]
        return {*self._snapshots.unreadable, *not_sent} - self._snapshots.locked.keys()
