"""The files beside the partitions that a replica has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from cyrsync.state.state_file import StateFile
from cyrsync.state.unsynced_table import note_files


class ConfRow(NamedTuple):
    """One file: its path on the source, what it is below of there, its look, and what tells two copies apart."""

    path: bytes
    root: bytes
    seen: bytes  # UNSEEN: it has to be looked into
    digest: bytes  # b"": what the replica has is not known


class ConfTable:
    """The part of a state that is about these files. Every method may raise StateDamaged.

    In a run for a part of the server, `seen`, `rows` and `count` are of that alone.
    """

    def __init__(self, file: StateFile) -> None:
        self._file = file

    def seen(self) -> dict[bytes, bytes]:
        """Return the look of each file by its path."""
        return dict(self._file.query("SELECT path, seen FROM conf"))

    def rows(self) -> list[ConfRow]:
        """Return what is known of all files."""
        return [ConfRow(*row) for row in self._file.query("SELECT * FROM conf ORDER BY root, path")]

    def row(self, path: bytes) -> ConfRow | None:
        """Return what is known of one file."""
        return next(
            (ConfRow(*row) for row in self._file.query("SELECT * FROM main.conf WHERE path = ?", (path,))), None
        )

    def under_way(self) -> list[ConfRow]:
        """Return the files that were being sent when this was last written."""
        query = "SELECT * FROM main.conf WHERE digest = X'' ORDER BY root, path"
        return [ConfRow(*row) for row in self._file.query(query)]

    def count(self) -> int:
        """Return how many files the replica has."""
        return int(next(count for (count,) in self._file.query("SELECT count(*) FROM conf")))

    @property
    def complete(self) -> bool:
        """Whether these are all files that the replica has; they are not before it was first looked there."""
        return any(self._file.query("SELECT 1 FROM about WHERE name = 'conf'"))

    def mark_complete(self) -> None:
        """Note that they are complete; `forget` forgets this, too."""
        self._file.set_about("conf", b"complete")

    def put(self, rows: Iterable[ConfRow]) -> None:
        """Keep rows, on disk when this returns."""
        kept = list(rows)
        unsynced = [(row.path, row.root) for row in kept if not row.digest]
        self._file.change(note_files(unsynced), ("INSERT OR REPLACE INTO main.conf VALUES (?, ?, ?, ?)", kept))

    def forget(self) -> None:
        """Forget what the replica has; in a run for a part, only of that part."""
        self._file.change(("DELETE FROM main.conf WHERE path IN (SELECT path FROM conf)", [()]))

    def drop(self, rows: Iterable[ConfRow]) -> None:
        """Forget files that the replica no longer has."""
        gone = list(rows)
        unsynced = [(row.path, row.root) for row in gone]
        drop = "DELETE FROM main.conf WHERE path = ?", [(row.path,) for row in gone]
        self._file.change(note_files(unsynced), drop)
