"""`cyrsync sync -C CONF --watch DEST`: the same run, kept going."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.cli import aftermath
from cyrsync.cli.orders import SignalOrders
from cyrsync.cli.output import complain
from cyrsync.errors import LockedError, WatchedError, error_text
from cyrsync.rolling import channel
from cyrsync.rolling.plain import Event, Pace, Status
from cyrsync.rolling.server import Told, watch
from cyrsync.text import printable

if TYPE_CHECKING:
    from cyrsync.cyrus.server.config import Config
    from cyrsync.sync.session import Session


class Wanted(NamedTuple):
    """What the user asked for."""

    channel: str
    pass_every: float
    metrics: str | None
    log: str | None
    verbose: bool
    quiet: bool


def watch_server(session: Session, read: Callable[[], Config], wanted: Wanted) -> None:
    """Watch until told to stop, which may raise WatcherStopped. Raise CyrsyncError for what else ends it."""
    name = channel.checked(wanted.channel)
    orders = SignalOrders()
    shown = _Shown(session, wanted)
    told = Told(shown.event, shown.status, aftermath.record)
    pace = Pace(passes=wanted.pass_every, blind=min(Pace().blind, wanted.pass_every))
    try:
        watch(session, read, name, pace, orders, told)
    except WatchedError as error:
        raise LockedError(f"{error}: one watcher is enough") from None
    finally:
        orders.close()


class _Shown:
    """Shows the events of a watcher. What fails here is reported once, and changes nothing else."""

    def __init__(self, session: Session, wanted: Wanted) -> None:
        self._session = session
        self._wanted = wanted
        self._complained: set[str] = set()

    def event(self, event: Event) -> None:
        """Log a line, and print it where somebody may read it."""
        pair = {"source": self._session.source.text, "destination": self._session.replica.text}
        if self._wanted.log:
            from cyrsync.report import log

            priority = log.ERROR if event.failed else log.INFO
            self._try(
                "--log",
                lambda: log.write(
                    str(self._wanted.log), [log.Line(priority, event.kind, {**pair, "text": event.text})]
                ),
            )
        if event.failed:
            complain(event.text)
        elif not self._wanted.quiet and (self._wanted.verbose or sys.stdout.isatty()):
            with suppress(OSError):
                print(f"{event.kind}: {printable(event.text)}", flush=True)

    def status(self, status: Status) -> None:
        """Write the metrics."""
        if self._wanted.metrics:
            from cyrsync.report import watching, whole_file

            text = watching.render_metrics(status, self._session.source.text, self._session.replica.text)
            self._try("--metrics", lambda: whole_file.write(str(self._wanted.metrics), text))

    def _try(self, what: str, step: Callable[[], None]) -> None:
        try:
            step()
        except OSError as error:
            said = f"{what}: {error_text(error)}"
            if said not in self._complained:
                self._complained.add(said)
                complain(said)
