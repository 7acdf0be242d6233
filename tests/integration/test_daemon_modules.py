"""Modules of rsync daemons with limits of their own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import samplespool
from support.daemon import RsyncDaemon
from support.tree import assert_same_tree, messages, run_cyrsync, snapshot

PLAIN = "cyrsync: plain rsync runs: "


@pytest.fixture
def source(tmp_path: Path) -> Path:
    samplespool.make(tmp_path / "source", messages=300, folder_count=8)
    return tmp_path / "source"


@pytest.fixture
def daemon_with(tmp_path: Path) -> Iterator[Callable[[str], RsyncDaemon]]:
    """Starts a daemon whose modules have these lines, too."""
    with ExitStack() as running:

        def start(lines: str) -> RsyncDaemon:
            root = tmp_path / "daemon"
            root.mkdir()
            server = RsyncDaemon(root)
            conf = root / "rsyncd.conf"
            conf.write_text(conf.read_text().replace("[rw]\n", f"[rw]\n{lines}\n"))
            return running.enter_context(server)

        yield start


@pytest.mark.parametrize(
    "words", [("sync", "--delete"), ("rsync", "-a", "--delete"), ("sync", "--delete", "--jobs", "3")]
)
def test_one_connection_at_a_time(
    daemon_with: Callable[[str], RsyncDaemon], source: Path, words: tuple[str, ...]
) -> None:
    daemon = daemon_with("max connections = 1")
    for _ in range(3):
        done = run_cyrsync(*words, f"{source}/", daemon.url("rw"))
        assert (done.returncode, done.stderr) == (0, "")
        assert_same_tree(source, daemon.directory("rw"), whole_seconds=True)
        samplespool.change(source, new=0.1, expunged=0.1, flags=0.5)


def test_a_connection_that_another_has(daemon_with: Callable[[str], RsyncDaemon], source: Path, tmp_path: Path) -> None:
    """It is waited for, for a while."""
    daemon = daemon_with("max connections = 1")
    (daemon.directory("rw") / "other").write_bytes(bytes(300_000))
    command = ["rsync", "--bwlimit=100", daemon.url("rw", "other"), tmp_path / "copy"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        while not list(tmp_path.glob(".copy.*")):
            assert other.poll() is None
        done = run_cyrsync("sync", f"{source}/", daemon.url("rw"))
        assert other.wait() == 0
    assert (done.returncode, done.stderr) == (0, "")
    assert messages(source) == messages(daemon.directory("rw"))


def test_files_that_the_daemon_does_not_take(daemon_with: Callable[[str], RsyncDaemon], source: Path) -> None:
    """They stay here, and nothing else does."""
    daemon = daemon_with("exclude = cyrus.cache")
    replica = daemon.directory("rw")
    for _ in range(2):
        done = run_cyrsync("sync", "--delete", f"{source}/", daemon.url("rw"))
        assert done.returncode in (0, 23)
        expected = {path: entry.content for path, entry in snapshot(source).items() if not path.endswith(b"cache")}
        assert {path: entry.content for path, entry in snapshot(replica).items()} == expected
        samplespool.change(source, new=0.1, expunged=0.1, flags=0.5)


@pytest.mark.parametrize("lines", ["refuse options = list-only", "write only = yes"])
def test_a_daemon_that_does_not_list(daemon_with: Callable[[str], RsyncDaemon], source: Path, lines: str) -> None:
    daemon = daemon_with(lines)
    done = run_cyrsync("rsync", "-av", f"{source}/", daemon.url("rw"))
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(PLAIN)
    assert_same_tree(source, daemon.directory("rw"), whole_seconds=True)
    done = run_cyrsync("sync", f"{source}/", daemon.url("rw"), "--retries", "0")
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", [("sync", "--delete"), ("rsync", "-a", "--delete")])
@pytest.mark.parametrize("pull", [False, True])
def test_a_daemon_that_hides_what_begins_with_a_dot(
    daemon_with: Callable[[str], RsyncDaemon], tmp_path: Path, words: tuple[str, ...], pull: bool
) -> None:
    """The root itself is `.` to its filters where an entry of a list names it."""
    daemon = daemon_with("exclude = .*")
    here, there = tmp_path / "here", daemon.directory("rw")
    source, replica = (there, here) if pull else (here, there)
    here.mkdir(exist_ok=True)
    samplespool.make(source, messages=300, folder_count=8)
    for _ in range(2):
        (source / "other").write_text("a file at the top")
        done = run_cyrsync(*words, daemon.url("rw") if pull else f"{here}/", here if pull else daemon.url("rw"))
        assert (done.returncode, done.stderr) == (0, "")
        assert_same_tree(source, replica, whole_seconds=True)
        samplespool.change(source, new=0.1, expunged=0.1, flags=0.5)
