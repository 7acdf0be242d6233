"""Where the mailboxes of the source lie, and what they are or were called, as mailboxes.db had it when last read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from cyrsync.state.mailbox_row import Key, Location
from cyrsync.state.state_file import StateFile


class MailboxName(NamedTuple):
    """The name of a mailbox that mailboxes.db has, or had when the replica got it."""

    key: Key
    name: bytes
    is_live: bool


class LocationTable:
    """The part of a state that is about these. Every method may raise StateDamaged."""

    def __init__(self, file: StateFile) -> None:
        self._file = file

    def signature(self) -> bytes:
        """Return what `replace` was given."""
        return self._file.about("places")

    def replace(self, locations: Iterable[Location], signature: bytes) -> None:
        """Keep where the mailboxes lie; `signature` is of what they were read from, b"" if that says nothing."""
        rows = [(*location.key, *location[1:]) for location in locations]
        with self._file.transaction() as db:
            db.execute("DROP TABLE IF EXISTS temp.named")
            db.execute("DROP TABLE IF EXISTS temp.place_before")
            db.execute("CREATE TEMP TABLE place_before AS SELECT partition, path, uniqueid, name FROM main.place")
            db.execute("DELETE FROM main.place")
            db.executemany("INSERT INTO main.place VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
            db.execute(
                "INSERT OR REPLACE INTO former SELECT partition, path, name FROM temp.place_before"
                " WHERE (partition, path) NOT IN (SELECT partition, path FROM main.place)"
                " AND (partition, path) IN (SELECT partition, path FROM main.sent)"
            )
            db.execute(
                "DELETE FROM former WHERE (partition, path) IN (SELECT partition, path FROM main.place)"
                " OR (partition, path) NOT IN (SELECT partition, path FROM main.sent)"
            )
            self._file.set_about("places", signature)

    def get(self, key: Key) -> Location:
        """Return where one mailbox lies. KeyError if there is none."""
        row = self._file.first("SELECT * FROM main.place WHERE partition = ? AND path = ?", key)
        if row is None:
            raise KeyError(key)
        return Location(Key(row[0], row[1]), *row[2:])

    def has(self, key: Key) -> bool:
        """Tell whether there is such a mailbox."""
        return self._file.first("SELECT 1 FROM place WHERE partition = ? AND path = ?", key) is not None

    def new(self) -> list[Key]:
        """Return the mailboxes that `replace` has added since this file was opened."""
        if not self._file.first("SELECT 1 FROM sqlite_temp_master WHERE name = 'place_before'"):
            return []
        before = "SELECT partition, path, uniqueid FROM temp.place_before"
        query = f"SELECT partition, path, uniqueid FROM place EXCEPT {before}"
        return [Key(*row[:2]) for row in self._file.query(query)]

    def keys(self) -> dict[bytes, Key]:
        """Return where each mailbox lies, by its internal name."""
        rows = self._file.query("SELECT name, partition, path FROM place")
        return {name: Key(partition, path) for name, partition, path in rows}

    def siblings(self, owner: bytes) -> list[Key]:
        """Return the mailboxes of a user, or a shared one and those below it, by the name (`user.joe`) of the first."""
        if not self._file.first("SELECT 1 FROM sqlite_temp_master WHERE name = 'named'"):
            self._file.make_temporary(
                "CREATE TEMP TABLE named AS SELECT name, partition, path FROM place",
                "CREATE INDEX temp.by_name ON named (name)",
            )
        query = "SELECT partition, path FROM temp.named WHERE name = ? OR (name > ? AND name < ?)"
        return [Key(*row) for row in self._file.query(query, (owner, owner + b".", owner + b"/"))]

    def indexes(self, partition: str) -> list[bytes]:
        """Return the paths of the indexes of all mailboxes of a partition, be they of the part or not."""
        rows = self._file.query("SELECT index_path FROM main.place WHERE partition = ?", (partition,))
        return [path for (path,) in rows]

    def directories(self, partition: str) -> set[bytes]:
        """Return the paths of a partition's mailboxes, and of all that they are in.

        In a run for a part, also those of others, and what the replica has of others.
        """
        query = "SELECT path FROM main.place WHERE partition = ?1"
        if self._file.is_narrowed:
            others = "SELECT path FROM main.sent WHERE partition = ?1 EXCEPT SELECT path FROM sent WHERE partition = ?1"
            query = f"{query} UNION SELECT path FROM ({others})"
        found: set[bytes] = set()
        for (path,) in self._file.query(query, (partition,)):
            while path and path not in found:
                found.add(path)
                path = path.rpartition(b"/")[0]
        return found

    def names(self) -> Iterator[MailboxName]:
        """Yield the names of all mailboxes, and those known of mailboxes that only the replica has."""
        for partition, path, name, is_live in self._file.query(
            "SELECT partition, path, name, 1 FROM main.place UNION ALL SELECT partition, path, name, 0 FROM former"
        ):
            yield MailboxName(Key(partition, path), name, bool(is_live))

    def remember(self, names: Iterable[MailboxName]) -> None:
        """Keep names of mailboxes that mailboxes.db does not have."""
        rows = ((*one.key, one.name) for one in names)
        self._file.change(("INSERT OR REPLACE INTO former VALUES (?, ?, ?)", rows))
