"""Copies of SQLite databases, which have locks of their own, and journals: each is of one moment."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from cyrsync.cyrus.server import database_copy
from cyrsync.cyrus.server.database_copy import CopyError
from support.copies import Original


@pytest.fixture
def original(tmp_path: Path) -> Original:
    return Original(tmp_path)


@contextmanager
def database(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as found:
        yield found


def make(path: Path) -> None:
    with database(path) as found:
        found.execute("CREATE TABLE t (number INTEGER PRIMARY KEY, text TEXT)")
        found.executemany("INSERT INTO t VALUES (?, ?)", [(number, "old" * 500) for number in range(100)])


def state(path: Path) -> set[str]:
    """What the texts are; the file is whole."""
    with database(path) as found:
        assert found.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {text for (text,) in found.execute("SELECT DISTINCT text FROM t")}


#: Changes all rows in one transaction, again and again, or is killed in the midst of one, with pages written.
WRITER = """\
import itertools, os, signal, sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
database.execute("PRAGMA cache_size = 5")
print("open", flush=True)
for number in itertools.count():
    database.execute("BEGIN IMMEDIATE")
    database.execute("UPDATE t SET text = ?", ("%06d" % number * 300,))
    if sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    database.execute("COMMIT")
    time.sleep(0.02)  # to readers SQLite is not fair
"""


def writer_of(path: Path, what: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, path, what], stdout=subprocess.PIPE)


def test_sqlite(original: Original) -> None:
    make(original.path)
    copied = original.copy()
    assert state(original.target) == {"old" * 500}
    assert copied.status == original.path.stat()
    assert copied.digest == original.copy().digest
    with database(original.path) as found:
        found.execute("DELETE FROM t WHERE number = 7")
    assert copied.digest != original.copy().digest


def test_sqlite_while_it_is_written(original: Original) -> None:
    make(original.path)
    with writer_of(original.path, "on") as writer:
        assert writer.stdout
        writer.stdout.readline()
        try:
            for _ in range(10):
                original.target.unlink(missing_ok=True)
                database_copy.copy(os.fsencode(original.path), os.fsencode(original.target), 30)
                assert len(state(original.target)) == 1
        finally:
            writer.kill()


@pytest.fixture
def torn(original: Original) -> Original:
    """Left behind by a server that was killed: half of a transaction is in the file."""
    make(original.path)
    with writer_of(original.path, "die") as writer:
        writer.wait()
    journal = original.root / "original-journal"
    assert journal.stat().st_size > 10_000
    assert b"000000000000" in original.path.read_bytes()
    return original


def test_sqlite_with_a_transaction_half_done(torn: Original) -> None:
    torn.copy()
    assert state(torn.target) == {"old" * 500}
    assert os.listdir(torn.target.parent) == ["copy"]


#: Another server: what it does is done in a process of its own, as locks are a process's.
OTHER = """\
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0)
try:
    for statement in sys.argv[2:]:
        database.execute(statement)
    print("done", flush=True)
except sqlite3.OperationalError as error:
    print(error, flush=True)
sys.stdin.read()
"""


@contextmanager
def other(path: Path, *statements: str) -> Iterator[str]:
    """One that carries out statements, and then waits; what it said to them."""
    argv = [sys.executable, "-c", OTHER, path, *statements]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        yield process.stdout.readline().strip()
        process.stdin.close()


def test_nobody_rolls_back_what_is_being_read(torn: Original, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does anybody take it for whole meanwhile."""
    copyfile: Callable[[bytes, bytes], object] = shutil.copyfile

    def interrupted(source: bytes, target: bytes) -> object:
        with other(torn.path, "SELECT count(*) FROM t") as said:
            assert said == "database is locked"
        return copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", interrupted)
    database_copy.copy(os.fsencode(torn.path), os.fsencode(torn.target))
    assert state(torn.target) == {"old" * 500}


def test_sqlite_that_is_locked(original: Original) -> None:
    make(original.path)
    with other(original.path, "BEGIN EXCLUSIVE") as said:
        assert said == "done"
        with pytest.raises(CopyError, match=r"^locked by a writer for 0\.1 seconds$"):
            original.copy(patience=0.1)
    original.copy(patience=0)


def test_a_transaction_that_has_not_come_to_the_file_is_not_waited_for(original: Original) -> None:
    make(original.path)
    with other(original.path, "BEGIN IMMEDIATE", "UPDATE t SET text = 'new'") as said:
        assert said == "done"
        assert (original.root / "original-journal").exists()
        original.copy(patience=0)
    assert state(original.target) == {"old" * 500}


def test_sqlite_with_its_changes_in_another_file(original: Original) -> None:
    make(original.path)
    with database(original.path) as found:
        found.execute("PRAGMA journal_mode = WAL")
    with pytest.raises(CopyError, match="WAL"):
        original.copy()


def test_sqlite_under_a_name_of_any_bytes(original: Original) -> None:
    make(original.path)
    name = os.fsencode(original.root) + b"/a?b#c%20\xff"
    os.rename(original.path, name)
    database_copy.copy(name, os.fsencode(original.target))
    assert state(original.target) == {"old" * 500}


@pytest.mark.parametrize("mode", ["PERSIST", "TRUNCATE"])
def test_sqlite_with_a_journal_that_stays(original: Original, mode: str) -> None:
    make(original.path)
    with database(original.path) as found:
        found.execute(f"PRAGMA journal_mode = {mode}")
        found.execute("UPDATE t SET text = 'new'")
    assert (original.root / "original-journal").exists()
    original.copy()
    assert state(original.target) == {"new"}
    assert os.listdir(original.target.parent) == ["copy"]
