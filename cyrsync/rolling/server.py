"""Watches one server: makes the parts of a watcher, and makes them anew when the settings are read again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from cyrsync.cyrus.server.config import Config
from cyrsync.cyrus.server.links import cyrus_user
from cyrsync.errors import Exit, UnusableError, error_text
from cyrsync.rolling.alive import Alive
from cyrsync.rolling.channel import Channel, channel, is_set, lines_to_add, no_room, not_writable
from cyrsync.rolling.parts import Orders as WatchOrders
from cyrsync.rolling.parts import Parts
from cyrsync.rolling.plain import Counts, Event, Pace, Status
from cyrsync.rolling.readers import older_than
from cyrsync.rolling.sender import Deleted, ServerSender
from cyrsync.rolling.service import Service
from cyrsync.rolling.taking import SyncLog
from cyrsync.rolling.waiting import LogWait
from cyrsync.rolling.watch import Watch
from cyrsync.state import watching
from cyrsync.state.lock import WATCHING, state_directory
from cyrsync.state.mailbox_row import StateDamaged
from cyrsync.state.pending import PendingTable
from cyrsync.state.state_file import set_aside
from cyrsync.state.store import Store
from cyrsync.sync.session import Session
from cyrsync.text import path_text

#: Seconds between two looks whether imapd.conf has changed, and for processes that are older than it is.
_LOOK = 60.0
#: Seconds between two looks whether Cyrus has room and rights for the log: room comes and goes.
_LOOK_AT_LOG = 4.0
#: Seconds within which a state that is damaged once more tells of a bad disk.
_SOON = 60.0


class Orders(WatchOrders, Protocol):
    """What the user tells by signals."""

    stop: bool

    def clear(self) -> None:
        """Forget that the settings are to be read again."""

    def fileno(self) -> int:
        """Return a descriptor from which there is something to read as soon as there are orders."""


@dataclass(frozen=True, slots=True)
class Told:
    """What receives the events, the status and the whole runs of a watcher."""

    event: Callable[[Event], None]
    status: Callable[[Status], None]
    passed: Callable[[Session], None]


def watch(outer: Session, read: Callable[[], Config], name: str, pace: Pace, orders: Orders, told: Told) -> None:
    """Keep the replica up to date until told to stop. `outer` is of the pair; `name` that of the log's channel.

    Raise RefusedError where the replica is not ours to write to any more, UsageError and UnusableError for settings
    that cannot be, LockedError where another one is at work.
    """
    service, counts, deleted = Service(os.environ), Counts(), Deleted()
    outer.progress = Alive(service.feed)
    config = read()
    with ExitStack() as stack:
        with orders.breaking_off():
            stack.enter_context(outer.directories(WATCHING))
        damaged = float("-inf")
        path = state_directory(outer.options.state) / f"{outer.key}.sqlite"
        if outer.options.full:
            watching.ask_for_full(outer.options.state, outer.key)
        try:
            while not orders.stop:
                service.ready()
                try:
                    outer.partitions = tuple(config.partitions)
                    _Server(outer, read, config, name, pace, orders, told, service, counts, deleted).work(path)
                except StateDamaged as error:
                    if time.monotonic() - damaged < _SOON:
                        reason = f"{error}: damaged again right after it was made anew: look for a failing disk"
                        raise UnusableError(f"{path}: {reason}") from None
                    damaged = time.monotonic()
                    aside = set_aside(path)
                    said = f"{path}: {error}: set aside as {aside.name}, and made anew from the replica"
                    told.event(Event("state", said, True))
                if not orders.stop:
                    service.reloading()
                    orders.clear()
                    config = read()
        finally:
            service.stopping()
            watching.remove(outer.options.state, outer.key)


@dataclass(slots=True)
class _Server:
    """A server with one reading of its settings."""

    outer: Session
    read: Callable[[], Config]
    config: Config
    name: str
    pace: Pace
    orders: Orders
    told: Told
    service: Service
    counts: Counts
    deleted: Deleted
    _looked: float = float("-inf")
    _changed: str = ""
    _old: str = ""
    _log_looked: float = float("-inf")
    _unlogged: str = ""
    _unwritten: bool = False

    def work(self, path: Path) -> None:
        """Watch until there are orders."""
        ours = channel(self.config, self.name)
        log = SyncLog(ours, self._owner)
        store, warning = Store.open(path, self.outer.key)
        if warning:
            self.told.event(Event("state", warning, True))
        wants_full = partial(watching.is_asked_for_full, self.outer.options.state, self.outer.key)
        try:
            sender = ServerSender(self.outer, self.config, store, self.counts, self.deleted, self._passed, wants_full)
            with LogWait(ours, self.orders.fileno()) as wait:
                parts = Parts(
                    *(sender, log, PendingTable(store.file), self.orders, wait.wait, wait.pause),
                    tell=self.told.event,
                    publish=self._publish,
                    blind=self._blind,
                    wants_pass=wants_full,
                    relisted=sender.relisted,
                    alive=self.service.feed,
                )
                Watch(parts, self.pace, self.name, os.getpid(), self.counts).run()
        finally:
            log.close()
            store.close()

    def _passed(self, session: Session, in_full: bool) -> None:
        # What could not be read waits by itself: to compare all the rest again would help nobody.
        if in_full and session.result.exit in (Exit.DONE, Exit.PARTIAL, Exit.VANISHED, Exit.WITHHELD):
            watching.done_in_full(self.outer.options.state, self.outer.key)
        self.told.passed(session)

    def _publish(self, status: Status) -> None:
        try:
            watching.write(self.outer.options.state, self.outer.key, status.to_json(status.written))
        except OSError as error:
            if not self._unwritten:
                self.told.event(Event("state", f"its status cannot be written: {error_text(error)}", True))
            self._unwritten = True
        self.service.status(status.line(status.written))
        self.told.status(status)

    def _blind(self) -> str:
        """Return why the log cannot be believed, "" if it can."""
        conf = self.outer.source.text
        if time.monotonic() - self._looked > _LOOK:
            self._looked = time.monotonic()
            self._changed = self._conf_changed()
            old = [] if self._changed else older_than(conf)[1]
            self._old = f"{len(old)} processes are older than {conf} (first {min(old)})" if old else ""
        if self._changed:
            return self._changed
        if not is_set(self.config, self.name):
            lines = lines_to_add(self.config, self.name)
            return f"{conf} has no channel {self.name}: put {lines} into it, and restart Cyrus"
        if time.monotonic() - self._log_looked > _LOOK_AT_LOG:
            self._log_looked = time.monotonic()
            ours = channel(self.config, self.name)
            self._unlogged = no_room(self.config, ours) or self._no_right(ours)
        return self._old or self._unlogged

    def _no_right(self, ours: Channel) -> str:
        """Return where Cyrus cannot log for want of rights, "" if it can."""
        with suppress(OSError):  # of a list of mailboxes that is away just now
            path = not_writable(ours, self._owner())
            return f"{path_text(path)}: Cyrus's user may not write there: changes are not logged" if path else ""
        return ""

    def _owner(self) -> int:
        """Return Cyrus's user. Raise OSError."""
        return cyrus_user(self.config)

    def _conf_changed(self) -> str:
        """Return what to do where imapd.conf says something else now, "" where it does not.

        It is not read again unasked: it may be half written.
        """
        try:
            is_same = self.read().says_the_same_as(self.config)
        except UnusableError as error:
            return f"{error}: until it is corrected, the settings that were read before are used"
        return "" if is_same else f"{self.outer.source.text} was changed: send SIGHUP, so that it is read again"
