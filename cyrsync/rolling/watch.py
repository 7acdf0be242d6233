"""The loop of a watcher: take the log, note what it names, send that, and look at everything now and then.

Nothing is lost when it is killed: what the log names is in the state before the log is removed, and stays there until
it is on the replica. A pass over all mailboxes is one of these things, too: it is due at the start, after a connection
was lost, every ten minutes, and whenever the log does not tell what has changed.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from cyrsync.errors import ConnectionFailed, CyrsyncError, InterruptedRun, RefusedError, UsageError, error_text
from cyrsync.rolling.backoff import connection_pause
from cyrsync.rolling.log_lines import Change, Kind, Lines
from cyrsync.rolling.meanwhile import Meanwhile
from cyrsync.rolling.outcome import ALL, FILES, again, late_ones, missed, set_back, settle, shown, waiting
from cyrsync.rolling.parts import Parts, Passed
from cyrsync.rolling.plain import Counts, Event, Pace, Status
from cyrsync.rolling.spacing import Spacing
from cyrsync.rolling.taking import LogError
from cyrsync.state.pending import Waiting

#: Mailboxes that are sent before the log is looked at again.
_AT_ONCE = 50
#: Failures of a mailbox, one after the other, until there is a line about it: some are being renamed, or made.
_TOLD = 3
#: Events that are remembered.
_REMEMBERED = 10_000
#: Seconds that the clock may be set back without being noticed, and those to wait where the state cannot be written.
_BACK, _BREATH = 1.0, 1.0


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
    _last_pass: float = 0.0  # when it ended
    _pass_began: float = 0.0
    _complete: float = 0.0  # when the last pass began that did all, or else the watcher
    _last_exit: int = 0
    _passes_took: tuple[float, float] = (0.0, 0.0)  # seconds, the last two
    _blind: str = ""
    _log_error: str = ""
    _told: set[str] = field(default_factory=set)
    _files_at: float = 0.0
    _spacing: Spacing = field(init=False)
    _worked: float = 0.0  # when something was last sent
    _held: float = 0.0  # since when the replica is held; 0 if it is not
    _published: float = 0.0
    _retry: float = 0.0  # when a lost connection is tried again
    _now: float = 0.0  # at the last turn
    _meanwhile: Meanwhile | None = None  # during a pass

    def run(self) -> None:
        """Work until told to stop. Raise RefusedError where the replica is not ours any more, UsageError."""
        self._began = self._connection = self._complete = self._now = self.parts.clock()
        self._spacing = Spacing(self.pace.mailbox, self.pace.mailbox_most)
        try:
            while not self.parts.orders.ends:
                self._turn()
            self._rest()
        except InterruptedRun:
            pass
        except ConnectionFailed as error:  # of the last rest: what was sent is looked at again when this is started
            self.parts.tell(Event("connection", str(error), True))
        finally:
            self.parts.sender.close()
            self._publish(ends=True)

    def _turn(self) -> None:
        try:
            self._mind_the_clock()
            self._see_whether_blind()
            self._take_log()
            if not self._work():
                self._idle()
        except (RefusedError, UsageError, InterruptedRun):
            raise
        except CyrsyncError as error:
            self._disconnected(str(error))
        except OSError as error:
            self._disconnected(error_text(error))
            self.parts.pause(_BREATH)  # it may be the state that cannot be written
        self.parts.alive()
        self._publish()

    def _mind_the_clock(self) -> None:
        """If the clock was set back, let no row wait for a time that was reached before."""
        now = self.parts.clock()
        if now < self._now - _BACK:
            self.parts.table.fail(set_back(self.parts.table.all(), now))
            self._spacing.clear()
            self._files_at = self._worked = self._published = self._retry = 0.0
            self._last_pass, self._pass_began = min(self._last_pass, now), min(self._pass_began, now)
            self._held, self._complete = min(self._held, now), min(self._complete, now)
            self._began, self._connection = min(self._began, now), min(self._connection, now)
        self._now = now

    # --- The log

    def _take_log(self) -> None:
        try:
            lines = self.parts.log.take()
            if lines is not None:
                self._note(lines)
                self.parts.log.done()
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
            rows.append(waiting(ALL, now, self._after_relist(now), "mailboxes renamed or deleted"))
        if lines.doubts:
            self.counts.log_doubts += 1
            reason = f"the log cannot be believed: {lines.doubts[0]}"
            self._tell_once(Event("log", f"{reason}: all mailboxes are looked at"))
            rows.append(waiting(ALL, now, self._after_relist(now), reason))
        self._add(rows)

    def _add(self, rows: list[Waiting]) -> None:
        self.parts.table.add(rows)
        if self._meanwhile:
            self._meanwhile.note(rows)

    def _row(self, change: Change, at_once: bool, now: float) -> Waiting:
        """Return the row for a change; a mailbox that has just been sent is not sent again at once."""
        if change.kind is Kind.MAILBOX:
            due = self._spacing.due(change.name, now)
            return waiting(change, now, due if at_once else max(due, now + self.pace.relisted))
        if change.kind is Kind.USER:
            return waiting(ALL, now, self._after_relist(now), "a user was renamed or added")
        return waiting(FILES, now, max(now, self._files_at + self.pace.files))

    def _after_relist(self, now: float) -> float:
        """Return when a pass may begin because of renamed or deleted mailboxes: passes must not take all the time.

        The quicker one of the last two passes counts: one that was slow says little of the next.
        """
        return max(now, self._last_pass + max(self.pace.relisted, 10 * min(self._passes_took)))

    def _see_whether_blind(self) -> None:
        """Check whether the log can be believed, and whether a pass is due because of the time."""
        before, self._blind = self._blind, self._log_error or self.parts.blind()
        now = self.parts.clock()
        if self._blind:
            what = f"all mailboxes are looked at every {self.pace.blind:g} s"
            self._tell_once(Event("log", f"{self._blind}: {what}"), self._blind)
        elif before:
            self._told.discard(before)
            self.parts.tell(Event("log", f"no longer: {before}"))
            self._add([waiting(ALL, now, self._after_relist(now), "the log was incomplete until now")])
        every = self.pace.blind if self._blind else self.pace.passes
        whole = self._whole()
        if now < self._retry or (whole and whole.not_before <= now):
            return
        due = not self._connected or now - self._last_pass >= every
        if due or (whole is None and self.parts.wants_pass()):
            self._add([waiting(ALL, now, now)])
        elif self.parts.relisted():
            # Not everything that writes to mailboxes.db logs it; what does may do so a moment later.
            soon = max(self._after_relist(now), now + self.pace.relisted)
            if whole is None or soon < whole.not_before:
                self._add([waiting(ALL, now, soon)])

    # --- The work

    def _whole(self) -> Waiting | None:
        """Return the pass that waits, if one does."""
        return self.parts.table.find(ALL.kind.value, ALL.name)

    def _work(self) -> bool:
        """Do what is due, or some of it; tell whether there was any."""
        now = self.parts.clock()
        if now < self._retry:
            return False
        whole = self._whole()
        if whole and whole.not_before <= now:
            self._pass(whole)
            return True
        kinds = (Kind.MAILBOX, Kind.FILES) if self._connected else ()
        mailboxes, files = (self.parts.table.due(kind.value, now, _AT_ONCE) for kind in kinds) if kinds else ([], [])
        if not mailboxes and not files:
            return False
        self._held = self._held or now
        if mailboxes:
            self._send(mailboxes)
            self.parts.alive()
        if files and not self.parts.orders.ends:
            self._send_files(files)
            self.parts.alive()
        self._worked = self.parts.clock()
        self._spacing.worked(self._worked - now)
        if self._worked - self._held > self.pace.hold:
            self._rest()
        return True

    def _send(self, rows: list[Waiting]) -> None:
        """Send mailboxes together: each group costs as much as one of them, beside what is read and sent."""
        reasons = self.parts.sender.mailboxes([row.name for row in rows])
        now = self.parts.clock()
        sent = [row for row in rows if reasons[row.name] == ""]
        if sent:
            due = max(now, self._files_at + self.pace.files)
            # A pass looks at all files when it has been at all mailboxes.
            files = [] if self._meanwhile else [waiting(Change(Kind.FILES, row.name), now, due) for row in sent]
            self.parts.table.drop(sent, follows=files)
            if self._meanwhile:
                self._meanwhile.done(sent)
            for row in sent:
                self.counts.count_sent(now - row.since)
        for row in rows:
            self._spacing.sent(row.name, now)
            self._left_over(row, reasons[row.name])

    def _send_files(self, rows: list[Waiting]) -> None:
        """Send users' files."""
        reasons = self.parts.sender.files([row.name for row in rows])
        self._files_at = self.parts.clock()
        self.parts.table.drop(row for row in rows if reasons[row.name] == "")
        for row in rows:
            self._left_over(row, reasons[row.name])

    def _left_over(self, row: Waiting, reason: str | None) -> None:
        """Reschedule a row that was not sent; what is for a pass, one that is under way will do, or the next one."""
        if reason is None and not self._meanwhile:
            self._leave(row)
        elif reason:
            self._failed(row, reason)

    def _leave(self, row: Waiting) -> None:
        """Leave a row to the next pass, which is due soon; if the last pass failed at it, to the retry of that one."""
        soon = self._after_relist(self.parts.clock())
        whole = self._whole()
        if whole and whole.tries and row.since < self._pass_began:
            soon = max(soon, whole.not_before)
        self._add([waiting(ALL, row.since, soon, "mailboxes made, renamed or deleted")])
        self.parts.table.fail([row._replace(not_before=soon + self.pace.relisted)])

    def _failed(self, row: Waiting, reason: str) -> None:
        failed = again(row, reason, self.parts.clock())
        self.parts.table.fail([failed])
        if failed.tries == _TOLD:
            self.parts.tell(Event("failure", f"{shown(row)}: {reason}", True))

    def _pass(self, whole: Waiting) -> None:
        """Look at all mailboxes. Rows that waited before are done by that, except those that failed again."""
        before = self.parts.table.all()
        self._pass_began = self.parts.clock()
        was_connected = self._connected
        meanwhile = self._meanwhile = Meanwhile(before, self._pass_began, self.pace.mailbox)
        try:
            with self.parts.orders.breaking_off():
                passed = self.parts.sender.everything(self._send_meanwhile)
        finally:
            self._meanwhile = None
        now = self.parts.clock()
        self._connect()
        if not passed.error:
            self._complete = self._pass_began
        self._last_pass, self._last_exit = now, passed.exit
        self._passes_took = self._passes_took[1], passed.seconds
        self._files_at, self._worked, self._held = now, now, 0.0
        self.counts.passes += 1
        settled = settle(before, passed, now, meanwhile)
        self.parts.table.drop(settled.sent + settled.others, follows=settled.anew)
        self.parts.table.fail(settled.failed)
        for row in settled.sent:
            self.counts.count_sent(now - row.since)
        # What was logged meanwhile the pass may have seen, or not.
        self._take_log()
        if was_connected:
            named = {row.name for row in (*before, *self.parts.table.all()) if row.kind == Kind.MAILBOX.value}
            self._count_missed(passed, named | meanwhile.sent, whole)
        self._lost = 0
        if passed.text or passed.error:
            self.parts.tell(Event("pass", passed.error or passed.text, bool(passed.error)))

    def _send_meanwhile(self) -> None:
        """Send what is logged while a pass goes on, as soon as that is between two mailboxes."""
        meanwhile, began = self._meanwhile, self.parts.clock()
        if not meanwhile or not meanwhile.is_time(began):
            return
        self._take_log()
        if rows := meanwhile.due(self.parts.table, self.parts.clock(), _AT_ONCE):
            self._send(rows)
        if self._connected:
            self._publish()
        meanwhile.ended(began, self.parts.clock())

    def _count_missed(self, passed: Passed, known: set[bytes], whole: Waiting) -> None:
        """Count changes without a line in the log, unless the log was known to be incomplete."""
        if whole.reason or self._blind:
            return
        for names, text in missed(passed, known):
            self.counts.log_missed += len(names)
            self._tell_once(Event("log", text), text.partition(" (")[0].lstrip("0123456789"))

    # --- The connection

    def _connect(self) -> None:
        if not self._connected:
            self._connected, self._connection = True, self.parts.clock()
            self.parts.tell(Event("connection", "connected"))

    def _disconnected(self, reason: str) -> None:
        """Close the connection, and try again later."""
        now = self.parts.clock()
        self.parts.sender.close()
        self._held = 0.0
        self._lost += 1
        if self._connected or self._lost == 1:
            self.parts.tell(Event("connection", reason, True))
            self.counts.connections_lost += self._connected
            self._connection = now
        self._connected = False
        self._retry = now + connection_pause(self._lost, self.parts.luck())
        with suppress(OSError):  # of the state: it is tried again all the same
            row = self._whole() or waiting(ALL, now, now)
            self.parts.table.fail([row._replace(tries=self._lost, not_before=self._retry, reason=reason)])

    def _idle(self) -> None:
        """Wait for something to do."""
        now = self.parts.clock()
        if self._held and now - self._worked >= self.pace.rest:
            self._rest()
        elif self._connected and not self._held and now - self._worked >= self.pace.look:
            self.parts.sender.look()
            self._worked = now
        until = [now + self.pace.status]
        whole = self._whole()
        following = self.parts.table.next() if self._connected else whole and whole.not_before
        if following is not None:
            until.append(max(following, self._retry))
        if self._held:
            until.append(self._worked + self.pace.rest)
        seconds = max(min(until) - now, 0.001)
        if self._log_error:  # it is there, but that means nothing
            self.parts.pause(min(seconds, _BREATH))
        else:
            self.parts.wait(seconds)

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
            with suppress(OSError):  # of the state, which cannot be read just now
                self.parts.publish(self.status())

    def status(self) -> Status:
        """Return the status of the watcher."""
        rows = self.parts.table.all()
        late, behind = late_ones(rows)
        if self._blind or not self._last_pass:
            behind.append(self._complete)
        if not self._connected:
            behind.append(self._connection)
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
            waiting=late,
            last_pass=self._last_pass,
            last_pass_exit=self._last_exit,
            counts=self.counts,
        )
