"""The record of runs: one SQLite file for all pairs of source and destination, a row for each run.

It is for people: no run depends on it, and a damaged file is set aside.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from cyrsync.cyrus.mailbox import regular_file
from cyrsync.errors import Exit, UnusableError
from cyrsync.state.lock import state_directory

#: Runs that are kept of each pair.
KEPT = 1000
#: Errors and warnings that are kept of each run.
_KEPT_LINES = 20
#: `application_id` and `user_version` of a file that is ours, and of this shape.
_APPLICATION, _VERSION = 0x63797268, 1
_TABLE = """CREATE TABLE run (
    id INTEGER PRIMARY KEY, pair TEXT NOT NULL, replica TEXT NOT NULL, source TEXT NOT NULL, destination TEXT NOT NULL,
    engine TEXT NOT NULL, partitions TEXT NOT NULL, users TEXT NOT NULL, started TEXT NOT NULL, seconds REAL NOT NULL,
    exit INTEGER NOT NULL, json TEXT NOT NULL
)"""
#: What SQLite says if the file itself is not damaged.
_NO_DAMAGE = ("full", "locked", "I/O", "unable to open", "readonly")
_PATIENCE, _LOOK_AGAIN = 5.0, 0.01  # seconds for another run that writes, and between two looks
#: Files that vanished meanwhile are no failure, but rsync has a code for them. A part is not all.
_SUCCEEDED = f"exit IN ({int(Exit.DONE)}, {int(Exit.VANISHED)}) AND users = ''"


class _Damaged(Exception):
    """The file is no history, or torn."""


class Record(NamedTuple):
    """One run. `replica` names the destination however it is spelled, `pair` source and destination."""

    pair: str
    replica: str
    source: str
    destination: str
    engine: str
    partitions: str  # separated by blanks; "" where there was no imapd.conf
    users: str  # likewise, with other options that name a part (`--partition=fast`); "" for all
    started: str  # ISO 8601, in UTC
    seconds: float
    exit: int
    json: str  # what `--json` printed, with the first errors and warnings only, and `roots`, which `root_of` tells of

    @property
    def result(self) -> dict[str, Any]:
        """The result of the run."""
        found: dict[str, Any] = json.loads(self.json)
        return found

    @property
    def began(self) -> datetime:
        """When it began."""
        return datetime.fromisoformat(self.started)

    @property
    def succeeded(self) -> bool:
        """Whether the replica then had all that the source had when the run began."""
        return self.exit in (Exit.DONE, Exit.VANISHED) and not self.users

    @property
    def skipped(self) -> bool:
        """Whether another run held the lock."""
        return self.exit == Exit.LOCKED


_COLUMNS = ", ".join(Record._fields)


class Pair(NamedTuple):
    """The runs of one source and destination, latest first; there is at least one."""

    runs: tuple[Record, ...]

    @property
    def last_success(self) -> Record | None:
        """The last run that did all it should."""
        return next((run for run in self.runs if run.succeeded), None)

    @property
    def last_attempt(self) -> Record | None:
        """The last run that was not skipped because of the lock."""
        return next((run for run in self.runs if not run.skipped), None)

    @property
    def last_failure(self) -> Record | None:
        """The last run that failed, even long ago."""
        failed = (run for run in self.runs if not run.skipped and run.exit not in (Exit.DONE, Exit.VANISHED))
        return next(failed, None)

    @property
    def skipped(self) -> int:
        """How many runs were skipped because of the lock since the last success."""
        success = self.last_success
        since = self.runs[: self.runs.index(success)] if success else self.runs
        return sum(run.skipped for run in since)


def brief(result: dict[str, Any]) -> str:
    """Return a result as JSON, with so many of its errors and warnings that a row stays small."""
    lines = {}
    for name in ("warnings", "errors"):
        more = len(result[name]) - _KEPT_LINES
        lines[name] = result[name][:_KEPT_LINES] + ([f"... and {more} more"] if more > 0 else [])
    return json.dumps({**result, **lines}, ensure_ascii=True)


def history_file(state: Path) -> Path:
    """Return where the record is kept."""
    return state_directory(state) / "runs.sqlite"


def can_be_kept(state: Path) -> bool:
    """Tell whether files can be made where the record is kept."""
    try:
        return os.access(state_directory(state), os.W_OK)
    except UnusableError:
        return False


def add(state: Path, record: Record) -> str:
    """Keep a run. Return a warning if a damaged file had to be set aside for it. Raise UnusableError if it can't be."""
    path = history_file(state)
    try:
        _add(path, record)
    except _Damaged as error:
        from cyrsync.state.state_file import set_aside

        aside = set_aside(path)
        with _told(path):
            _add(path, record)
        return f"{path}: {error}: set aside as {aside.name}, and begun anew"
    return ""


def pairs(state: Path, replica: str | None = None, destination: str | None = None) -> list[Pair]:
    """Return what is known of all pairs, or of those with one replica, which may be given as the destination was, too.

    Raise UnusableError if the file can't be read.
    """
    path = history_file(state)
    if not path.exists():
        return []
    query = f"SELECT {_COLUMNS} FROM run WHERE ?1 IS NULL OR replica = ?1 OR destination = ?2 ORDER BY id DESC"
    found: dict[str, list[Record]] = {}
    with _told(path), _opened(path) as db:
        for row in db.execute(query, (replica, destination)):
            found.setdefault(row[0], []).append(Record(*row))
    ordered = sorted(found.values(), key=lambda runs: (runs[0].destination, runs[0].source))
    return [Pair(tuple(runs)) for runs in ordered]


def forget(state: Path, replica: str, destination: str) -> int:
    """Remove the runs to one replica, and return how many there were. Raise UnusableError if that can't be done."""
    path = history_file(state)
    if not path.exists():
        return 0
    with _told(path), _opened(path) as db:
        return db.execute("DELETE FROM run WHERE replica = ? OR destination = ?", (replica, destination)).rowcount


def runs_of(state: Path, pair: str) -> tuple[Record, ...]:
    """Return the runs of one pair, latest first. Raise UnusableError if they can't be read."""
    path = history_file(state)
    query = f"SELECT {_COLUMNS} FROM run WHERE pair = ? ORDER BY id DESC"
    with _told(path), _opened(path) as db:
        return tuple(Record(*row) for row in db.execute(query, (pair,)))


def root_of(state: Path, name: str) -> str:
    """Return where a directory of a replica was at the last run that looked at it, "" for unknown.

    Raise UnusableError if the file can't be read.
    """
    path = history_file(state)
    if not path.exists():
        return ""
    query = "SELECT json FROM run WHERE instr(json, ?) ORDER BY id DESC"
    with _told(path), _opened(path) as db:
        for (text,) in db.execute(query, (f"{json.dumps(name)}: ",)):
            roots = json.loads(text).get("roots", {})
            if name in roots:
                return str(roots[name])
    return ""


def _add(path: Path, record: Record) -> None:
    with _opened(path) as db:
        db.execute("BEGIN IMMEDIATE")
        db.execute(f"INSERT INTO run ({_COLUMNS}) VALUES ({', '.join('?' * len(record))})", record)
        # The last success stays, however many runs have failed since.
        db.execute(
            "DELETE FROM run WHERE pair = ?1"
            " AND id <= (SELECT id FROM run WHERE pair = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)"
            f" AND id IS NOT (SELECT max(id) FROM run WHERE pair = ?1 AND {_SUCCEEDED})",
            (record.pair, KEPT),
        )
        db.execute("COMMIT")


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the file, made if need be. Raise _Damaged for one of no use, UnusableError where that is not its fault."""
    try:
        regular_file.ensure(bytes(path))
        with closing(sqlite3.connect(os.fspath(path), isolation_level=None, timeout=_PATIENCE)) as db:
            _prepare(db)
            yield db
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and any(word in str(error) for word in _NO_DAMAGE):
            raise UnusableError(f"{path}: {error}") from None
        raise _Damaged(str(error)) from None
    except OSError as error:
        raise UnusableError(f"{path}: unable to open it: {error.strerror}") from None


def _prepare(db: sqlite3.Connection) -> None:
    if not _is_ours(db):
        _keep_log(db)
        db.execute("BEGIN IMMEDIATE")
        if db.execute("PRAGMA user_version").fetchone()[0] == 0:  # else another run was first
            db.execute(_TABLE)
            db.execute("CREATE INDEX run_of_pair ON run (pair, id)")
            db.execute(f"PRAGMA application_id = {_APPLICATION}")
            db.execute(f"PRAGMA user_version = {_VERSION}")
        db.execute("COMMIT")
    # A power cut may cost the last rows, but not the file; and a run waits less for the disk.
    db.execute("PRAGMA synchronous = NORMAL")


def _keep_log(db: sqlite3.Connection) -> None:
    """Have SQLite write to a log first; it does not wait by itself where another run does the same to a new file."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
        time.sleep(_LOOK_AGAIN)


def _is_ours(db: sqlite3.Connection) -> bool:
    """Tell whether the file is a record; False for an empty one. Raise _Damaged for another."""
    db.execute("BEGIN")  # one look at all three: another run may be making the file
    looks = ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
    application, version, tables = (db.execute(look).fetchone()[0] for look in looks)
    db.execute("COMMIT")
    if (application, version) != (_APPLICATION, _VERSION) and (application, version, tables) != (0, 0, 0):
        raise _Damaged("not a record of this version of cyrsync")
    return bool(tables)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except _Damaged as error:
        raise UnusableError(f"{path}: {error}") from None
