"""The index engine over a real sshd on loopback: several streams at once, and connections that break."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import pytest

import samplespool
from cyrsync.errors import CONNECTION_CODES
from cyrsync.far.frames import Encoder, Part
from cyrsync.sync import session
from support.inside import sync_server_here
from support.servers import SampleServer, assert_sound, below
from support.spool import leaves
from support.sshd import Sshd
from support.tree import assert_same_tree
from support.whole import History, assert_indexed_messages_exist

ALL = ("--delete", "--max-delete=100%")


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


def test_streams_side_by_side_make_the_same_replica(sshd: Sshd, tmp_path: Path) -> None:
    server = SampleServer(tmp_path / "server", partitions="default second")
    replicas = {jobs: tmp_path / f"replica{jobs}" for jobs in (1, 4)}
    for turn in range(2):
        if turn:
            everything_happens(server, turn)
        for jobs, replica in replicas.items():
            replica.mkdir(exist_ok=True)
            connections = sshd.connections()
            words = ("--jobs", str(jobs), "--bwlimit=8000", "-e", sshd.rsh, sshd.at(replica))
            report = sync_server_here(server.conf, *ALL, *words)
            assert (report["errors"], report["files"]["sent"]) == ([], report["files"]["planned"])
            assert report["rsync_runs"] == 0
            assert sshd.connections() == connections + 1
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
    history: History

    def sync(self, *words: str, expect: tuple[int, ...] = (0,)) -> int:
        """Run, and return the exit code."""
        report = sync_server_here(
            *(self.server.conf, *ALL, *words, "-e", self.sshd.rsh, self.sshd.at(self.replica)), expect=expect
        )
        return int(report["exit"])

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
        report = sync_server_here(self.server.conf, *ALL, "-e", self.sshd.rsh, self.sshd.at(self.replica))
        assert report["files"]["planned"] == 0


@pytest.fixture
def breaking(mortal_sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Breaking:
    monkeypatch.setattr(session, "_LONGEST_PAUSE", 0.1)
    server, replica = SampleServer(tmp_path / "server"), tmp_path / "replica"
    replica.mkdir()
    found = Breaking(server, replica, mortal_sshd, History())
    found.history.remember(server.spool)
    found.sync()
    return found


def hang_up_before(monkeypatch: pytest.MonkeyPatch, sshd: Sshd, number: int) -> list[Part]:
    """Kill all sessions before this part of a stream, counted from 0; return the parts as they are sent."""
    kept = Encoder.part
    parts: list[Part] = []

    def part(self: Encoder, part: Part) -> None:
        if len(parts) == number:
            sshd.hang_up()
        parts.append(part)
        kept(self, part)

    monkeypatch.setattr(Encoder, "part", part)
    return parts


def test_a_host_that_hangs_up_before_any_part_of_a_stream(breaking: Breaking, monkeypatch: pytest.MonkeyPatch) -> None:
    for turn, number in enumerate((0, 1, 2, 4, 7, 11, 1000)):
        breaking.change(turn)
        with monkeypatch.context() as patched:
            parts = hang_up_before(patched, breaking.sshd, number)
            code = breaking.sync("--retries=0", expect=(0, *CONNECTION_CODES))
        breaking.assert_consistent()
        assert bool(code) == (len(parts) > number)
    assert code == 0
    breaking.assert_finished()


@pytest.mark.parametrize("retries", [0, 1])
def test_a_host_that_hangs_up_is_tried_again(breaking: Breaking, retries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    breaking.change(1)
    with monkeypatch.context() as patched:
        hang_up_before(patched, breaking.sshd, 2)
        code = breaking.sync(f"--retries={retries}", expect=(0, *CONNECTION_CODES))
    assert (code == 0) == (retries > 0)
    if code:
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
