"""The orders and the reports of a watcher: plain values, that others show."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple


class Event(NamedTuple):
    """Something worth a line in a log."""

    kind: str  # `connection`, `pass`, `failure`, `log`
    text: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a watcher does what; seconds."""

    passes: float = 600.0
    blind: float = 10.0  # passes, while the log cannot be believed
    mailbox: float = 0.2  # between two times that one mailbox is sent, at least
    mailbox_most: float = 1.0  # likewise, where there is much to do
    files: float = 5.0
    relisted: float = 1.0  # passes for the sake of mailboxes that were renamed or deleted
    rest: float = 0.5  # without work, before the replica is let go of
    hold: float = 5.0  # at most, before it is let go of for a moment
    status: float = 5.0
    look: float = 30.0  # without work, before the replica is looked at


#: Bounds of the histogram of the seconds from a line in the log to the replica.
BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0)
#: Things that wait and are named to programs; all of them are counted.
_NAMED = 100


@dataclass(slots=True)
class Counts:
    """What a watcher has counted since it began."""

    messages: int = 0
    bytes_sent: int = 0
    deleted: int = 0
    passes: int = 0
    log_missed: int = 0
    log_doubts: int = 0
    connections_lost: int = 0
    sent: int = 0  # mailboxes
    delays: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    delay_sum: float = 0.0

    def count_sent(self, seconds: float) -> None:
        """Count a mailbox that took so long from its line in the log to the replica."""
        self.sent += 1
        seconds = max(seconds, 0.0)
        self.delay_sum += seconds
        self.delays[bisect_left(BOUNDS, seconds)] += 1


@dataclass(frozen=True, slots=True)
class Late:
    """What waits."""

    name: str
    since: float  # seconds since 1970
    tries: int  # that have failed
    reason: str


@dataclass(frozen=True, slots=True)
class Status:
    """The status of a watcher; `to_json` is what `status --json` shows of it."""

    pid: int
    written: float  # seconds since 1970, as are all times here
    began: float
    channel: str
    connected: bool
    since: float  # of the connection, or of its loss
    blind: str  # why the log cannot be believed, "" if it can
    oldest: float  # change that is not on the replica, or may not be; 0 for none
    pending: int
    waiting: list[Late]  # all that is pending, and all mailboxes if a pass has to see to some: failures first
    last_pass: float
    last_pass_exit: int
    counts: Counts

    @property
    def failed(self) -> int:
        """How many could not be sent when they were last tried."""
        return sum(one.tries > 0 for one in self.waiting)

    def lag(self, now: float) -> float:
        """Return the age of the oldest change that is not on the replica; 0 if there is none."""
        return max(now - self.oldest, 0.0) if self.oldest else 0.0

    def line(self, now: float) -> str:
        """Return all that matters, for `systemctl status`."""
        link = "connected" if self.connected else "not connected"
        blind = f"; {self.blind}" if self.blind else ""
        return f"{self.lag(now):.1f} s behind, {self.pending} pending, {self.failed} failed, {link}{blind}"

    def to_json(self, now: float) -> dict[str, Any]:
        """Return what is shown to programs."""
        record = asdict(replace(self, waiting=self.waiting[:_NAMED]))
        return {**record, "failed": self.failed, "lag_seconds": round(self.lag(now), 3)}
