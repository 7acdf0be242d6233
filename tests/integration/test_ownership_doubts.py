"""A replica that is not as the last run left it is compared in full, not filled; a killed run is not in the way."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import samplespool
from cyrsync.far import owner_file
from cyrsync.server import conf_copier, locations
from support.replicas import Pair
from support.servers import assert_sound
from support.spool import leaves
from support.tree import plain_env, rsync, snapshot, sync


def assert_repaired(pair: Pair, said: str) -> None:
    """The next run says why it looks at all of it, and then all is well."""
    (warning,) = pair.sync()["warnings"]
    assert said in warning
    assert warning.endswith(": all of it is compared")
    pair.assert_same()
    assert_sound(pair.conf, pair.replica)
    one, other = pair.owner_files()
    assert one and one == other and one.ended
    pair.change()
    assert pair.sync()["warnings"] == []


def everything_changes(pair: Pair) -> None:
    """Mail, mailboxes, and users' files."""
    spool = pair.server.spool
    samplespool.change(spool, new=0.3, expunged=0.2, flags=0.5)
    samplespool.deliver(samplespool.create_folder(spool, "user/ann/New"), 3)
    pair.server.record()
    pair.write("user/j/joe.sub", "user.joe\t\nuser.joe.New\t\n")
    pair.write("user/a/ann.sub")
    (pair.home / "quota/j/user.joe").unlink()


def copy(one: Path, other: Path) -> None:
    subprocess.run(["cp", "-a", str(one), str(other)], check=True)


@pytest.mark.parametrize("grain", [0, 2_000_000_000], ids=["settled", "fresh"])
def test_a_replica_that_was_set_back(
    changed: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grain: int
) -> None:
    """Nothing is taken for sent, whether or not it may change again unseen on the source."""
    monkeypatch.setattr(conf_copier, "_GRAIN", grain)
    monkeypatch.setattr(locations, "_GRAIN", grain)
    copy(changed.replica, tmp_path / "snapshot")
    everything_changes(changed)
    changed.sync()
    shutil.rmtree(changed.replica)
    copy(tmp_path / "snapshot", changed.replica)
    changed.change()
    assert_repaired(changed, "it is older than the last run left it")


def test_a_disk_that_was_set_back(changed: Pair, tmp_path: Path) -> None:
    """One root alone, with what is on it."""
    there = changed.there(changed.home)
    copy(there, tmp_path / "snapshot")
    everything_changes(changed)
    changed.sync()
    shutil.rmtree(there)
    copy(tmp_path / "snapshot", there)
    changed.change()
    assert_repaired(changed, f"{there}: it is older")


def test_a_snapshot_of_while_it_was_written(changed: Pair) -> None:
    """The last run came to its end, but what is there did not see that."""
    for root in changed.roots:
        changed.forge(root, ended=0.0)
    assert_repaired(changed, "it is older than the last run left it")


def test_another_copy_of_the_replica(changed: Pair, tmp_path: Path) -> None:
    """Two disks that take turns."""
    second = tmp_path / "second"
    second.mkdir()
    changed.sync(to=second)
    everything_changes(changed)
    changed.sync()
    changed.replica.rename(tmp_path / "third")
    second.rename(changed.replica)
    changed.change()
    assert_repaired(changed, "something else has written there since the last run")


def test_a_run_that_another_state_knows_of(changed: Pair) -> None:
    """As of a machine whose disk was set back."""
    for root in changed.roots:
        changed.forge(root, run=9)
    assert_repaired(changed, "something else has written there since the last run")
    one, _ = changed.owner_files()
    assert one and one.run > 9


def test_a_replica_without_an_owner_file(changed: Pair) -> None:
    (changed.there(changed.home) / os.fsdecode(owner_file.NAME)).unlink()
    assert_repaired(changed, "it is not what the last run wrote to")


def test_a_run_of_the_walk_between(changed: Pair) -> None:
    spool = changed.server.spool
    sync("--delete", f"{spool}/", f"{changed.there(spool)}/")
    everything_changes(changed)
    assert_repaired(changed, "something else has written there since the last run")


def test_a_run_of_the_walk_that_found_nothing(pair: Pair) -> None:
    pair.sync()
    before = pair.everything()
    sync("--delete", f"{pair.server.spool}/", f"{pair.there(pair.server.spool)}/")
    assert pair.everything() == before


# --- Indexes


def last_index(pair: Pair) -> Path:
    return pair.there(leaves(pair.server.spool)[-1] / "cyrus.index")


def test_an_index_that_is_older(changed: Pair) -> None:
    index = last_index(changed)
    os.utime(index, ns=(1, index.stat().st_mtime_ns - 1_000_000_001))
    assert_repaired(changed, f"{index}: it is older than what was sent")


def test_an_index_of_another_size(changed: Pair) -> None:
    index, status = last_index(changed), last_index(changed).stat()
    index.write_bytes(index.read_bytes()[:-112])
    os.utime(index, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert_repaired(changed, f"{index}: it is older than what was sent")


def test_an_index_that_is_gone(changed: Pair) -> None:
    last_index(changed).unlink()
    assert_repaired(changed, f"{last_index(changed)}: it is gone")


def test_whole_seconds_are_no_difference(changed: Pair) -> None:
    """An rsync of long ago, or a file system that has no more."""
    for index in changed.there(changed.server.spool).rglob("cyrus.index"):
        whole = index.stat().st_mtime_ns // 10**9 * 10**9
        os.utime(index, ns=(whole, whole))
    assert changed.sync()["warnings"] == []
    assert_sound(changed.conf, changed.replica)


# --- Nothing there


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("what", ["empty", "lost+found", "missing"])
def test_a_root_that_is_not_mounted(changed: Pair, tmp_path: Path, number: int, what: str) -> None:
    there = changed.there(changed.roots[number])
    there.rename(tmp_path / "away")
    if what != "missing":
        there.mkdir()
    if what == "lost+found":
        (there / what).mkdir()
    before = changed.everything()
    (error,) = changed.sync(expect=3)["errors"]
    assert error.startswith(f"{there}: nothing of the replica is there any more: is its disk mounted?")
    assert changed.everything() == before
    changed.sync("--full")
    changed.assert_same()
    assert_sound(changed.conf, changed.replica)


def change_state(state_dir: Path, statement: str) -> None:
    (path,) = set(state_dir.glob("*.sqlite")) - {state_dir / "runs.sqlite"}
    with closing(sqlite3.connect(path)) as database:
        database.execute(statement)
        database.commit()


def test_a_state_that_proves_damaged_late(changed: Pair, state_dir: Path) -> None:
    """What was counted by then is counted once."""
    samplespool.change(changed.server.spool, new=0.5)
    expected = changed.sync("-n")
    change_state(state_dir, "UPDATE sent SET uids = X'0102' WHERE path = (SELECT max(path) FROM sent)")
    report = changed.sync()
    assert "set aside" in "".join(report["warnings"])
    assert report["messages"] == expected["messages"]
    assert report["folders"] == expected["folders"]
    changed.assert_same()


def test_not_mounted_after_a_run_that_was_killed(changed: Pair, tmp_path: Path, state_dir: Path) -> None:
    """It has forgotten what was there, but not that there was something."""
    change_state(state_dir, "UPDATE about SET value = CAST('no' AS BLOB) WHERE name = 'complete'")
    there = changed.there(changed.server.spool)
    there.rename(tmp_path / "away")
    there.mkdir()
    before = changed.everything()
    changed.sync(expect=3)
    assert changed.everything() == before
    there.rmdir()
    (tmp_path / "away").rename(there)
    assert changed.sync()["warnings"] == []
    changed.assert_same()


# --- Killed runs

#: Runs cyrsync, and kills it before one of the calls of a method.
KILLER = """\
import os, signal
from {module} import {name} as victim
kept, calls = victim.{method}, [0]
def dying(*words, **options):
    if calls[0] == {number}:
        os.killpg(0, signal.SIGKILL)
    calls[0] += 1
    return kept(*words, **options)
victim.{method} = dying
from cyrsync.cli.app import main
main()
"""
PUT = ("cyrsync.ends.child_tree", "ChildTree", "put_owner_file")
END = ("cyrsync.server.ownership", "Ownership", "end")
SEND = ("cyrsync.far.receive", "Receiver", "commit")
STATE = ("cyrsync.state.store", "Store", "put")


def run_and_kill(pair: Pair, where: tuple[str, str, str], number: int) -> None:
    module, name, method = where
    script = KILLER.format(module=module, name=name, method=method, number=number)
    argv = [sys.executable, "-c", script, "sync", "-C", str(pair.conf), "--delete", str(pair.replica)]
    done = subprocess.run(argv, env=plain_env(), capture_output=True, start_new_session=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


#: Between owner files, before the last ones, before a mailbox takes its place, and when a row is kept.
POINTS = [*((PUT, number) for number in range(4)), (END, 0), *((SEND, number) for number in range(3)), (STATE, 0)]


@pytest.mark.parametrize(
    ("first", "where", "number"),
    [*((False, *point) for point in POINTS), (True, PUT, 1), (True, SEND, 1), (True, END, 0)],
)
def test_a_killed_run_is_not_in_the_way(pair: Pair, first: bool, where: tuple[str, str, str], number: int) -> None:
    if not first:
        pair.sync()
        everything_changes(pair)
    run_and_kill(pair, where, number)
    if number % 2:
        pair.change()
    assert pair.sync()["warnings"] == []
    pair.assert_same()
    assert_sound(pair.conf, pair.replica)


def test_a_replica_that_rsync_made(pair: Pair) -> None:
    """There is no owner file, and no state: nothing is doubted, and nothing sent again."""
    for root in pair.roots:
        pair.there(root).mkdir(parents=True)
        rsync("-a", f"{root}/", f"{pair.there(root)}/")
    there = pair.there(pair.server.spool)
    before = snapshot(there, dir_mtimes=False)
    assert pair.sync()["warnings"] == []
    assert snapshot(there, dir_mtimes=False) == before
    pair.assert_same()
