"""kill -9 while the messages of renamed mailboxes are linked on the replica: the next run does what is left."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import samplespool
from cyrsync.far.remove import RENAMED
from support.inside import sync_server_here
from support.servers import SampleServer, assert_sound, below
from support.spool import count, leaves
from support.tree import assert_same_tree, plain_env

#: Runs cyrsync, and kills it together with its agent at the n-th call of one function in what links there.
KILLER = """\
import sys
from cyrsync import process

fault = '''
import {module}, os, signal
kept, calls = {module}.{function}, [0]
def {function}(*words, **options):
    if "dst_dir_fd" in options or "dir_fd" in options:
        if calls[0] == {number}:
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        calls[0] += 1
    return kept(*words, **options)
{module}.{function} = {function}
'''
open_pipes = process.open_pipes

def open_faulty(words, errors):
    assert words[:-1] == [sys.executable, "-I", "-S", "-c"]
    return open_pipes([*words[:-1], fault + words[-1]], errors)

process.open_pipes = open_faulty
from cyrsync.cli.app import main
main()
"""


@dataclass
class Killed:
    """A server, and runs of cyrsync's that are killed while they link what has moved."""

    server: SampleServer
    replica: Path

    def run_and_kill(self, *, function: str, number: int) -> None:
        """Die at the n-th `os.link`, say, of the agent, from 0: when links are being made, and not all are in place."""
        module, _, name = function.rpartition(".")
        script = KILLER.format(module=module, function=name, number=number)
        words = ["sync", "-C", self.server.conf, "--delete", "--max-delete=100%", self.replica]
        argv = [sys.executable, "-c", script, *map(str, words)]
        done = subprocess.run(argv, env=plain_env(), stdin=subprocess.DEVNULL, capture_output=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert self.hidden().is_dir()

    def assert_finished(self) -> None:
        """The next run leaves what a first copy has, and nothing besides; the one after it finds nothing to do."""
        words = ("--delete", "--max-delete=100%", self.replica)
        sync_server_here(self.server.conf, *words)
        assert not self.hidden().exists()
        spool = self.server.spool
        assert_same_tree(spool, below(self.replica, spool), dir_mtimes=False)
        assert sync_server_here(self.server.conf, *words)["rsync_runs"] == 0

    def hidden(self) -> Path:
        """Where links are gathered."""
        return below(self.replica, self.server.spool) / RENAMED.decode()


@pytest.fixture
def killed(tmp_path: Path) -> Killed:
    """One whose replica is up to date."""
    server, replica = SampleServer(tmp_path / "server"), tmp_path / "replica"
    replica.mkdir()
    sync_server_here(server.conf, replica)
    return Killed(server, replica)


def rename_some(server: SampleServer, new_name: str) -> int:
    """Two mailboxes change places, one takes the name of a deleted one, one gets a new name, two of them new mail.

    Return how many messages are there already.
    """
    one, other, moved, deleted, renamed = leaves(server.spool)[-5:]
    samplespool.swap(one, other)
    samplespool.delete_folder(deleted)
    moved.rename(deleted)
    target = server.folder(new_name)
    target.parent.mkdir(parents=True, exist_ok=True)
    renamed.rename(target)
    server.record()
    there = sum(map(count, (one, other, deleted, target)))
    samplespool.deliver(one, 3)
    samplespool.deliver(target, 110)  # so many that it would go as one entry, were nothing of it there
    return there


@pytest.mark.parametrize(
    ("function", "portions"),
    [("os.link", (0.0, 0.5, 1.0)), ("os.rename", (0.0, 0.2, 0.4, 0.6, 0.8, 1.0))],
)
def test_killed_while_it_links(killed: Killed, function: str, portions: tuple[float, ...]) -> None:
    for turn, portion in enumerate(portions):
        concerned = rename_some(killed.server, f"user/zoe/Turn {turn}")
        killed.run_and_kill(function=function, number=round(portion * (concerned - 1)))
        killed.assert_finished()
    assert_sound(killed.server.conf, killed.replica)


@pytest.mark.parametrize("number", [0, 1])
def test_killed_while_it_cleans_up(killed: Killed, number: int) -> None:
    """All links are in their places, and each mailbox's hidden directory is removed in its turn."""
    rename_some(killed.server, "user/zoe")
    killed.run_and_kill(function="os.rmdir", number=number)
    left = list(killed.hidden().rglob("*"))
    assert left
    assert all(path.is_dir() for path in left)
    killed.assert_finished()


@pytest.mark.parametrize("again", ["swapped back", "renamed once more"])
def test_killed_between_two_renamings(killed: Killed, again: str) -> None:
    """What lies under a name when the next run begins is of both mailboxes that have had it."""
    one, other, third = leaves(killed.server.spool)[-3:]
    samplespool.swap(one, other)
    killed.run_and_kill(function="os.rename", number=(count(one) + count(other)) // 2)
    samplespool.swap(other, one if again == "swapped back" else third)
    killed.assert_finished()
    assert_sound(killed.server.conf, killed.replica)
