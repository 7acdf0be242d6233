"""What has changed on the source, as a watcher knows, and is not yet sent.

One row for each thing that can change: so there are never more than mailboxes, users and files, however long the
replica is away.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from cyrsync.state.state_file import StateFile

_ADD = (
    "INSERT INTO pending VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
    " not_before = CASE WHEN tries > 0 AND name != x'' THEN not_before"
    " ELSE min(not_before, excluded.not_before) END,"
    " reason = CASE WHEN reason = '' THEN excluded.reason ELSE reason END"
)


class Waiting(NamedTuple):
    """One thing that has changed."""

    kind: str
    name: bytes
    since: float  # seconds since 1970, as are all times here
    tries: int = 0  # that have failed
    not_before: float = 0.0
    reason: str = ""  # of the last failure


class PendingTable:
    """The part of a state that is about these. Every method may raise StateDamaged.

    The rows outlive a process that is killed, but perhaps not a power cut: no message waits for the disk here. A
    watcher begins with a pass, which finds all that has changed.
    """

    def __init__(self, file: StateFile) -> None:
        self._file = file

    def add(self, rows: Iterable[Waiting]) -> None:
        """Add rows. If something waits already, the older time counts.

        A mailbox that has failed is not tried earlier for being named again. What is of all mailboxes is: what is new
        may have nothing to do with what failed.
        """
        self._file.change_unsynced((_ADD, rows))

    def fail(self, rows: Iterable[Waiting]) -> None:
        """Update rows after a failed try."""
        self._file.change_unsynced(("INSERT OR REPLACE INTO pending VALUES (?, ?, ?, ?, ?, ?)", rows))

    def drop(self, rows: Iterable[Waiting], *, follows: Iterable[Waiting] = ()) -> None:
        """Forget what has been sent, and add what `follows` from that."""
        gone = (row[:2] for row in rows)
        self._file.change_unsynced(("DELETE FROM pending WHERE kind = ? AND name = ?", gone), (_ADD, follows))

    def due(self, kind: str, now: float, most: int) -> list[Waiting]:
        """Return the rows of one kind that may be sent now, the oldest first."""
        query = "SELECT * FROM pending WHERE kind = ? AND not_before <= ? ORDER BY since, name LIMIT ?"
        return [Waiting(*row) for row in self._file.query(query, (kind, now, most))]

    def find(self, kind: str, name: bytes) -> Waiting | None:
        """Return one row, None if it does not wait."""
        query = "SELECT * FROM pending WHERE kind = ? AND name = ?"
        return next((Waiting(*row) for row in self._file.query(query, (kind, name))), None)

    def all(self) -> list[Waiting]:
        """Return all that waits, the oldest first."""
        return [Waiting(*row) for row in self._file.query("SELECT * FROM pending ORDER BY since, kind, name")]

    def next(self) -> float | None:
        """Return when the next one may be sent, None where nothing waits."""
        found: float | None = next(when for (when,) in self._file.query("SELECT min(not_before) FROM pending"))
        return found
