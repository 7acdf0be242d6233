"""Runs are kept as they were told, a bounded number of them; a file that is no record is put aside."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cyrsync.errors import UnusableError
from cyrsync.state import history
from cyrsync.state.history import Pair, Record
from cyrsync.state.lock import state_path
from support.runs import record, result
from support.tree import plain_env


@pytest.fixture
def file(state_dir: Path) -> Path:
    return state_dir / "runs.sqlite"


def test_runs_are_given_back_latest_first(file: Path) -> None:
    runs = [record(1), record(2, code=23, users="joe ann", partitions="default"), record(3, pair="other")]
    assert [history.add(state_path(), run) for run in runs] == ["", "", ""]
    assert history.pairs(state_path()) == [Pair((runs[1], runs[0])), Pair((runs[2],))]
    assert history.runs_of(state_path(), "one") == (runs[1], runs[0])
    assert history.runs_of(state_path(), "none") == ()
    assert runs[1].result == result(2, 23).to_json()
    assert runs[1].began.timestamp() == 120
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_replica_is_found_by_what_names_it_or_as_it_was_given() -> None:
    for pair in ("one", "other"):
        history.add(state_path(), record(pair=pair))
    assert [pair.runs[0].pair for pair in history.pairs(state_path(), "host::/other", "")] == ["other"]
    assert [pair.runs[0].pair for pair in history.pairs(state_path(), "", "host:/one")] == ["one"]
    assert history.pairs(state_path(), "x", "y") == []


def test_nothing_is_made_to_look_for_runs(file: Path) -> None:
    assert history.pairs(state_path()) == []
    assert not file.exists()


def test_old_runs_go_and_the_last_success_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "KEPT", 5)
    history.add(state_path(), record(pair="other"))
    for minute in range(10):
        history.add(state_path(), record(minute, code=0 if minute < 3 else 12))
    history.add(state_path(), record(10, users="joe"))  # of one user only
    kept = [run.began.minute for run in history.runs_of(state_path(), "one")]
    assert kept == [10, 9, 8, 7, 6, 2]
    assert len(history.runs_of(state_path(), "other")) == 1


@pytest.mark.parametrize(
    ("codes", "success", "attempt", "failure", "skipped"),
    [
        ([0], 0, 0, None, 0),
        ([24], 0, 0, None, 0),
        ([23], None, 0, 0, 0),
        ([75], None, None, None, 1),
        ([75, 0, 75, 12, 75], 1, 3, 3, 2),
        ([25, 0, 75], 1, 1, 0, 1),
    ],
)
def test_what_came_of_the_runs(
    codes: list[int], success: int | None, attempt: int | None, failure: int | None, skipped: int
) -> None:
    runs = [record(minute, code) for minute, code in enumerate(codes)]
    pair = Pair(tuple(reversed(runs)))

    def nth(number: int | None) -> Record | None:
        return None if number is None else runs[number]

    assert (pair.last_success, pair.last_attempt, pair.last_failure) == (nth(success), nth(attempt), nth(failure))
    assert pair.skipped == skipped


def test_a_run_of_one_user_brings_nothing_else_up_to_date() -> None:
    whole, part = record(1), record(2, users="joe")
    pair = Pair((part, whole))
    assert pair.last_success is whole
    assert pair.last_attempt is part


def test_few_errors_are_kept_of_many() -> None:
    run = result(errors=["x"] * 5000)
    kept = json.loads(history.brief(run.to_json()))
    assert kept["errors"] == ["x"] * 20 + ["... and 4980 more"]
    assert kept["warnings"] == []
    assert kept["files"] == run.to_json()["files"]


def torn(path: Path) -> None:
    for minute in range(200):
        history.add(state_path(), record(minute))
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE run (id)")


def newer(path: Path) -> None:
    history.add(state_path(), record())
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 2")


def other_columns(path: Path) -> None:
    history.add(state_path(), record())
    with closing(sqlite3.connect(path)) as db:
        db.execute("ALTER TABLE run DROP COLUMN json")


def garbage(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


@pytest.mark.parametrize("damage", [garbage, torn, foreign, newer, other_columns], ids=lambda damage: damage.__name__)
def test_a_damaged_file_is_set_aside(file: Path, damage: Any) -> None:
    damage(file)
    damaged = file.read_bytes()
    with pytest.raises(UnusableError, match=r"runs\.sqlite"):
        history.pairs(state_path())
    warning = history.add(state_path(), record(7))
    assert str(file) in warning and "set aside" in warning
    assert history.pairs(state_path()) == [Pair((record(7),))]
    aside = [path for path in file.parent.iterdir() if path.name.startswith("runs.sqlite.2")]
    assert [path.read_bytes() for path in aside] == [damaged]
    assert aside[0].name in warning


def test_a_file_that_is_merely_busy_stays(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history.add(state_path(), record(1))
    monkeypatch.setattr(history, "_PATIENCE", 0.0)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnusableError, match="locked"):
            history.add(state_path(), record(2))
        assert len(history.runs_of(state_path(), "one")) == 1
    assert history.add(state_path(), record(3)) == ""
    assert len(history.runs_of(state_path(), "one")) == 2


def test_a_new_file_that_another_run_is_writing_to(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite waits for nobody who keeps it from beginning a log."""
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr("time.sleep", lambda _: other.execute("ROLLBACK"))
        assert history.add(state_path(), record(1)) == ""
    assert history.runs_of(state_path(), "one") == (record(1),)


def test_a_full_disk_does_no_harm(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history.add(state_path(), record(1))

    def limited(db: sqlite3.Connection) -> bool:
        db.execute("PRAGMA max_page_count = 1")
        return True

    with monkeypatch.context() as patch:
        patch.setattr(history, "_is_ours", limited)
        with pytest.raises(UnusableError, match="full"):
            history.add(state_path(), record(2, json=json.dumps("x" * 100_000)))
    assert history.runs_of(state_path(), "one") == (record(1),)


def test_no_file_can_be_made(file: Path) -> None:
    file.mkdir()
    with pytest.raises(UnusableError, match="unable to open"):
        history.add(state_path(), record())
    assert history.can_be_kept(state_path())


def test_a_directory_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CYRSYNC_STATE", str(tmp_path / "file" / "state"))
    assert not history.can_be_kept(state_path())


def test_runs_that_end_together_are_all_kept(state_dir: Path) -> None:
    """Also by those that find no file yet."""
    code = (
        "import sys; from cyrsync.state import history, lock\n"
        "for n in range(10): assert not history.add(lock.state_path(), "
        "history.Record(sys.argv[1], '', '', '', '', '', '', '', 0, 0, '{}'))"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", code, str(number)], env=plain_env(os.environ)) for number in range(4)
    ]
    assert [run.wait() for run in runs] == [0] * 4
    assert sorted(len(pair.runs) for pair in history.pairs(state_path())) == [10] * 4
    assert [path.name for path in state_dir.iterdir() if ".sqlite." in path.name] == []
