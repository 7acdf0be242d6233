"""The loop of a watcher: take the log, note what it names, send that, and look at everything now and then.

Nothing is lost when it is killed: what the log names is in the state before the log is removed, and stays there until
it is on the replica. A pass over all mailboxes is one of these things, too: it is due at the start, after a connection
was lost, every ten minutes, and whenever the log does not tell what has changed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from cyrsync.errors import (
    ConnectionFailed,
    CyrsyncError,
    InterruptedRun,
    RefusedError,
    UsageError,
    error_text,
)
from cyrsync.rolling.backoff import connection_pause, mailbox_pause
from cyrsync.rolling.log_lines import Change, Kind, Lines
from cyrsync.rolling.plain import Counts, Event, Late, Pace, Status
from cyrsync.rolling.taking import LogError
from cyrsync.state.pending import Waiting
from cyrsync.text import path_text

#: Mailboxes that are sent before the log is looked at again.
_AT_ONCE = 50
#: Failures of a mailbox, one after the other, until there is a line about it: some are being renamed, or made.
_TOLD = 3
#: Times of mailboxes that are remembered.
_REMEMBERED = 10_000
_ALL = Change(Kind.ALL, b"")
#: Files of all users: which of them have changed, their looks tell.
_FILES = Change(Kind.FILES, b"")


class Passed(NamedTuple):
    """What came of a pass over all mailboxes; `seconds` took what it costs if nothing has changed."""

    exit: int
    error: str  # "" if it did all that is to be done
    failed: dict[bytes, str]  # mailboxes that could not be sent, with the reasons
    changed: dict[bytes, bool]  # mailboxes that it sent; True where the replica knew them before
    text: str  # what it did, in a line; "" for nothing
    seconds: float


class Sender(Protocol):
    """Who brings the replica up to date. Each method may raise ConnectionFailed, RefusedError and UnusableError."""

    def everything(self) -> Passed:
        """Look at all mailboxes and files, and send what has changed."""

    def mailbox(self, name: bytes) -> str | None:
        """Send one mailbox; return why it could not be sent, None where a pass has to see to it."""

    def files(self) -> str | None:
        """Send the files beside the partitions that have changed; return what could not be done, None as above."""

    def look(self) -> None:
        """See whether the replica is there."""

    def rest(self) -> None:
        """Let go of the replica: all that was sent is on its disks."""

    def close(self) -> None:
        """Let go of the connection, in whatever state it is."""


class Log(Protocol):
    """The sync log."""

    def take(self) -> Lines | None:
        """Return what it says, None for nothing."""

    def done(self) -> None:
        """Remove what was taken."""


class Table(Protocol):
    """What waits: see state/pending.py."""

    def add(self, rows: Iterable[Waiting]) -> None: ...
    def fail(self, rows: Iterable[Waiting]) -> None: ...
    def drop(self, rows: Iterable[Waiting]) -> None: ...
    def due(self, now: float, most: int) -> list[Waiting]: ...
    def find(self, kind: str, name: bytes) -> Waiting | None: ...
    def all(self) -> list[Waiting]: ...
    def next(self) -> float | None: ...


class Orders(Protocol):
    """What the user has told us by signals."""

    @property
    def ends(self) -> bool:
        """Whether to stop, or to read the settings again."""

    @contextmanager
    def breaking_off(self) -> Iterator[None]:
        """Let the order to stop break off what goes on meanwhile, by InterruptedRun: it may take hours."""
        yield


@dataclass(slots=True)
class Parts:
    """What a watcher works with."""

    sender: Sender
    log: Log
    table: Table
    orders: Orders
    wait: Callable[[float], object]  # until there is a log, or orders; seconds at most
    tell: Callable[[Event], None]
    publish: Callable[[Status], None]
    blind: Callable[[], str]  # why the log cannot be believed just now
    wants_pass: Callable[[], bool] = lambda: False  # whether somebody has asked for one
    alive: Callable[[], None] = lambda: None  # tells the watchdog
    clock: Callable[[], float] = time.time
    luck: Callable[[], float] = random.random


@dataclass(slots=True)
class Watch:
    """A watcher at work."""

    parts: Parts
    pace: Pace
    channel: str
    pid: int
    counts: Counts = field(default_factory=Counts)
    _began: float = 0.0
    _connected: bool = False
    _connection: float = 0.0  # since when it is so
    _lost: int = 0  # connections, one after the other
    _last_pass: float = 0.0
    _last_exit: int = 0
    _pass_took: float = 0.0
    _blind: str = ""
    _log_error: str = ""
    _told: set[str] = field(default_factory=set)
    _sent_at: dict[bytes, float] = field(default_factory=dict)
    _files_at: float = 0.0
    _interval: float = 0.0
    _worked: float = 0.0  # when something was last sent
    _held: float = 0.0  # since when the replica is held; 0 if it is not
    _published: float = 0.0

    def run(self) -> None:
        """Work until told to stop. Raise RefusedError where the replica is not ours any more, UsageError."""
        self._began = self._connection = self.parts.clock()
        self._interval = self.pace.mailbox
        self._want_pass("")
        try:
            while not self.parts.orders.ends:
                self._turn()
            self._rest()
        except InterruptedRun:
            pass
        finally:
            self.parts.sender.close()
            self._publish(ends=True)

    def _turn(self) -> None:
        parts = self.parts
        try:
            self._see_whether_blind()
            self._take_log()
            if not self._work():
                self._idle()
        except ConnectionFailed as error:
            self._disconnected(str(error))
        except (RefusedError, UsageError, InterruptedRun):
            raise
        except CyrsyncError as error:
            self._disconnected(str(error))
        except OSError as error:
            self._disconnected(error_text(error))
        parts.alive()
        self._publish()

    # --- The log

    def _take_log(self) -> None:
        parts = self.parts
        try:
            lines = parts.log.take()
            if lines is not None:
                self._note(lines)
                parts.log.done()
            self._log_error = ""
        except LogError as error:
            self._log_error = str(error)

    def _note(self, lines: Lines) -> None:
        """Put what the log names into the state."""
        now = self.parts.clock()
        rows = [self._row(change, at_once, now) for change, at_once in lines.changes.items()]
        # A pass is to see to these: it knows what was renamed to what.
        later = self._after_relist(now) + self.pace.relisted
        rows = [row._replace(not_before=later) if row.name in lines.moved else row for row in rows]
        if lines.relist:
            rows.append(Waiting(Kind.ALL.value, b"", now, 0, self._after_relist(now), "mailboxes renamed or deleted"))
        if lines.doubts:
            self.counts.log_doubts += 1
            reason = f"the log cannot be believed: {lines.doubts[0]}"
            self.parts.tell(Event("log", f"{reason}: all mailboxes are looked at"))
            rows.append(Waiting(Kind.ALL.value, b"", now, 0, now, reason))
        self.parts.table.add(rows)

    def _row(self, change: Change, at_once: bool, now: float) -> Waiting:
        """Return what is to be noted of a change: nothing is sent again at once that has just been sent."""
        if change.kind is Kind.MAILBOX:
            due = max(now, self._sent_at.get(change.name, 0.0) + self._interval)
            return Waiting(*_named(change), now, 0, due if at_once else max(due, now + self.pace.relisted))
        if change.kind is Kind.USER:
            return Waiting(*_named(_ALL), now, 0, self._after_relist(now), "a user was renamed, or came")
        return Waiting(*_named(_FILES), now, 0, max(now, self._files_at + self.pace.files))

    def _after_relist(self, now: float) -> float:
        """Return when a pass may begin that mailboxes ask for: not all the time, where these always change."""
        return max(now, self._last_pass + max(self.pace.relisted, 10 * self._pass_took))

    def _see_whether_blind(self) -> None:
        self._blind = self._log_error or self.parts.blind()
        if self._blind:
            self._tell_once(Event("log", f"{self._blind}: all mailboxes are looked at every {self.pace.blind:g} s"))
        every = self.pace.blind if self._blind else self.pace.passes
        now = self.parts.clock()
        if (self._last_pass and now - self._last_pass >= every) or self.parts.wants_pass():
            self._want_pass("")

    def _want_pass(self, reason: str) -> None:
        """Note that a pass is due. Without a `reason` nothing is known to be behind."""
        now = self.parts.clock()
        self.parts.table.add([Waiting(*_named(_ALL), now, 0, now, reason)])

    # --- The work

    def _work(self) -> bool:
        """Do what is due, or some of it; tell whether there was any."""
        now = self.parts.clock()
        whole = self.parts.table.find(*_named(_ALL))
        if whole and whole.not_before <= now:
            self._pass(whole)
            return True
        due = [row for row in self.parts.table.due(now, _AT_ONCE) if self._connected and row.kind != Kind.ALL.value]
        if not due:
            return False
        began = self.parts.clock()
        self._held = self._held or began
        for row in due:
            if self.parts.orders.ends:
                break
            (self._files if row.kind == Kind.FILES.value else self._mailbox)(row)
            self.parts.alive()
        self._worked = self.parts.clock()
        # Who has much to do does it less often.
        self._interval = max(self.pace.mailbox, 2 * (self._worked - began))
        if self._worked - self._held > self.pace.hold:
            self._rest()
        return True

    def _mailbox(self, row: Waiting) -> None:
        reason = self.parts.sender.mailbox(row.name)
        now = self.parts.clock()
        self._sent_at.pop(row.name, None)
        self._sent_at[row.name] = now
        while len(self._sent_at) > _REMEMBERED:
            self._sent_at.pop(next(iter(self._sent_at)))
        if reason is None:
            self._leave(row)
        elif reason:
            self._failed(row, reason)
        else:
            self.parts.table.drop([row])
            self.parts.table.add([Waiting(*_named(_FILES), now, 0, max(now, self._files_at + self.pace.files))])
            self.counts.sent += 1
            self.counts.delay(now - row.since)

    def _files(self, row: Waiting) -> None:
        reason = self.parts.sender.files()
        self._files_at = self.parts.clock()
        if reason is None:
            self._leave(row)
        elif reason:
            self._failed(row, reason)
        else:
            self.parts.table.drop([row])

    def _leave(self, row: Waiting) -> None:
        """Leave something to a pass, which is due soon."""
        again = self._after_relist(self.parts.clock())
        self.parts.table.add([Waiting(*_named(_ALL), row.since, 0, again, "mailboxes made, renamed or deleted")])
        self.parts.table.fail([row._replace(not_before=again + self.pace.relisted)])

    def _failed(self, row: Waiting, reason: str) -> None:
        tries = row.tries + 1
        again = self.parts.clock() + mailbox_pause(tries)
        self.parts.table.fail([row._replace(tries=tries, not_before=again, reason=reason)])
        if tries == _TOLD:
            self.parts.tell(Event("failure", f"{_shown(row)}: {reason}", True))

    def _pass(self, whole: Waiting) -> None:
        """Look at everything. What waited before is done then, but for what the pass could not do either."""
        before = self.parts.table.all()
        with self.parts.orders.breaking_off():
            passed = self.parts.sender.everything()
        now = self.parts.clock()
        self._connect()
        first = not self._last_pass
        self._last_pass, self._last_exit, self._pass_took = now, passed.exit, passed.seconds
        self._files_at, self._worked, self._held = now, now, 0.0
        self.counts.passes += 1
        self._settle(before, passed, now)
        # What was logged meanwhile the pass may have seen, or not.
        self._take_log()
        if not first and not self._lost:
            self._count_missed(passed, {row.name for row in (*before, *self.parts.table.all())}, whole)
        self._lost = 0
        if passed.text or passed.error:
            self.parts.tell(Event("pass", passed.error or passed.text, bool(passed.error)))

    def _settle(self, before: list[Waiting], passed: Passed, now: float) -> None:
        """Forget what a pass has done, and note what it could not do."""
        known = {row.name: row for row in before if row.kind == Kind.MAILBOX.value}
        done = [row for row in before if row.kind != Kind.MAILBOX.value or row.name not in passed.failed]
        for row in done:
            if row.kind == Kind.MAILBOX.value:
                self.counts.sent += 1
                self.counts.delay(now - row.since)
        if passed.error:
            kept = [row for row in done if row.kind == Kind.ALL.value]
            done = [row for row in done if row.kind == Kind.MAILBOX.value]
            tries = max((row.tries for row in kept), default=0) + 1
            self.parts.table.fail(
                row._replace(tries=tries, not_before=now + mailbox_pause(tries), reason=passed.error) for row in kept
            )
        self.parts.table.drop(done)
        failed = []
        for name, reason in passed.failed.items():
            row = known.get(name) or Waiting(Kind.MAILBOX.value, name, now)
            tries = row.tries + 1
            failed.append(row._replace(tries=tries, not_before=now + mailbox_pause(tries), reason=reason))
        self.parts.table.fail(failed)

    def _count_missed(self, passed: Passed, named: set[bytes], whole: Waiting) -> None:
        """Count what has changed without a line in the log."""
        if whole.reason or self._blind:
            return  # it was known that the log does not tell all
        missed = [name for name in passed.changed if name not in named]
        self.counts.log_missed += len(missed)
        for was_known in (True, False):
            names = [name for name in missed if passed.changed[name] is was_known]
            if names:
                self._tell_once(Event("log", _missed(names, was_known=was_known)), f"missed {was_known}")

    # --- The connection

    def _connect(self) -> None:
        if not self._connected:
            self._connected, self._connection = True, self.parts.clock()
            self.parts.tell(Event("connection", "connected"))

    def _disconnected(self, reason: str) -> None:
        """Let go of everything, and try again after a while."""
        now = self.parts.clock()
        self.parts.sender.close()
        self._held = 0.0
        self._lost += 1
        if self._connected or self._lost == 1:
            self.parts.tell(Event("connection", reason, True))
            self.counts.connections_lost += self._connected
            self._connection = now
        self._connected = False
        again = now + connection_pause(self._lost, self.parts.luck())
        row = self.parts.table.find(*_named(_ALL)) or Waiting(*_named(_ALL), now)
        self.parts.table.fail([row._replace(tries=self._lost, not_before=again, reason=reason)])

    def _idle(self) -> None:
        """Wait for something to do."""
        now = self.parts.clock()
        pace = self.pace
        if self._held and now - self._worked >= pace.rest:
            self._rest()
        elif self._connected and not self._held and now - self._worked >= pace.look:
            self.parts.sender.look()
            self._worked = now
        until = [now + pace.status]
        whole = self.parts.table.find(*_named(_ALL))
        following = self.parts.table.next() if self._connected else whole and whole.not_before
        if following is not None:
            until.append(following)
        if self._held:
            until.append(self._worked + pace.rest)
        self.parts.wait(max(min(until) - now, 0.001))

    def _rest(self) -> None:
        if self._held:
            self._held = 0.0
            self.parts.sender.rest()

    # --- What is told

    def _tell_once(self, event: Event, key: str = "") -> None:
        if (key or event.text) not in self._told and len(self._told) < _REMEMBERED:
            self._told.add(key or event.text)
            self.parts.tell(event)

    def _publish(self, *, ends: bool = False) -> None:
        now = self.parts.clock()
        if ends or now - self._published >= self.pace.status:
            self._published = now
            self.parts.publish(self.status())

    def status(self) -> Status:
        """Return how it goes."""
        rows = self.parts.table.all()
        failed = [Late(_shown(row), row.since, row.tries, row.reason) for row in rows if row.tries]
        # A pass that is merely due says nothing of changes.
        behind = [row.since for row in rows if row.kind != Kind.ALL.value or (row.reason and not row.tries)]
        return Status(
            pid=self.pid,
            written=self.parts.clock(),
            began=self._began,
            channel=self.channel,
            connected=self._connected,
            since=self._connection,
            blind=self._blind,
            oldest=min(behind, default=0.0),
            pending=sum(row.kind != Kind.ALL.value for row in rows),
            failed=failed[:100],
            last_pass=self._last_pass,
            last_pass_exit=self._last_exit,
            counts=self.counts,
        )


def _named(change: Change) -> tuple[str, bytes]:
    return change.kind.value, change.name


def _shown(row: Waiting) -> str:
    return path_text(row.name) or {Kind.ALL.value: "all mailboxes", Kind.FILES.value: "users' files"}.get(row.kind, "")


def _missed(names: list[bytes], *, was_known: bool) -> str:
    """Return what to say of mailboxes that a pass found, and the log did not name."""
    first = path_text(min(names))
    if was_known:
        cause = "processes that are older than sync_log in imapd.conf, programs of Cyrus 3.0 and older that do not log"
        return (
            f"{len(names)} mailboxes have changed and were not logged (first {first}): {cause}, or a log not writable?"
        )
    cause = "did users arrive by replication? `cyrsync check` tells what to set for them"
    return f"{len(names)} mailboxes are new and were not logged (first {first}): {cause}"
