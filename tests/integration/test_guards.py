"""What keeps a run from doing harm, and what a run that could not do everything leaves behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import samplespool
from cyrsync.ends import address
from cyrsync.far import owner_file
from cyrsync.spool.run import run
from cyrsync.sync.options import Options
from cyrsync.sync.session import Session
from support.spool import leaves
from support.tools import children, requires_root, wait_for
from support.tree import assert_same_tree, cyrsync_argv, messages, plain_env, rsync, run_cyrsync, snapshot, sync
from support.whole import History, assert_indexed_messages_exist


class Pair:
    """A spool and its replica."""

    def __init__(self, directory: Path, **sizes: int) -> None:
        self.source, self.replica = directory / "source", directory / "replica"
        samplespool.make(self.source, **{"messages": 300, "folder_count": 20, **sizes})
        self.arguments = ("--delete", f"{self.source}/", f"{self.replica}/")


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """A small spool with a replica that is up to date."""
    pair = Pair(tmp_path)
    rsync("-a", "-@-1", *pair.arguments)
    return pair


# --- A source that is not there


def test_an_empty_source_is_refused(pair: Pair) -> None:
    before = snapshot(pair.replica)
    pair.source.rename(pair.source.with_name("elsewhere"))
    pair.source.mkdir()
    done = run_cyrsync("sync", *pair.arguments)
    assert done.returncode == 3
    assert re.fullmatch(rf"cyrsync: {pair.source}/: no Cyrus folder in it.*mounted\?\n", done.stderr)
    assert snapshot(pair.replica) == before


def test_a_missing_source_is_refused(pair: Pair) -> None:
    before = snapshot(pair.replica)
    pair.source.rename(pair.source.with_name("elsewhere"))
    done = run_cyrsync("sync", *pair.arguments)
    assert done.returncode == 3
    assert re.fullmatch(rf"cyrsync: {pair.source}/: no such directory.*\n", done.stderr)
    assert snapshot(pair.replica) == before


def test_a_replica_whose_parent_is_missing_is_refused(pair: Pair, tmp_path: Path) -> None:
    done = run_cyrsync("sync", pair.source, tmp_path / "not" / "there")
    assert done.returncode == 3
    assert "directory above it" in done.stderr
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize("below", ["", "j", "new"])
def test_a_replica_inside_the_source_is_refused(pair: Pair, below: str) -> None:
    done = run_cyrsync("sync", pair.source, pair.source / below)
    assert done.returncode == 3
    assert "inside the other" in done.stderr
    assert not (pair.source / "new").exists()


def test_a_source_inside_the_replica_is_refused(pair: Pair) -> None:
    before = snapshot(pair.source)
    done = run_cyrsync("sync", "--delete", pair.source / "j", pair.source)
    assert done.returncode == 3
    assert snapshot(pair.source) == before


def test_a_link_does_not_hide_that_the_replica_is_the_source(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(pair.source)
    assert run_cyrsync("sync", pair.source, tmp_path / "link").returncode == 3


# --- Folders that cannot be read or written


def test_nothing_goes_below_a_folder_that_cannot_be_read(pair: Pair) -> None:
    kept = snapshot(pair.replica / "j/user/joe")
    ann = samplespool.create_folder(pair.source, "user/ann/New")
    samplespool.deliver(ann, 5)
    with closed(pair.source / "j/user/joe"):
        report = sync(*pair.arguments, expect=(23,), user=True)
    assert report["folders"]["unreadable"] == 1
    assert [error.partition(":")[0] for error in report["errors"]] == ["j/user/joe"]
    assert snapshot(pair.replica / "j/user/joe") == kept
    assert_same_tree(ann, pair.replica / "a/user/ann/New")


def test_a_root_that_cannot_be_read_is_refused(pair: Pair) -> None:
    before = snapshot(pair.replica)
    with closed(pair.source):
        done = run_cyrsync("sync", *pair.arguments, user=True)
    assert done.returncode == 3
    assert snapshot(pair.replica) == before


def test_a_folder_that_cannot_be_written_keeps_what_it_has(pair: Pair) -> None:
    """Messages that fail hold back their metadata, and every deletion in their folder."""
    requires_root()  # for it to lay down its powers: of an ordinary user's own directories rsync changes the mode
    other, locked = leaves(pair.source)[-2:]
    for folder in (other, locked):
        samplespool.expunge(folder, 2)
        delivered = samplespool.deliver(folder, 3)
    copy = pair.replica / locked.relative_to(pair.source)
    before = snapshot(copy)
    with closed(copy, mode=0o555):
        # With -p rsync would open the folder again.
        report = sync(*pair.arguments, "--", "--no-perms", expect=(23,), user=True)
    named = [error.partition(": Permission denied: ")[0] for error in report["errors"]]
    names = [*sorted(f"{uid}." for uid in delivered), "cyrus.cache"]
    assert named == [str(locked.relative_to(pair.source) / name) for name in names]
    assert snapshot(copy) == before
    assert_same_tree(other, pair.replica / other.relative_to(pair.source))
    assert_indexed_messages_exist(pair.replica)

    sync(*pair.arguments)
    assert_same_tree(pair.source, pair.replica)


def test_a_folder_that_vanishes_during_the_walk_is_kept_once(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = os.fsencode(pair.source / "j/user/joe/Sent")
    inode = os.stat(victim).st_ino
    look = os.stat

    def look_and_lose(path: bytes, **words: int) -> os.stat_result:
        """Lose the folder right after it was found in the directory above."""
        status = look(path, **words)
        if path == b"Sent" and status.st_ino == inode:
            os.rename(victim, os.fsencode(pair.source.with_name("elsewhere")))
        return status

    before = snapshot(pair.replica)
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", look_and_lose)
        session = Session(address.parse(str(pair.source)), address.parse(str(pair.replica)), Options(delete=True))
        result = run(session)
    assert not os.path.exists(victim)
    assert (result.exit, result.errors, result.folders.gone) == (0, [], 0)
    assert snapshot(pair.replica, dir_mtimes=False).keys() == before.keys()

    assert sync(*pair.arguments)["folders"]["gone"] == 1
    assert_same_tree(pair.source, pair.replica)


@contextmanager
def closed(folder: Path, mode: int = 0) -> Iterator[None]:
    """A folder that only root may enter, or write with a mode of 0o555."""
    before = folder.stat().st_mode
    folder.chmod(mode)
    try:
        yield
    finally:
        folder.chmod(before)


# --- Too many deletions


def test_more_than_half_of_the_messages_is_withheld(pair: Pair) -> None:
    kept = snapshot(pair.replica)
    _, expunged, _ = samplespool.change(pair.source, expunged=0.6, seed=5)
    delivered, *_ = samplespool.change(pair.source, new=0.1)
    report = sync(*pair.arguments, expect=(25,))
    assert report["withheld"] == expunged
    assert report["messages"]["send"] == delivered
    assert kept.keys() < snapshot(pair.replica).keys()
    (error,) = report["errors"]
    assert f"{expunged} of the replica's 300 messages" in error
    assert "--max-delete" in error
    assert_indexed_messages_exist(pair.replica)

    sync(*pair.arguments, "--max-delete", str(expunged))
    assert_same_tree(pair.source, pair.replica)


def test_few_deletions_are_no_disaster(tmp_path: Path) -> None:
    pair = Pair(tmp_path, messages=100, folder_count=2)
    rsync("-a", "-@-1", *pair.arguments)
    samplespool.change(pair.source, expunged=1)
    sync(*pair.arguments)
    assert_same_tree(pair.source, pair.replica)


def test_more_than_half_of_the_folders_is_withheld(tmp_path: Path) -> None:
    pair = Pair(tmp_path, messages=10, folder_count=200)
    rsync("-a", "-@-1", *pair.arguments)
    before = snapshot(pair.replica)
    for folder in samplespool.folders(pair.source)[10:]:
        samplespool.delete_folder(folder)
    sync(*pair.arguments, expect=(25,))
    assert snapshot(pair.replica).keys() == before.keys()


@pytest.mark.parametrize(("limit", "code"), [("29", 25), ("30", 0), ("9%", 25), ("10%", 0), ("0", 25)])
def test_a_limit_of_ones_own(pair: Pair, limit: str, code: int) -> None:
    samplespool.change(pair.source, expunged=0.1)
    report = sync(*pair.arguments, f"--max-delete={limit}", expect=(code,))
    assert report["withheld"] == (30 if code else 0)
    assert len(messages(pair.replica)) == (300 if code else 270)


@pytest.mark.parametrize("limit", ["-1", "101%", "many", ""])
def test_a_limit_that_is_none(pair: Pair, limit: str) -> None:
    assert run_cyrsync("sync", *pair.arguments, f"--max-delete={limit}").returncode == 2


# --- Old temporary files of rsync

OLD = [".5.AbCdEf", ".5..AbCdEf", ".4294967295.a1b2c3", ".cyrus.index.AbCdEf", ".cyrus.header.abcdef"]
NOT_OURS = [".hidden", ".AbCdEf", ".5.AbCdE", ".5.AbCdEfG", ".x.5.AbCdEf", ".5.AbC-Ef", ".procmail.index.AbCdEf"]


@pytest.mark.parametrize("name", OLD)
def test_old_temporary_files_of_rsync_are_removed_by_delete(pair: Pair, name: str) -> None:
    old, fresh = put(pair.replica / "j/user/joe" / name, days=1.1), put(pair.replica / "j/user/joe/Sent" / name, days=0)
    sync(pair.source, pair.replica)
    assert old.exists()
    assert sync(*pair.arguments)["rsync_runs"] == 0
    assert fresh.exists()
    assert not old.exists()


def test_other_hidden_files_are_left_alone(pair: Pair) -> None:
    put(pair.source / "j/user/joe/.not for the replica", days=9)
    files = [put(pair.replica / "j/user/joe" / name, days=9) for name in NOT_OURS]
    sync(*pair.arguments)
    assert all(path.exists() for path in files)
    assert not (pair.replica / "j/user/joe/.not for the replica").exists()


def put(path: Path, *, days: float) -> Path:
    """Write a file in a folder that keeps its time."""
    status = path.parent.stat()
    path.write_text("something")
    os.utime(path, (time.time() - days * 86400,) * 2)
    os.utime(path.parent, ns=(status.st_atime_ns, status.st_mtime_ns))
    return path


# --- The lock, and runs that are interrupted


@pytest.fixture
def slow_pair(tmp_path: Path) -> Pair:
    """A first copy that would take a minute."""
    return Pair(tmp_path, messages=200, folder_count=3, size=30_000)


@contextmanager
def running(pair: Pair) -> Iterator[subprocess.Popen[str]]:
    """A slow run that has sent some messages, and is sending one."""
    process = subprocess.Popen(
        cyrsync_argv("sync", *pair.arguments, "--", "--bwlimit=100"),
        env=plain_env(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_take_signals,
    )
    with process:
        try:
            wait_for(
                lambda: len(list(pair.replica.rglob("[0-9]*."))) > 2 and bool(hidden(pair.replica)), name="messages"
            )
            yield process
        finally:
            process.kill()


def _take_signals() -> None:
    """What is started in the background ignores SIGINT otherwise."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def state_of(pid: int) -> str:
    """R, S, D, Z, …; empty for a process that is gone."""
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def hidden(replica: Path) -> list[Path]:
    return [path for path in replica.rglob(".*") if path.name != os.fsdecode(owner_file.NAME)]


def test_a_second_run_names_the_first(slow_pair: Pair) -> None:
    with running(slow_pair) as first:
        done = run_cyrsync("sync", "-v", *slow_pair.arguments)
    assert done.returncode == 75
    assert re.fullmatch(
        rf"cyrsync: process {first.pid} has been working on it since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d; .*\n",
        done.stderr,
    )


def test_another_spelling_is_the_same_pair(slow_pair: Pair) -> None:
    link = slow_pair.replica.with_name("link")
    link.symlink_to(slow_pair.replica)
    with running(slow_pair):
        assert run_cyrsync("sync", f"{slow_pair.source}/.", link).returncode == 75


def test_a_dry_run_asks_for_no_lock(slow_pair: Pair) -> None:
    with running(slow_pair):
        assert run_cyrsync("sync", "-n", *slow_pair.arguments).returncode == 0


def test_waiting_for_the_lock(slow_pair: Pair) -> None:
    with running(slow_pair) as first:
        assert run_cyrsync("sync", "--wait", "0.5", *slow_pair.arguments).returncode == 75
        second = subprocess.Popen(cyrsync_argv("sync", "--wait", "60", *slow_pair.arguments), env=plain_env())
        time.sleep(0.5)
        assert second.poll() is None
        first.terminate()
        assert second.wait(30) == 0
    assert_same_tree(slow_pair.source, slow_pair.replica)


def test_a_killed_run_leaves_no_lock(slow_pair: Pair) -> None:
    with running(slow_pair) as first:
        first.kill()
    wait_for(lambda: not hidden(slow_pair.replica), name="the end of its rsync")
    sync(*slow_pair.arguments)
    assert_same_tree(slow_pair.source, slow_pair.replica)


@pytest.mark.parametrize(
    ("number", "whom"),
    [(signal.SIGTERM, os.kill), (signal.SIGINT, os.kill), (signal.SIGINT, os.killpg), (signal.SIGHUP, os.killpg)],
    ids=["TERM", "INT", "Ctrl-C", "terminal closed"],
)
def test_an_interrupted_run_cleans_up(
    slow_pair: Pair, state_dir: Path, number: signal.Signals, whom: Callable[[int, int], None]
) -> None:
    history = History()
    history.remember(slow_pair.source)
    with running(slow_pair) as process:
        started = children(process.pid)
        whom(process.pid, number)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 20
    assert re.fullmatch(r"cyrsync: .*interrupted.*\n", errors)
    assert started
    # rsync's own children end on their own, a moment after it.
    wait_for(lambda: all(state_of(pid) in ("", "Z") for pid in started), seconds=2, name="the end of rsync")
    assert not hidden(slow_pair.replica)
    # And the record of it.
    assert sorted(path.suffix for path in state_dir.iterdir()) == [".lock", ".sqlite"]
    history.assert_whole(slow_pair.replica)

    sync(*slow_pair.arguments)
    assert_same_tree(slow_pair.source, slow_pair.replica)
