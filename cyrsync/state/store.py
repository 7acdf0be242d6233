"""What a replica has acknowledged, mailbox by mailbox, and what else the state of a source and a destination knows.

A row is written before its messages are sent (what may be there from now on) and when they and the metadata have
arrived. So a run that is killed loses nothing, and leaves nothing behind that the next one would not know of.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from cyrsync.state.location_table import LocationTable
from cyrsync.state.mailbox_row import PUT, SEEN, Key, MailboxRow, StateDamaged, columns_of, names_in, row_of, text_of
from cyrsync.state.state_file import StateFile, set_aside
from cyrsync.state.unsynced_table import UnsyncedMailbox, UnsyncedTable, note_mailboxes


class Memory(NamedTuple):
    """What the last run knew of the replica's owner file."""

    replica: str = ""
    roots: tuple[bytes, ...] = ()  # of the source
    handed: int = 0  # the last number that was given to a run
    written: int = 0  # the last number that every root had
    ended: float = 0.0
    complete: float = 0.0
    looked: float = 0.0  # when somebody looked at the replica
    mapped: str = ""  # where directories lay elsewhere then, as `--map` says it


class Store:
    """The state of one source and destination. Every method may raise StateDamaged."""

    def __init__(self, path: Path, pair: str) -> None:
        """Open the file for this `pair` of source and destination, or make it."""
        self.file = StateFile(path, pair)
        self.locations = LocationTable(self.file)
        self.unsynced = UnsyncedTable(self.file)

    @classmethod
    def open(cls, path: Path, pair: str) -> tuple[Store, str]:
        """Open the file, setting aside one that cannot be used. Return it with what to say of that."""
        try:
            return cls(path, pair), ""
        except StateDamaged as error:
            aside = set_aside(path)
            return cls(path, pair), f"{path}: {error}: set aside as {aside.name}, and made anew from the replica"

    def narrow(self, has: Callable[[str, bytes, bytes | None], bool], has_file: Callable[[bytes], bool]) -> None:
        """Let what is asked for be that of a part of the server, as long as the file is open; what is put is kept.

        `has` is asked for mailboxes by partition, path, and name or None, `has_file` for other files by whole paths.
        """
        self.file.narrow(has, has_file)

    def close(self) -> None:
        """Let go of the file."""
        self.file.close()

    @property
    def complete(self) -> bool:
        """Whether the state is that of the replica; it is not before it was first made from there."""
        return self.file.about("complete") == b"yes"

    @complete.setter
    def complete(self, value: bool) -> None:
        self.file.set_about("complete", b"yes" if value else b"no")

    @property
    def memory(self) -> Memory:
        """What the last run knew of the replica's owner file."""
        try:
            record = json.loads(self.file.about("memory") or b"{}")
            return Memory(**{**record, "roots": names_in(record.get("roots", "[]"))})
        except (AttributeError, TypeError, ValueError) as error:
            raise StateDamaged(str(error)) from None

    @memory.setter
    def memory(self, value: Memory) -> None:
        record = {**value._asdict(), "roots": text_of(value.roots) or "[]"}
        self.file.set_about("memory", json.dumps(record).encode())

    def expected(self, key: Key | None = None) -> Iterator[tuple[Key, int, int]]:
        """Yield what is known of each index on the replica, or of one: key, size and mtime (nanoseconds)."""
        query = "SELECT partition, path, seen FROM sent WHERE seen != X''"
        one = "" if key is None else " AND partition = ? AND path = ?"
        for partition, path, seen in self.file.query(query + one, key or ()):
            fields = SEEN.unpack(seen)
            yield Key(partition, path), fields[5], fields[6]

    def files(self) -> Iterator[tuple[str, bytes, bytes, bytes, bytes | None, bool]]:
        """Yield partition, path, the paths of header and index, what was seen of them, and whether nothing is to go."""
        return self.file.query(
            "SELECT p.partition, p.path, p.header_path, p.index_path, s.seen, s.maybe IS NULL AND s.stale IS NULL"
            " FROM place p LEFT JOIN main.sent s ON s.partition = p.partition AND s.path = p.path"
        )

    def not_sent(self) -> list[Key]:
        """Return the mailboxes of which the replica has nothing."""
        query = (
            "SELECT p.partition, p.path FROM place p"
            " LEFT JOIN main.sent s ON s.partition = p.partition AND s.path = p.path WHERE s.path IS NULL"
        )
        return [Key(*row) for row in self.file.query(query)]

    def row(self, key: Key) -> MailboxRow | None:
        """Return what the replica has of a mailbox, None for nothing."""
        columns = self.file.first("SELECT * FROM main.sent WHERE partition = ? AND path = ?", key)
        return row_of(columns) if columns else None

    def life(self, key: Key) -> tuple[str, int] | None:
        """Return uniqueid and UIDVALIDITY of what the replica has of a mailbox, None for nothing."""
        return self.file.first("SELECT uniqueid, uidvalidity FROM main.sent WHERE partition = ? AND path = ?", key)

    def gone(self) -> list[MailboxRow]:
        """Return what the replica has of mailboxes that are no more."""
        query = (
            "SELECT s.* FROM sent s LEFT JOIN main.place p ON s.partition = p.partition AND s.path = p.path"
            " WHERE p.path IS NULL ORDER BY s.partition, s.path"
        )
        return [row_of(columns) for columns in self.file.query(query)]

    def homes(self) -> dict[tuple[str, int], list[Key]]:
        """Return where the replica has each mailbox incarnation, be it of the part or not."""
        found: dict[tuple[str, int], list[Key]] = {}
        query = "SELECT uniqueid, uidvalidity, partition, path FROM main.sent WHERE uniqueid != ''"
        for uniqueid, uidvalidity, partition, path in self.file.query(query):
            found.setdefault((uniqueid, uidvalidity), []).append(Key(partition, path))
        return found

    def left(self) -> set[Key]:
        """Return where the replica has mailboxes that are no more, be they of the part or not."""
        query = "SELECT partition, path FROM main.sent EXCEPT SELECT partition, path FROM main.place"
        return {Key(*row) for row in self.file.query(query)}

    def put(self, rows: Iterable[MailboxRow]) -> None:
        """Keep rows, on disk when this returns; they are of mailboxes that something is written to."""
        kept = list(rows)
        written = (UnsyncedMailbox(row.key, row.uniqueid, row.uidvalidity) for row in kept)
        self.file.change(note_mailboxes(written), (PUT, map(columns_of, kept)))

    def drop(self, keys: Iterable[Key]) -> None:
        """Forget mailboxes that the replica has no more."""
        gone = list(keys)
        drop = "DELETE FROM main.sent WHERE partition = ? AND path = ?"
        self.file.change(note_mailboxes(map(UnsyncedMailbox, gone)), (drop, gone))

    def under_way(self) -> list[MailboxRow]:
        """Return what the replica has of mailboxes to which something was being sent when this was last written.

        Be they of the part or not.
        """
        return [row_of(columns) for columns in self.file.query("SELECT * FROM main.sent WHERE seen = X''")]

    def all_rows(self) -> list[MailboxRow]:
        """Return all that the replica has."""
        return [row_of(columns) for columns in self.file.query("SELECT * FROM sent")]

    def begin_anew(self, rows: Iterable[MailboxRow]) -> None:
        """Put these rows in the place of all that was known of the replica; it is not yet complete.

        In a run for a part, in the place of what was known of that; of other files nothing is forgotten.
        """
        with self.file.transaction() as db:
            if self.file.is_narrowed:
                db.execute("DELETE FROM main.sent WHERE (partition, path) IN (SELECT partition, path FROM sent)")
            else:
                db.execute("DELETE FROM sent")
                db.execute("DELETE FROM conf")
                db.execute("DELETE FROM about WHERE name = 'conf'")
            self.complete = False
            db.executemany(PUT, map(columns_of, rows))

    def messages(self) -> int:
        """Return how many messages the replica has."""
        return self._number("SELECT coalesce(sum(messages), 0) FROM sent")

    def has_messages(self, partition: str, *, archived: bool) -> bool:
        """Tell whether the replica has messages in the data or in the archive directories of a partition."""
        query = (
            "SELECT 1 FROM sent WHERE partition = ?1 AND (CASE ?2 WHEN 1 THEN archived ELSE uids END) NOTNULL LIMIT 1"
        )
        return self.file.first(query, (partition, archived)) is not None

    def rows(self, partition: str | None = None) -> int:
        """Return how many mailboxes the replica has, of one partition or of all."""
        return self._number("SELECT count(*) FROM sent WHERE ?1 IS NULL OR partition = ?1", partition)

    def _number(self, query: str, *values: object) -> int:
        row = self.file.first(query, values)
        return int(row[0]) if row else 0
