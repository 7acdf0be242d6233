"""What is known of a replica: made from the record of its runs, or read from what `status --json` printed anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from cyrsync.errors import Exit
from cyrsync.text import human_count, human_seconds, printable

if TYPE_CHECKING:
    from cyrsync.state.history import Pair, Record
    from cyrsync.state.running import Holder

_SUCCEEDED = (Exit.DONE, Exit.VANISHED)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a pair; the keys of its JSON are these."""

    started: datetime
    seconds: float
    exit: int
    part: tuple[str, ...]  # the options that made it a run for a part, () for a run for all
    messages: int
    bytes_sent: int
    deleted: int
    withheld: int
    failed: int

    @property
    def skipped(self) -> bool:
        """Whether another run held the lock."""
        return self.exit == Exit.LOCKED

    @property
    def went_wrong(self) -> bool:
        """Whether it failed, or withheld something."""
        return self.exit not in (*_SUCCEEDED, Exit.LOCKED)

    @property
    def succeeded(self) -> bool:
        """Whether the replica then had all that the source had when the run began."""
        return self.exit in _SUCCEEDED and not self.part

    @property
    def users(self) -> list[str]:
        """The users that it was for."""
        return [word.removeprefix("--user=") for word in self.part if word.startswith("--user=")]

    def to_json(self) -> dict[str, Any]:
        """Return one of the `runs` of `status --json`."""
        counts = {name: getattr(self, name) for name in ("messages", "bytes_sent", "deleted", "withheld", "failed")}
        head = {"started": _iso(self.started), "seconds": self.seconds, "exit": self.exit}
        return {**head, "users": self.users, "part": list(self.part), **counts}


@dataclass(frozen=True, slots=True)
class Running:
    """A process at work on a pair."""

    pid: int
    since: datetime | None
    watching: bool

    @property
    def text(self) -> str:
        """What people are shown."""
        since = f" since {local(self.since)}" if self.since else ""
        return f"{'watching, ' if self.watching else ''}process {self.pid}{since}"

    def brief(self, now: datetime) -> str:
        """Say the same in a column."""
        if self.watching:
            return f"watching ({self.pid})"
        if self.since is None:
            return f"yes ({self.pid})"
        date, time = local(self.since).split()
        return f"{time if date == local(now).split()[0] else date} ({self.pid})"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a pair of source and replica. All texts are printable."""

    source: str
    destination: str
    host: str  # that keeps the record
    reported: datetime
    engine: str = ""
    partitions: tuple[str, ...] = ()
    last_success: datetime | None = None
    last_attempt: datetime | None = None
    seconds: float | None = None
    exit: int | None = None
    withheld: int = 0
    skipped: int = 0
    last_error: str | None = None
    last_error_at: datetime | None = None
    plain_rsync: str = ""  # why plain rsync does the work, and since when
    plain_since: datetime | None = None
    running: tuple[Running, ...] = ()
    watcher: Mapping[str, Any] | None = None
    runs: tuple[Run, ...] = ()  # the latest first

    def behind(self, now: datetime) -> float | None:
        """Return how many seconds the replica is behind: it may lack what arrived since the last success began."""
        return max((now - self.last_success).total_seconds(), 0.0) if self.last_success else None

    def is_late(self, now: datetime, limit: float | None) -> bool:
        """Tell whether the last success is older than so many seconds, or there was none, if there is a limit."""
        behind = self.behind(now)
        return limit is not None and (behind is None or behind > limit)

    def age_text(self, now: datetime) -> str:
        """Say how old the last success is."""
        behind = self.behind(now)
        return "no run has succeeded" if behind is None else f"the last success is {human_seconds(behind)} old"

    @property
    def has_failed(self) -> bool:
        """Whether the last error is that of the last attempt."""
        return self.exit not in (None, *_SUCCEEDED) and self.last_error_at == self.last_attempt

    def problem(self, now: datetime, limit: float | None = None) -> str:
        """Say what needs attention next, "" if nothing does."""
        watcher = self.watcher
        if self.plain_rsync:
            return f"plain rsync: {self.plain_rsync}"
        if not self.last_success and (self.last_error or not self.running):
            return f"{self.age_text(now)}: {self.last_error}" if self.last_error else self.age_text(now)
        if self.last_error and self.has_failed:
            return self.last_error
        if watcher and not watcher["connected"]:
            return "the watcher is not connected"
        if watcher and (watcher["blind"] or watcher["failed"]):
            return _of_watcher(watcher)
        if self.is_late(now, limit):
            return self.age_text(now)
        if self.skipped and not self.running:
            return (
                f"{human_count(self.skipped)} run{'s' * (self.skipped != 1)} skipped since: another run held the lock"
            )
        return ""

    def to_json(self, now: datetime, *, runs: int | None = None) -> dict[str, Any]:
        """Return one line of `status --json`, with so many runs; null where there was no such run, or no watcher."""
        where = {"source": self.source, "destination": self.destination, "host": self.host}
        if self.plain_rsync:
            return {**where, "since": _iso(self.plain_since), "plain_rsync": self.plain_rsync}
        return {
            **where,
            "reported": _iso(self.reported),
            "engine": self.engine,
            "partitions": list(self.partitions),
            "behind_seconds": self.behind(now),
            "last_success": _iso(self.last_success),
            "last_attempt": _iso(self.last_attempt),
            "seconds": self.seconds,
            "exit": self.exit,
            "withheld": self.withheld,
            "skipped": self.skipped,
            "last_error": self.last_error,
            "last_error_at": _iso(self.last_error_at),
            "problem": self.problem(now) or None,
            "running": [{"pid": one.pid, "since": _iso(one.since), "watching": one.watching} for one in self.running],
            "watcher": self.watcher,
            "runs": [run.to_json() for run in self.runs[:runs]],
        }


def of_pair(
    pair: Pair, now: datetime, *, host: str, watcher: Mapping[str, Any] | None = None, holders: Sequence[Holder] = ()
) -> Known:
    """Return what the record of a pair tells, and who holds its locks."""
    newest, success, attempt, failure = pair.runs[0], pair.last_success, pair.last_attempt, pair.last_failure
    return Known(
        source=newest.source,
        destination=newest.destination,
        host=printable(host),
        reported=now,
        engine=newest.engine,
        partitions=tuple(newest.partitions.split()),
        last_success=success and success.began,
        last_attempt=attempt and attempt.began,
        seconds=attempt and attempt.seconds,
        exit=attempt and attempt.exit,
        withheld=attempt.result["withheld"] if attempt else 0,
        skipped=pair.skipped,
        last_error=failure and _error(failure),
        last_error_at=failure and failure.began,
        running=running_of(holders),
        watcher=watcher,
        runs=tuple(map(_run, pair.runs)),
    )


def running_of(holders: Sequence[Holder]) -> tuple[Running, ...]:
    """Return what is at work, by the locks."""
    return tuple(
        Running(one.pid, datetime.fromtimestamp(one.since, timezone.utc) if one.since else None, one.watching)
        for one in holders
    )


def _run(record: Record) -> Run:
    result = record.result
    return Run(
        started=record.began,
        seconds=record.seconds,
        exit=record.exit,
        part=tuple(word if word.startswith("--") else f"--user={word}" for word in record.users.split()),
        messages=result["messages"]["send"],
        bytes_sent=result["bytes_sent"],
        deleted=result["files"]["deleted"],
        withheld=result["withheld"],
        failed=result["files"]["failed"],
    )


def _error(record: Record) -> str:
    errors: list[str] = record.result["errors"]
    more = f" (and {human_count(len(errors) - 1)} more)" if len(errors) > 1 else ""
    return printable(errors[0]) + more if errors else f"exit {record.exit}"


def _of_watcher(watcher: Mapping[str, Any]) -> str:
    if watcher["blind"]:
        return printable(watcher["blind"])
    first, more = watcher["waiting"][0], watcher["failed"] - 1
    return printable(f"{first['name']}: {first['reason']}") + (f" (and {human_count(more)} more)" if more else "")


def local(when: datetime) -> str:
    """Return a time by the clock on the wall here."""
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _iso(when: datetime | None) -> str | None:
    return when.astimezone(timezone.utc).isoformat(timespec="seconds") if when else None
