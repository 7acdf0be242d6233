"""Does the work of a watcher: whole runs of a server and single mailboxes, over one connection that stays open."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from cyrsync.cyrus.server.config import Config
from cyrsync.cyrus.server.layout import owner_of_name
from cyrsync.errors import ConnectionFailed, RefusedError, RsyncFailed
from cyrsync.rolling.parts import Passed
from cyrsync.rolling.plain import Counts
from cyrsync.server.replica import Replica
from cyrsync.server.run import ServerRun
from cyrsync.server.server_session import ServerSession
from cyrsync.server.single_sends import SingleSends, glance
from cyrsync.server.visits import SendNow
from cyrsync.state.mailbox_row import Key
from cyrsync.state.store import Store
from cyrsync.sync import guard
from cyrsync.sync.session import Session
from cyrsync.text import human_bytes, human_count

#: The time in which a watcher deletes no more than --max-delete: seconds.
_HOUR = 3600.0
#: Seconds after which it is looked again whether a Cyrus is at work on the replica, or has been.
_LOOK = 30.0

#: What a watcher has deleted, and when.
Deleted = deque[tuple[float, guard.Counts]]


@dataclass(slots=True)
class ServerSender:
    """Brings the replica of one server up to date. See `watch.Sender`."""

    outer: Session  # holds the lock
    config: Config
    store: Store
    counts: Counts
    deleted: Deleted  # by others before us, too
    passed: Callable[[Session, bool], None]  # is shown each whole run, and whether it was in full
    wants_full: Callable[[], bool]  # is asked before each whole run
    _replica: Replica | None = None
    _names: dict[bytes, Key] | None = None
    _sends: tuple[Session, SingleSends] | None = None
    _send_now: SendNow | None = None  # while a whole run is between two mailboxes
    _looked: float = float("-inf")
    _proven: set[Key] = field(default_factory=set)  # mailboxes of which the index was looked at there, since then
    _list: tuple[int, ...] | None = None  # how mailboxes.db looked when the last whole run began
    _there: tuple[int, int] = (0, 0)  # messages and mailboxes that the replica had at the end of the last whole run

    def everything(self, between: Callable[[], None]) -> Passed:
        """Do one whole run; `between` two mailboxes, others may be sent."""

        def let_send(send: SendNow) -> None:
            self._send_now = send
            try:
                between()
            finally:
                self._send_now = None

        self.rest()
        self._names = None
        self._list = self._look_at_list()
        session = self._session(full=self.wants_full())
        run = ServerRun(session, self.config, patient=False, between=let_send)
        began = time.monotonic()
        try:
            run.over(self.store, self._opened())
        except RsyncFailed as error:
            session.result.errors.append(str(error))
            session.result.exit = error.code
        finally:
            self._names = None
            self._book(session)
        session.result.seconds = round(time.monotonic() - began, 3)
        session.result.seconds_by_phase = session.phases.seconds()
        session.result.warnings = list(dict.fromkeys(session.result.warnings))
        self._looked = time.monotonic()
        self._proven.clear()
        self._there = self.store.messages(), self.store.rows()
        self.look()
        self.passed(session, session.options.full)
        return self._told(session, run)

    def mailboxes(self, names: Sequence[bytes]) -> dict[bytes, str | None]:
        """Send mailboxes."""
        known = {name: key for name in names if (key := self._keys().get(name)) and self.store.locations.has(key)}
        if known and self._send_now:
            left = self._send_now(list(known.values()))
            return {name: left.get(known[name], "") if name in known else None for name in names}
        sends = self._begun() if known else None
        if sends is None:
            return dict.fromkeys(names)
        unproven = [key for key in known.values() if key not in self._proven]
        try:
            if unproven and sends.has_drifted(unproven):
                return dict.fromkeys(names)
        except RefusedError:
            self.rest()
            raise
        self._proven.update(unproven)
        wrong = sends.mailboxes(list(known.values()))
        return {name: wrong.get(known[name], "") if name in known else None for name in names}

    def files(self, names: Sequence[bytes]) -> dict[bytes, str | None]:
        """Send the files that change with mailboxes."""
        sends = self._begun()
        if sends is None:
            return dict.fromkeys(names)
        # Scripts are compiled beside the mailbox that has them, in a directory of their own.
        scripts = b"." + self.config.raw("sieve_folder")
        is_all = any(not name or name.endswith(scripts) for name in names)
        wrong = sends.files(None if is_all else {name: self._uniqueid(name) for name in names})
        if wrong and len(names) > 1:
            return {name: self.files([name])[name] for name in names}
        return dict.fromkeys(names, wrong)

    def _uniqueid(self, name: bytes) -> bytes:
        """Return the uniqueid of the INBOX of the user who has a mailbox, b"" if its directory is not named so."""
        key = self._keys().get(owner_of_name(name, self.config.deletedprefix))
        return key.path.rpartition(b"/")[2] if key and key.path.startswith(b"uuid/") else b""

    def relisted(self) -> bool:
        """Tell whether mailboxes.db is not as it was when the last whole run began."""
        now = self._look_at_list()
        return now is not None and now != self._list

    def _look_at_list(self) -> tuple[int, ...] | None:
        try:
            now = os.stat(self.config.database("mboxlist")[1])
        except OSError:
            return None
        return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns

    def look(self) -> None:
        """See whether the replica is there."""
        replica = self._opened()
        glance(ServerSession.of(self._session(), self.config), self.store, replica)
        replica.tree.let_go()

    def rest(self) -> None:
        """Release the replica."""
        if not self._sends:
            return
        (session, sends), self._sends = self._sends, None
        try:
            sends.end()
        finally:
            self._book(session)
        self._opened().tree.let_go()

    def close(self) -> None:
        """Close the connection."""
        if self._sends:
            self._book(self._sends[0])
        self._sends = None
        if self._replica:
            with suppress(ConnectionFailed, OSError):
                self._replica.close()
        self._replica = None

    def _session(self, *, full: bool = False) -> Session:
        """Return the session of one run."""
        outer = self.outer
        options = replace(outer.options, full=full, wait=0.0)  # whoever else has the replica: it is tried again
        session = Session(outer.source, outer.replica, options, outer.progress, engine=outer.engine).within(outer)
        session.partitions = outer.partitions
        while self.deleted and self.deleted[0][0] < time.monotonic() - _HOUR:
            self.deleted.popleft()
        counts = [counted for _, counted in self.deleted]
        session.limit.after(
            (sum(one[0] for one in counts), sum(one[1] for one in counts), sum(one[2] for one in counts))
        )
        return session

    def _opened(self) -> Replica:
        if not self._replica:
            outer = self.outer
            self._replica = Replica(outer.replica, outer.options, outer.directory)
        return self._replica

    def _begun(self) -> SingleSends | None:
        """Return what sends single mailboxes; None where a whole run has to come first."""
        if not self._sends:
            session = self._session()
            server = ServerSession.of(session, self.config, patient=False)
            sends = SingleSends(server, self.store, self._opened())
            at_a_glance = time.monotonic() - self._looked < _LOOK
            if sends.begin(at_a_glance=at_a_glance, there=self._there):
                return None
            if not at_a_glance:
                self._looked = time.monotonic()
                self._proven.clear()
            self._sends = session, sends
        return self._sends[1]

    def _keys(self) -> dict[bytes, Key]:
        """Return where each mailbox lies, as the last whole run has found them."""
        if self._names is None:
            self._names = self.store.locations.keys()
        return self._names

    def _book(self, session: Session) -> None:
        """Add the counts of a run to those of the watcher."""
        counts, files = self.counts, session.result.files
        counts.messages += session.result.messages.send
        counts.bytes_sent += session.result.bytes_sent
        counts.deleted += files.deleted
        spent = session.limit.spent()
        if any(spent):
            self.deleted.append((time.monotonic(), spent))
            self._there = self._there[0] - spent[0], self._there[1] - spent[2]

    def _told(self, session: Session, run: ServerRun) -> Passed:
        """Return the result of a whole run."""
        result = session.result
        names = {key: name for name, key in self._keys().items()}
        withheld = result.withheld and session.limit.reason
        errors = [error for error in result.errors if error != withheld and error not in run.errors_of_unread]
        failed = {names.get(key, key.path): reason for key, reason in run.failed().items()}
        changed = {names[key]: known_before for key, known_before in run.changed.items() if key in names}
        text = ""
        if result.files.sent or result.files.deleted:
            text = f"{human_count(result.files.sent)} files sent, {human_count(result.files.deleted)} deleted"
            text += f", {human_bytes(result.bytes_sent)}"
        if withheld:
            text = f"{text}; {withheld}" if text else str(withheld)
        unsent = frozenset(names[key] for key in run.unsent(self.store) if key in names) if errors else frozenset()
        return Passed(int(result.exit), next(iter(errors), ""), failed, changed, text, run.seconds_looked, unsent)
