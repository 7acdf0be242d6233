"""Mailboxes and users' files sent one by one, between whole runs, over a state and a connection that stay open.

Nothing here looks at all mailboxes: a message must not take longer on a larger server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cyrsync.server import lost
from cyrsync.server.linking import Linker
from cyrsync.server.replica import Replica
from cyrsync.server.sender import Sender
from cyrsync.server.server_session import ServerSession
from cyrsync.state.mailbox_row import Key
from cyrsync.state.store import Store


def glance(server: ServerSession, store: Store, replica: Replica) -> None:
    """Check that the replica exists and may be written to, without a look at any index."""
    server.ownership(store, replica, server.conf_run(store)).check(anew=False, at_a_glance=True)


class SingleSends:
    """Sends what has changed while the replica is locked, from `begin` to `end`."""

    def __init__(self, server: ServerSession, store: Store, replica: Replica) -> None:
        self._server = server
        self._session = server.session
        self._store = store
        self._replica = replica
        self._linker = Linker(store, replica, server.roots, server.config.deletedprefix)
        self._conf = server.conf_run(store)
        self._snapshots = server.snapshots()
        self._ownership = server.ownership(store, replica, self._conf)

    def begin(self, *, at_a_glance: bool, there: tuple[int, int]) -> str:
        """Begin to send; return why all mailboxes have to be compared first, "" if they need not be.

        With `at_a_glance`, a Cyrus at work there is not looked for. The replica has so many messages and mailboxes.
        """
        self._session.limit.begin()
        reason = self._ownership.check(anew=False, at_a_glance=True)
        if not reason:
            if not at_a_glance:
                self._ownership.refuse_cyrus()
            self._ownership.begin()
            self._session.limit.of(messages=there[0], folders=there[1])
        return reason

    def has_drifted(self, keys: Sequence[Key]) -> str:
        """Return why the replica may lack what was sent of these mailboxes, "" if it has all.

        Raise RefusedError if somebody else has written there since.
        """
        return self._ownership.drift_of(keys)

    def mailboxes(self, keys: list[Key]) -> dict[Key, str]:
        """Send mailboxes as they are now, together; return those that are not on the replica, and why."""
        snapshots = self._snapshots
        snapshots.unreadable.clear()
        snapshots.locked.clear()
        before = len(self._session.result.errors)
        sender = Sender(self._store, self._replica, lambda: "", self._session.progress, self._linker)
        sender.is_late = True
        delivery = self._server.delivery(self._store, self._replica, snapshots, sender)
        if len(keys) > 1 and lost.is_expected(self._server.config, self._store, keys):
            self._linker.expect_lost(keys, [], at_once=True)  # the log names both mailboxes of a move at once
        for key in keys:
            delivery.send_late(key, [key])
        delivery.settle()
        delivery.finish()
        wrong = self._went_wrong(before)
        if wrong and len(keys) > 1:
            # Errors do not tell whose they are; what has arrived is not sent again.
            return {key: reason for one in keys for key, reason in self.mailboxes([one]).items()}
        failed = delivery.failed()
        return {key: reason for key in keys if (reason := failed.get(key, "") or wrong)}

    def files(self, mailboxes: Mapping[bytes, bytes] | None) -> str:
        """Send the files beside the partitions as they are now, but for mailboxes.db; return what went wrong.

        Those that change with some `mailboxes`, see `ConfRun.look_at`, or all. What is gone stays for a whole run.
        """
        if not self._conf:
            return ""
        before = len(self._session.result.errors)
        found = self._conf.look() if mailboxes is None else self._conf.look_at(mailboxes)
        if found.changed:
            self._conf.send(found, self._replica)
        return self._went_wrong(before)

    def end(self) -> None:
        """Wait until all that was sent is on the replica's disks, and note there that nobody writes."""
        self._ownership.end(complete=False)

    def _went_wrong(self, before: int) -> str:
        """Return why something is not on the replica, "" if it is; there were so many errors `before` it."""
        full, self._session.full = self._session.full, None
        return str(full) if full else next(iter(self._session.result.errors[before:]), "")
