"""Who is at work, by the locks that are held."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from cyrsync.state.lock import WATCHING, run_lock, state_path
from cyrsync.state.running import Holder, holders


def test_a_run_at_work(state_dir: Path) -> None:
    assert holders(state_path()) == []
    with run_lock(state_path(), "one", 0, "", ("/spool", "host:/r\\x0a")):
        (found,) = holders(state_path())
    assert (found.key, found.pair, found.pid, found.watching) == ("one", "one", os.getpid(), False)
    assert (found.source, found.destination) == ("/spool", "host:/r\\x0a")
    assert abs(found.since - time.time()) < 60
    assert holders(state_path()) == []


def test_a_watcher_and_a_shard(state_dir: Path) -> None:
    with run_lock(state_path(), "one", 0, WATCHING), run_lock(state_path(), "two-1of3", 0):
        found = holders(state_path())
    assert [(one.pair, one.watching) for one in found] == [("one", True), ("two", False)]


def test_the_lock_is_not_touched(state_dir: Path) -> None:
    """Whoever looks keeps nobody out: what holds the lock is in the kernel's own list."""
    (state_dir / "free.lock").touch()
    (state_dir / "dir.lock").mkdir()
    os.mkfifo(state_dir / "fifo.lock")
    assert holders(state_path()) == []


def locked(path: Path, line: bytes) -> list[Holder]:
    """Who is at work while a lock file with this in it is held."""
    with path.open("wb") as file:
        file.write(line)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        return holders(state_path())


def test_a_file_that_names_another_process(state_dir: Path) -> None:
    """Between the lock and the line of its holder; or the kernel means a file of another file system."""
    for line in (b"", b"1 2024-01-01 00:00:00 watching\t[1", b"\xff\n" * 1000):
        assert locked(state_dir / "a.lock", line) == []


def test_a_file_that_says_little(state_dir: Path) -> None:
    for line in (b"%d", b"%d nonsense \xff\t{}\n", b"%d \t[1]\n", b"%d \t7\n", b"%d x\t" + b"[" * 9000):
        (found,) = locked(state_dir / "a.lock", line % os.getpid())
        assert (found.pid, found.watching, found.source, found.destination) == (os.getpid(), False, "", "")
        assert 0 < found.since <= time.time()
