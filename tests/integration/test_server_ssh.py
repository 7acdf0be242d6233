"""The index engine over a real sshd on loopback: several streams at once, and connections that break."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import pytest

import samplespool
from cyrsync.errors import CONNECTION_CODES
from cyrsync.sync import session
from support.inside import sync_server_here
from support.races import Races
from support.servers import SampleServer, assert_sound, below
from support.spool import leaves
from support.sshd import Sshd
from support.tree import assert_same_tree
from support.whole import History, assert_indexed_messages_exist

ALL = ("--delete", "--max-delete=100%")
#: Kills what every session of an sshd runs, as when the far machine dies.
HANG_UP = """\
import os, signal, subprocess
listing = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True).stdout
parents = dict(map(int, line.split()) for line in listing.splitlines())
doomed = [{sshd}]
for ancestor in doomed:
    doomed += [pid for pid, parent in parents.items() if parent == ancestor]
for pid in doomed[1:]:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""
#: Does the same beside the rsync, as soon as it has brought some files.
HANG_UP_LATER = """\
import time
def arrived():
    return sum(len(names) for _, _, names in os.walk({replica!r}))
before = arrived()
if not os.fork():
    while arrived() < before + 20:
        time.sleep(0.005)
    exec({hang_up!r})
    os._exit(0)
"""


@pytest.fixture
def races(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Races:
    """What each rsync is asked for."""
    found = Races(tmp_path / "races")
    monkeypatch.setenv("PATH", found.env["PATH"])
    return found


def everything_happens(server: SampleServer, seed: int) -> None:
    """Mail comes and goes, and mailboxes are swapped, recreated, deleted, renamed and made."""
    for spool in server.spools.values():
        samplespool.change(spool, new=0.1, expunged=0.1, flags=0.5, seed=seed)
    one, other, third, fourth, fifth = random.Random(seed).sample(leaves(server.spool), 5)
    samplespool.swap(one, other)
    samplespool.recreate_folder(third, 5)
    samplespool.delete_folder(fourth)
    target = server.folder(f"user/ann/Renamed {seed}")
    target.parent.mkdir(parents=True, exist_ok=True)
    fifth.rename(target)
    samplespool.deliver(samplespool.create_folder(server.spool, f"user/ann/New {seed}"), 110)
    server.record()


def assert_same_spools(server: SampleServer, replica: Path) -> None:
    for spool in server.spools.values():
        assert_same_tree(spool, below(replica, spool), dir_mtimes=False)


# --- Several streams


def test_streams_side_by_side_make_the_same_replica(sshd: Sshd, tmp_path: Path, races: Races) -> None:
    server = SampleServer(tmp_path / "server", partitions="default second")
    replicas = {jobs: tmp_path / f"replica{jobs}" for jobs in (1, 4)}
    for turn in range(2):
        if turn:
            everything_happens(server, turn)
        for jobs, replica in replicas.items():
            replica.mkdir(exist_ok=True)
            races.forget()
            connections = sshd.connections()
            words = ("--jobs", str(jobs), "--bwlimit=8000", "-e", sshd.rsh, sshd.at(replica))
            report = sync_server_here(server.conf, *ALL, *words)
            assert (report["errors"], report["files"]["sent"]) == ([], report["files"]["planned"])
            runs = races.runs()
            assert report["rsync_runs"] == len(runs)
            # They share the bandwidth and one connection, and each has a list of its own.
            assert {word for one in runs for word in one.words if "bwlimit" in word} == {f"--bwlimit={8000 // jobs}"}
            assert sshd.connections() == connections + 1
            lists = [Path(word) for one in runs for word in one.words if word.startswith("--files-from=")]
            assert {path.parent.name for path in lists} >= {f"job{number}" for number in range(jobs)}
        for spool in server.spools.values():
            assert_same_tree(below(replicas[1], spool), below(replicas[4], spool), dir_mtimes=False)
        assert_same_spools(server, replicas[4])
    assert_sound(server.conf, replicas[4])


# --- Connections that break


@dataclass
class Breaking:
    """A replica over ssh that is up to date, and runs whose connection breaks."""

    server: SampleServer
    replica: Path
    sshd: Sshd
    races: Races
    history: History

    def sync(self, *words: str, expect: tuple[int, ...] = (0,)) -> int:
        """Run, and return the exit code."""
        report = sync_server_here(
            *(self.server.conf, *ALL, *words, "-e", self.sshd.rsh, self.sshd.at(self.replica)), expect=expect
        )
        return int(report["exit"])

    def hang_up(self) -> str:
        """What kills all sessions."""
        assert self.sshd._process
        return HANG_UP.format(sshd=self.sshd._process.pid)

    def change(self, seed: int) -> None:
        """Let everything happen."""
        everything_happens(self.server, seed)
        self.history.remember(self.server.spool)

    def assert_consistent(self) -> None:
        """What an aborted run has left: whole messages of the source's, and indexes that have theirs."""
        there = below(self.replica, self.server.spool)
        self.history.assert_whole(there)
        assert_indexed_messages_exist(there)

    def assert_finished(self) -> None:
        """Nothing is left to be done."""
        assert_same_spools(self.server, self.replica)
        assert_sound(self.server.conf, self.replica)
        self.races.forget()
        self.sync()
        assert self.races.runs() == []


@pytest.fixture
def breaking(mortal_sshd: Sshd, tmp_path: Path, races: Races, monkeypatch: pytest.MonkeyPatch) -> Breaking:
    monkeypatch.setattr(session, "_LONGEST_PAUSE", 0.1)
    server, replica = SampleServer(tmp_path / "server"), tmp_path / "replica"
    replica.mkdir()
    found = Breaking(server, replica, mortal_sshd, races, History())
    found.history.remember(server.spool)
    found.sync()
    return found


def test_a_host_that_hangs_up_before_a_transfer(breaking: Breaking) -> None:
    """Before the first rsync of a run, the second, and so on to the last."""
    for number in range(10):
        breaking.change(number)
        breaking.races.forget()
        breaking.races.before(number, breaking.hang_up())
        code = breaking.sync("--retries=0", expect=(0, *CONNECTION_CODES))
        if len(breaking.races.runs()) <= number:
            break
        assert code
        breaking.assert_consistent()
    assert (code, number >= 4) == (0, True)
    breaking.assert_finished()


@pytest.mark.parametrize("retries", [0, 1])
def test_a_host_that_hangs_up_during_a_transfer(breaking: Breaking, retries: int) -> None:
    breaking.change(1)
    breaking.races.forget()
    later = HANG_UP_LATER.format(replica=str(breaking.replica), hang_up=breaking.hang_up())
    breaking.races.before(0, later)
    code = breaking.sync(f"--retries={retries}", "--bwlimit=400", expect=(0, *CONNECTION_CODES))
    assert (code == 0) == (retries > 0)
    if code:
        assert len(breaking.races.runs()) == 1
        breaking.assert_consistent()
        assert breaking.sync() == 0
    breaking.assert_finished()


def test_a_host_that_goes_away(breaking: Breaking) -> None:
    """It cannot be reached again by any retry, but on another day."""
    breaking.change(1)
    breaking.sshd.stop()
    breaking.sync("--retries=2", expect=tuple(CONNECTION_CODES))
    breaking.assert_consistent()
    breaking.change(2)
    breaking.sshd.start()
    breaking.sync()
    breaking.assert_finished()
