"""Who is at work, by the locks that are held."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from cyrsync.state.lock import WATCHING, run_lock, state_path
from cyrsync.state.running import holders


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


def test_a_file_that_says_nothing_of_its_holder(state_dir: Path) -> None:
    """Between the lock and the line of its holder, what the one before wrote is there."""
    for name, line in (
        ("a", b"1 2024-01-01 00:00:00 watching\t[1"),
        ("b", b""),
        ("c", b"%d nonsense \xff\t{}\n" % os.getpid()),
    ):
        with open(state_dir / f"{name}.lock", "wb") as file:
            file.write(line)
            file.flush()
            fcntl.flock(file, fcntl.LOCK_EX)
            (found,) = holders(state_path())
        assert (found.pid, found.watching, found.source, found.destination) == (os.getpid(), False, "", "")
        assert 0 < found.since <= time.time()
