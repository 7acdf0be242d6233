"""One step of a transfer: rsync run over the entries of plans, and again over those that may succeed then."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.errors import ReplicaFull, hint
from cyrsync.rsync.driver import Rsync
from cyrsync.rsync.messages import Complaint
from cyrsync.spool.account import Account, Planned
from cyrsync.sync.folder_plan import FolderPlan

#: Staged metadata is put in place when the last of it has arrived: a header and its index are not parted by a lost
#: connection. Where it waits is rsync's default, but the user may have named another: there names might not be unique.
TOGETHER = ("--delay-updates", f"--partial-dir={kinds.UPDATES.decode()}")

#: Is told of a step's name, the files that it has sent, all its files, and the bytes sent.
Tick = Callable[[str, int, int, int], None]
Entries = Callable[[FolderPlan], Iterator[bytes]]


class RsyncStep:
    """Runs rsync for the steps of one transfer, and records the outcome. Without an rsync, it does nothing."""

    def __init__(self, rsync: Rsync | None, account: Account, plans: Mapping[bytes, FolderPlan], tick: Tick) -> None:
        """`plans` are those of all folders, by path."""
        self._rsync = rsync
        self._account = account
        self._plans = plans
        self._tick = tick

    def run(
        self,
        name: str,
        plans: list[FolderPlan],
        entries: Entries,
        extra: tuple[str, ...],
        planned: Planned,
        staging: Path | None = None,
    ) -> None:
        """Send the entries of these plans with `extra` words for rsync. `planned` tells how many files they are."""
        if not self._rsync:
            return
        try:
            self._send(self._rsync, name, plans, entries, extra, planned, staging)
        except ReplicaFull as error:
            listed = [plan for plan in plans if next(entries(plan), None) is not None]
            self._account.no_room(error, listed, planned)

    def note(self, complaints: Mapping[bytes, Complaint]) -> None:
        """Record what rsync has said of paths, unless the user has seen rsync's own words."""
        if self._rsync and self._rsync.verbatim:
            return
        for path, message in complaints.items():
            self._account.errors[path] = hint(message.reason)

    def _send(
        self,
        rsync: Rsync,
        name: str,
        plans: list[FolderPlan],
        entries: Entries,
        extra: tuple[str, ...],
        planned: Planned,
        staging: Path | None,
    ) -> None:
        total = sum(planned(plan) for plan in plans)

        def tick(done: int, size: int) -> None:
            self._account.arriving = done
            self._tick(name, done, total, size)

        listed = (entry for plan in plans for entry in entries(plan))
        outcome = rsync.transfer(listed, extra, tick, staging)
        self._account.bytes_sent += outcome.bytes_sent
        again = sorted(path for path, message in outcome.failed.items() if message.worth_another_try())
        entries_again = (entry for path in again for entry in self._entries_of(path, entries))
        extra_again = tuple(word for word in extra if word not in TOGETHER)
        second = rsync.transfer(entries_again, extra_again, instead=staging)
        self._account.bytes_sent += second.bytes_sent
        for path in again:
            del outcome.failed[path]
        outcome.failed.update(second.failed)
        outcome.vanished.update(second.vanished)
        outcome.attributes.update(second.attributes)
        self.note(self._account.record(outcome, plans, planned))

    def _entries_of(self, path: bytes, entries: Entries) -> Iterable[bytes]:
        """Return what to list again of a path that failed: of a folder, all of it."""
        plan = self._plans.get(path)
        return entries(plan) if plan else [path]
