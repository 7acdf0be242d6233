"""The SQLite file with the state of one source and destination: opened and checked, or set aside.

The modules of its tables are store.py (the mailboxes of the replica), location_table.py, unsynced_table.py,
conf_table.py and pending.py.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from cyrsync.cyrus.mailbox import regular_file
from cyrsync.state.mailbox_row import StateDamaged

#: `application_id` and `user_version` of a state file that is ours, and of this shape.
_APPLICATION, _VERSION = 0x63797273, 6
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
    archived BLOB, maybe BLOB, names BLOB, stale BLOB, caches TEXT, PRIMARY KEY (partition, path)
) WITHOUT ROWID""",
    """CREATE TABLE unsynced (
    partition TEXT, path BLOB, root BLOB, uniqueid TEXT, uidvalidity INTEGER, PRIMARY KEY (partition, path)
) WITHOUT ROWID""",
]
#: In a run for a part, views hide the other rows of these tables from queries. `main.sent` is the whole table, for what
#: is written and what must be seen whole. A mailbox that now belongs to somebody outside the part is no longer in it,
#: but is not gone either.
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
#: What SQLite says if the file itself is not damaged.
_NO_DAMAGE = ("full", "locked", "I/O", "unable to open")

#: A statement, and the rows of values that it is executed for.
Change = tuple[str, Iterable[Sequence[Any]]]


class StateFile:
    """The file of one source and destination. Every method may raise StateDamaged."""

    def __init__(self, path: Path, pair: str) -> None:
        """Open the file for this `pair` of source and destination, or make it."""
        self._pair = pair
        #: Whether queries are limited to a part of the server.
        self.is_narrowed = False
        with _damage():
            regular_file.ensure(bytes(path))
            self._db = sqlite3.connect(os.fspath(path), isolation_level=None, check_same_thread=False)
            # Only then is anything written to it.
            self._check()
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")  # else rows may not be on disk

    def narrow(self, has: Callable[[str, bytes, bytes | None], bool], has_file: Callable[[bytes], bool]) -> None:
        """Do what `Store.narrow` says."""
        with _damage():
            self._db.create_function("in_part", 3, has)
            self._db.create_function("file_in_part", 1, has_file)
            for view in _VIEWS:
                self._db.execute(view)
        self.is_narrowed = True

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def query(self, statement: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield the rows that a statement finds."""
        with _damage():
            yield from self._db.execute(statement, values)

    def first(self, statement: str, values: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """Return the first row that a statement finds, None for none."""
        with _damage():
            row: tuple[Any, ...] | None = self._db.execute(statement, values).fetchone()
        return row

    def make_temporary(self, *statements: str) -> None:
        """Execute statements that make what is gone when the file is closed."""
        with _damage():
            for statement in statements:
                self._db.execute(statement)

    def change(self, *changes: Change) -> None:
        """Execute statements together, each for its rows; on disk when this returns."""
        with self.transaction() as db:
            for statement, rows in changes:
                db.executemany(statement, rows)

    def change_unsynced(self, *changes: Change) -> None:
        """Execute statements together, each for its rows: a power cut may cost them.

        A process that is killed does not, and whatever is kept later is on disk after them.
        """
        with _damage():
            self._db.execute("PRAGMA synchronous = NORMAL")
        try:
            self.change(*changes)
        finally:
            with _damage():
                self._db.execute("PRAGMA synchronous = FULL")

    def about(self, name: str) -> bytes:
        """Return what is noted by a name, b"" for nothing."""
        row = self.first("SELECT value FROM about WHERE name = ?", (name,))
        return row[0] if row else b""

    def set_about(self, name: str, value: bytes) -> None:
        """Note a value by a name, alone or within a transaction."""
        with _damage():
            self._db.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the database for a transaction, which is on disk when this ends."""
        with _damage():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                if self._db.in_transaction:  # of some failures SQLite makes an end itself
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _check(self) -> None:
        (application,), (version,) = (
            self._db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
        )
        if (application, version) == (0, 0) and not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[
            0
        ]:
            with self.transaction():
                for statement in _TABLES:
                    self._db.execute(statement)
                self.set_about("pair", self._pair.encode("utf-8", "surrogateescape"))
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
        elif self.about("pair") != self._pair.encode("utf-8", "surrogateescape"):
            raise StateDamaged("the state of another source or destination")


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
    """Turn SQLite's error for a damaged file into StateDamaged; a full disk is no damage."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if any(word in str(error) for word in _NO_DAMAGE):
            raise OSError(errno.EIO, f"the state file: {error}") from None
        raise StateDamaged(str(error)) from None
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise StateDamaged(str(error)) from None
