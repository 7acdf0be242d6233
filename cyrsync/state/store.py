"""What a replica has acknowledged, mailbox by mailbox, and where the mailboxes lie: one SQLite file a destination.

A row is written before its messages are sent (what may be there from now on) and when they and the metadata have
arrived. So a run that is killed loses nothing, and leaves nothing behind that the next one would not know of.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from cyrsync.cyrus.mailbox import regular_file
from cyrsync.state.mailbox_row import SEEN, Key, Location, MailboxRow, StateDamaged, names_in, row_of, sent_of, text_of

#: `application_id` and `user_version` of a state file that is ours, and of this shape.
_APPLICATION, _VERSION = 0x63797273, 5
_TABLES = [
    "CREATE TABLE about (name TEXT PRIMARY KEY, value BLOB)",
    "CREATE TABLE conf (path BLOB PRIMARY KEY, root BLOB, seen BLOB, digest BLOB) WITHOUT ROWID",
    "CREATE TABLE former (partition TEXT, path BLOB, name BLOB, PRIMARY KEY (partition, path)) WITHOUT ROWID",
    """CREATE TABLE pending (
    kind TEXT, name BLOB, since REAL, tries INTEGER, not_before REAL, reason TEXT, PRIMARY KEY (kind, name)
) WITHOUT ROWID""",
    """CREATE TABLE place (
    partition TEXT, path BLOB, name BLOB, uniqueid TEXT, header_path BLOB, index_path BLOB, expunge_path BLOB,
    name_lock BLOB, PRIMARY KEY (partition, path)
) WITHOUT ROWID""",
    """CREATE TABLE sent (
    partition TEXT, path BLOB, uniqueid TEXT, uidvalidity INTEGER, seen BLOB, messages INTEGER, uids BLOB,
    archived BLOB, maybe BLOB, names BLOB, stale BLOB, PRIMARY KEY (partition, path)
) WITHOUT ROWID""",
    """CREATE TABLE unsynced (
    partition TEXT, path BLOB, root BLOB, uniqueid TEXT, uidvalidity INTEGER, PRIMARY KEY (partition, path)
) WITHOUT ROWID""",
]
#: In a run for a part, what a query finds of these tables is of that alone: the views stand before them. What is
#: written, and what must be seen whole, is called `main.sent`. A mailbox that has gone to somebody outside the part is
#: no longer of it, but is not gone either.
_VIEWS = [
    "CREATE TEMP VIEW conf AS SELECT * FROM main.conf WHERE file_in_part(path)",
    "CREATE TEMP VIEW place AS SELECT * FROM main.place WHERE in_part(partition, path, name)",
    """CREATE TEMP VIEW sent AS SELECT s.* FROM main.sent s
    LEFT JOIN main.place p ON s.partition = p.partition AND s.path = p.path
    LEFT JOIN main.former f ON s.partition = f.partition AND s.path = f.path
    WHERE in_part(s.partition, s.path, coalesce(p.name, f.name))
    AND (p.path NOTNULL OR s.uniqueid = '' OR s.uniqueid NOT IN
    (SELECT uniqueid FROM main.place WHERE uniqueid != '' AND NOT in_part(partition, path, name)))""",
]
_PUT = "INSERT OR REPLACE INTO main.sent VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
#: What may have been written since the replica's disks were last synced: a mailbox, and whose files were there before
#: that; or another file, which has no partition, and the root it is below.
_UNSYNCED = "INSERT OR IGNORE INTO unsynced VALUES (?, ?, ?, ?, ?)"
#: What SQLite says of files that are not to blame.
_NO_DAMAGE = ("full", "locked", "I/O", "unable to open")


class Named(NamedTuple):
    """The name of a mailbox that mailboxes.db has, or had when the replica got it."""

    key: Key
    name: bytes
    is_live: bool


class Unsynced(NamedTuple):
    """A mailbox to which something was written that may not be on the replica's disks.

    And whose files were there when these were last synced: "" and 0 where that is not known.
    """

    key: Key
    uniqueid: str
    uidvalidity: int


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
        self.path = path
        self._pair = pair
        self._narrowed = False
        with _damage():
            regular_file.ensure(bytes(path))
            self._db = sqlite3.connect(os.fspath(path), isolation_level=None, check_same_thread=False)
            # Only then is anything written to it.
            self._check()
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")  # else what is put may not be on disk

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
        with _damage():
            self._db.create_function("in_part", 3, has)
            self._db.create_function("file_in_part", 1, has_file)
            for view in _VIEWS:
                self._db.execute(view)
        self._narrowed = True

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    @property
    def complete(self) -> bool:
        """Whether the state is that of the replica; it is not before it was first made from there."""
        return self._about("complete") == b"yes"

    @complete.setter
    def complete(self, value: bool) -> None:
        with _damage():
            self._set_about("complete", b"yes" if value else b"no")

    @property
    def memory(self) -> Memory:
        """What the last run knew of the replica's owner file."""
        try:
            record = json.loads(self._about("memory") or b"{}")
            return Memory(**{**record, "roots": names_in(record.get("roots", "[]"))})
        except (AttributeError, TypeError, ValueError) as error:
            raise StateDamaged(str(error)) from None

    @memory.setter
    def memory(self, value: Memory) -> None:
        record = {**value._asdict(), "roots": text_of(value.roots) or "[]"}
        with _damage():
            self._set_about("memory", json.dumps(record).encode())

    def expected(self, key: Key | None = None) -> Iterator[tuple[Key, int, int]]:
        """Yield what is known of each index on the replica, or of one: key, size and mtime (nanoseconds)."""
        query = "SELECT partition, path, seen FROM sent WHERE seen != X''"
        with _damage():
            one = "" if key is None else " AND partition = ? AND path = ?"
            for partition, path, seen in self._db.execute(query + one, key or ()):
                fields = SEEN.unpack(seen)
                yield Key(partition, path), fields[5], fields[6]

    def locations_signature(self) -> bytes:
        """Return what `set_places` was given."""
        return self._about("places")

    def set_locations(self, locations: Iterable[Location], signature: bytes) -> None:
        """Keep where the mailboxes lie; `signature` is of what they were read from, b"" if that says nothing."""
        rows = [(*location.key, *location[1:]) for location in locations]
        with self._transaction():
            self._db.execute("DROP TABLE IF EXISTS temp.named")
            self._db.execute("DROP TABLE IF EXISTS temp.place_before")
            self._db.execute("CREATE TEMP TABLE place_before AS SELECT partition, path, uniqueid, name FROM main.place")
            self._db.execute("DELETE FROM main.place")
            self._db.executemany("INSERT INTO main.place VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
            self._db.execute(
                "INSERT OR REPLACE INTO former SELECT partition, path, name FROM temp.place_before"
                " WHERE (partition, path) NOT IN (SELECT partition, path FROM main.place)"
                " AND (partition, path) IN (SELECT partition, path FROM main.sent)"
            )
            self._db.execute(
                "DELETE FROM former WHERE (partition, path) IN (SELECT partition, path FROM main.place)"
                " OR (partition, path) NOT IN (SELECT partition, path FROM main.sent)"
            )
            self._set_about("places", signature)

    def names(self) -> Iterator[Named]:
        """Yield the names of all mailboxes, and of those that the replica has still, as far as they are known."""
        with _damage():
            for partition, path, name, is_live in self._db.execute(
                "SELECT partition, path, name, 1 FROM main.place UNION ALL SELECT partition, path, name, 0 FROM former"
            ):
                yield Named(Key(partition, path), name, bool(is_live))

    def remember(self, names: Iterable[Named]) -> None:
        """Keep names of mailboxes that mailboxes.db does not have."""
        with self._transaction():
            rows = ((*one.key, one.name) for one in names)
            self._db.executemany("INSERT OR REPLACE INTO former VALUES (?, ?, ?)", rows)

    def files(self) -> Iterator[tuple[str, bytes, bytes, bytes, bytes | None, bool]]:
        """Yield partition, path, the paths of header and index, what was seen of them, and whether nothing is to go."""
        with _damage():
            yield from self._db.execute(
                "SELECT p.partition, p.path, p.header_path, p.index_path, s.seen, s.maybe IS NULL AND s.stale IS NULL"
                " FROM place p LEFT JOIN main.sent s ON s.partition = p.partition AND s.path = p.path"
            )

    def indexes(self, partition: str) -> list[bytes]:
        """Return the paths of the indexes of all mailboxes of a partition, be they of the part or not."""
        with _damage():
            query = "SELECT index_path FROM main.place WHERE partition = ?"
            return [path for (path,) in self._db.execute(query, (partition,))]

    def location(self, key: Key) -> Location:
        """Return one mailbox's place. KeyError if there is none."""
        with _damage():
            row = self._db.execute("SELECT * FROM main.place WHERE partition = ? AND path = ?", key).fetchone()
        if row is None:
            raise KeyError(key)
        return Location(Key(row[0], row[1]), *row[2:])

    def keys(self) -> dict[bytes, Key]:
        """Return where each mailbox lies, by its internal name."""
        with _damage():
            rows = self._db.execute("SELECT name, partition, path FROM place")
            return {name: Key(partition, path) for name, partition, path in rows}

    def siblings(self, owner: bytes) -> list[Key]:
        """Return the mailboxes of a user, or a shared one and those below it, by the name (`user.joe`) of the first."""
        with _damage():
            if not self._db.execute("SELECT 1 FROM sqlite_temp_master WHERE name = 'named'").fetchone():
                self._db.execute("CREATE TEMP TABLE named AS SELECT name, partition, path FROM place")
                self._db.execute("CREATE INDEX temp.by_name ON named (name)")
            query = "SELECT partition, path FROM temp.named WHERE name = ? OR (name > ? AND name < ?)"
            return [Key(*row) for row in self._db.execute(query, (owner, owner + b".", owner + b"/"))]

    def has_location(self, key: Key) -> bool:
        """Tell whether there is such a mailbox."""
        with _damage():
            query = "SELECT 1 FROM place WHERE partition = ? AND path = ?"
            return self._db.execute(query, key).fetchone() is not None

    def new_locations(self) -> list[Key]:
        """Return where `set_places` has put a mailbox that was not there before, since this file was opened."""
        with _damage():
            if not self._db.execute("SELECT 1 FROM sqlite_temp_master WHERE name = 'place_before'").fetchone():
                return []
            before = "SELECT partition, path, uniqueid FROM temp.place_before"
            query = f"SELECT partition, path, uniqueid FROM place EXCEPT {before}"
            return [Key(*row[:2]) for row in self._db.execute(query)]

    def not_sent(self) -> list[Key]:
        """Return the mailboxes of which the replica has nothing."""
        query = (
            "SELECT p.partition, p.path FROM place p"
            " LEFT JOIN main.sent s ON s.partition = p.partition AND s.path = p.path WHERE s.path IS NULL"
        )
        with _damage():
            return [Key(*row) for row in self._db.execute(query)]

    def sent(self, key: Key) -> MailboxRow | None:
        """Return what the replica has of a mailbox, None for nothing."""
        with _damage():
            row = self._db.execute("SELECT * FROM main.sent WHERE partition = ? AND path = ?", key).fetchone()
        return sent_of(row) if row else None

    def life(self, key: Key) -> tuple[str, int] | None:
        """Return uniqueid and UIDVALIDITY of what the replica has of a mailbox, None for nothing."""
        query = "SELECT uniqueid, uidvalidity FROM main.sent WHERE partition = ? AND path = ?"
        with _damage():
            found: tuple[str, int] | None = self._db.execute(query, key).fetchone()
        return found

    def gone(self) -> list[MailboxRow]:
        """Return what the replica has of mailboxes that are no more."""
        query = (
            "SELECT s.* FROM sent s LEFT JOIN main.place p ON s.partition = p.partition AND s.path = p.path"
            " WHERE p.path IS NULL ORDER BY s.partition, s.path"
        )
        with _damage():
            return [sent_of(row) for row in self._db.execute(query)]

    def homes(self) -> dict[tuple[str, int], list[Key]]:
        """Return where the replica has each mailbox incarnation, be it of the part or not."""
        found: dict[tuple[str, int], list[Key]] = {}
        with _damage():
            for uniqueid, uidvalidity, partition, path in self._db.execute(
                "SELECT uniqueid, uidvalidity, partition, path FROM main.sent WHERE uniqueid != ''"
            ):
                found.setdefault((uniqueid, uidvalidity), []).append(Key(partition, path))
        return found

    def left(self) -> set[Key]:
        """Return where the replica has mailboxes that are no more, be they of the part or not."""
        query = "SELECT partition, path FROM main.sent EXCEPT SELECT partition, path FROM main.place"
        with _damage():
            return {Key(*row) for row in self._db.execute(query)}

    def put(self, rows: Iterable[MailboxRow]) -> None:
        """Keep rows, on disk when this returns; they are of mailboxes that something is written to."""
        with self._transaction():
            for one in rows:
                self._db.execute(_UNSYNCED, (*one.key, b"", one.uniqueid, one.uidvalidity))
                self._db.execute(_PUT, row_of(one))

    def drop(self, keys: Iterable[Key]) -> None:
        """Forget mailboxes that the replica has no more."""
        gone = list(keys)
        with self._transaction():
            self._db.executemany(_UNSYNCED, ((*key, b"", "", 0) for key in gone))
            self._db.executemany("DELETE FROM main.sent WHERE partition = ? AND path = ?", gone)

    def unsynced(self) -> list[Unsynced]:
        """Return the mailboxes to which something was written since the replica's disks were last synced.

        Be they of the part or not.
        """
        query = "SELECT partition, path, uniqueid, uidvalidity FROM unsynced WHERE partition != ''"
        with _damage():
            return [Unsynced(Key(*row[:2]), *row[2:]) for row in self._db.execute(query)]

    @property
    def is_synced(self) -> bool:
        """Whether all that was written to the replica is on its disks."""
        with _damage():
            return self._db.execute("SELECT 1 FROM unsynced LIMIT 1").fetchone() is None

    def note_synced(self) -> None:
        """Note that all that was written to the replica is on its disks."""
        with self._transaction():
            self._db.execute("DELETE FROM unsynced")

    def doubt_unsynced(self, rows: Iterable[MailboxRow]) -> None:
        """Put these rows in the place of what was known of all that may not be on the replica's disks.

        Of other files it is from now on not known what the replica has.
        """
        with self._transaction():
            self._db.execute("DELETE FROM main.sent WHERE (partition, path) IN (SELECT partition, path FROM unsynced)")
            self._db.executemany(_PUT, map(row_of, rows))
            self._db.execute(
                "INSERT OR REPLACE INTO main.conf SELECT path, root, X'', X'' FROM unsynced WHERE partition = ''"
            )
            self._db.execute("DELETE FROM unsynced")

    def under_way(self) -> list[MailboxRow]:
        """Return what the replica has of mailboxes to which something was being sent when this was last written.

        Be they of the part or not.
        """
        with _damage():
            return [sent_of(row) for row in self._db.execute("SELECT * FROM main.sent WHERE seen = X''")]

    def all_sent(self) -> list[MailboxRow]:
        """Return all that the replica has."""
        with _damage():
            return [sent_of(row) for row in self._db.execute("SELECT * FROM sent")]

    def begin_anew(self, rows: Iterable[MailboxRow]) -> None:
        """Put these rows in the place of all that was known of the replica; it is not yet complete.

        In a run for a part, in the place of what was known of that; of other files nothing is forgotten.
        """
        with self._transaction():
            if self._narrowed:
                self._db.execute("DELETE FROM main.sent WHERE (partition, path) IN (SELECT partition, path FROM sent)")
            else:
                self._db.execute("DELETE FROM sent")
                self._db.execute("DELETE FROM conf")
                self._db.execute("DELETE FROM about WHERE name = 'conf'")
            self._set_about("complete", b"no")
            self._db.executemany(_PUT, map(row_of, rows))

    def messages(self) -> int:
        """Return how many messages the replica has."""
        with _damage():
            return int(self._db.execute("SELECT coalesce(sum(messages), 0) FROM sent").fetchone()[0])

    def has_messages(self, partition: str) -> bool:
        """Tell whether the replica has messages in the data directories of a partition."""
        with _damage():
            query = "SELECT 1 FROM sent WHERE partition = ? AND uids NOTNULL LIMIT 1"
            return self._db.execute(query, (partition,)).fetchone() is not None

    def rows(self, partition: str | None = None) -> int:
        """Return how many mailboxes the replica has, of one partition or of all."""
        with _damage():
            query = "SELECT count(*) FROM sent WHERE ?1 IS NULL OR partition = ?1"
            return int(self._db.execute(query, (partition,)).fetchone()[0])

    def directories(self, partition: str) -> set[bytes]:
        """Return the paths of a partition's mailboxes, and of all that they are in.

        In a run for a part, also those of others, and what the replica has of others.
        """
        query = "SELECT path FROM main.place WHERE partition = ?1"
        if self._narrowed:
            others = "SELECT path FROM main.sent WHERE partition = ?1 EXCEPT SELECT path FROM sent WHERE partition = ?1"
            query = f"{query} UNION SELECT path FROM ({others})"
        found: set[bytes] = set()
        with _damage():
            for (path,) in self._db.execute(query, (partition,)):
                while path and path not in found:
                    found.add(path)
                    path = path.rpartition(b"/")[0]
        return found

    def query(self, statement: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield the rows that a statement of another table's finds."""
        with _damage():
            yield from self._db.execute(statement, values)

    def change(
        self, statement: str, rows: Iterable[Sequence[Any]], unsynced: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        """Carry a statement of another table's out for each row, on disk when this returns.

        `unsynced` are files of the replica that something is written to, by path and root.
        """
        with self._transaction():
            self._db.executemany(_UNSYNCED, (("", path, root, "", 0) for path, root in unsynced))
            self._db.executemany(statement, rows)

    def change_unsynced(self, *changes: tuple[str, Iterable[Sequence[Any]]]) -> None:
        """Carry statements of another table's out together, each for its rows: a power cut may cost them.

        A process that is killed does not, and whatever is kept later is on disk after them.
        """
        with _damage():
            self._db.execute("PRAGMA synchronous = NORMAL")
        try:
            with self._transaction():
                for statement, rows in changes:
                    self._db.executemany(statement, rows)
        finally:
            with _damage():
                self._db.execute("PRAGMA synchronous = FULL")

    def _check(self) -> None:
        (application,), (version,) = (
            self._db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
        )
        if (application, version) == (0, 0) and not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[
            0
        ]:
            with self._transaction():
                for statement in _TABLES:
                    self._db.execute(statement)
                self._set_about("pair", self._pair.encode("utf-8", "surrogateescape"))
                self._db.execute(f"PRAGMA application_id = {_APPLICATION}")
                self._db.execute(f"PRAGMA user_version = {_VERSION}")
        elif application != _APPLICATION:
            raise StateDamaged("not a state file of cyrsync")
        elif version != _VERSION:
            raise StateDamaged("the state file of another version of cyrsync")
        elif [
            sql for (sql,) in self._db.execute("SELECT sql FROM sqlite_master WHERE sql NOTNULL ORDER BY 1")
        ] != _TABLES:
            raise StateDamaged("its tables are damaged")
        elif self._about("pair") != self._pair.encode("utf-8", "surrogateescape"):
            raise StateDamaged("the state of another source or destination")

    def _about(self, name: str) -> bytes:
        with _damage():
            row = self._db.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
        return row[0] if row else b""

    def _set_about(self, name: str, value: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _damage():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._db.in_transaction:  # of some failures SQLite makes an end itself
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")


def copied(path: Path, to: Path) -> Path:
    """Copy a state file, as far as there is one, for a run that must not change it; return the copy's path."""
    if path.exists():
        with (
            suppress(sqlite3.DatabaseError),
            closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(os.fspath(to))) as copy,
        ):
            source.backup(copy)
    return to


def set_aside(path: Path) -> Path:
    """Rename a state file, and what SQLite has put beside it, out of the way; return its new name."""
    aside = path.with_name(f"{path.name}.{time.strftime('%Y%m%d-%H%M%S')}")
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.rename(f"{path}{suffix}", f"{aside}{suffix}")
    return aside


@contextmanager
def _damage() -> Iterator[None]:
    """Make a StateDamaged of what SQLite says of a damaged file; a full disk is none."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if any(word in str(error) for word in _NO_DAMAGE):
            raise OSError(errno.EIO, f"the state file: {error}") from None
        raise StateDamaged(str(error)) from None
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise StateDamaged(str(error)) from None
