"""Clients of a real Cyrus never rest, and runs are killed: every index on the replica has its messages after each.

The clients are worse than any user's: folders change places and begin anew all the time.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.campaign import amount
from support.imapd import CyrusServer
from support.load import under_load
from support.sshd import Sshd
from support.tools import children, requires, wait_for
from support.tree import assert_same_tree, differences, run_cyrsync, snapshot, start_cyrsync

#: Seconds of runs, one after the other.
BUSY = amount(6.0, long=30.0)
#: Plain rsync gets so many runs to leave an index without its messages.
RSYNCS = 60
NAME = {
    "mailbox_legacy_dirs": "yes",
    "hashimapspool": "yes",
    "expunge_mode": "immediate",
    "delete_mode": "immediate",
}
UNIQUEID = {"mailbox_legacy_dirs": "no", "expunge_mode": "immediate", "delete_mode": "immediate"}
DELAYED = {"mailbox_legacy_dirs": "yes", "expunge_mode": "delayed", "delete_mode": "delayed"}
UNIQUEID_DELAYED = {"mailbox_legacy_dirs": "no", "expunge_mode": "delayed", "delete_mode": "delayed"}

Problem = dict[str, Any]


@dataclass(frozen=True)
class Engine:
    """How to sync a server to a directory or an address, and where its spool is below that directory then."""

    words: Callable[[CyrusServer, str], list[str]]
    spool: Callable[[CyrusServer, Path], Path]
    far: Callable[[int], bool]  # whether the run of this number goes over ssh
    leaves_nothing: bool  # a run that was let through leaves no folder in the making
    assert_same: Callable[[Path, Path], None]


def _walk(server: CyrusServer, address: str) -> list[str]:
    return [f"{server.spool}/", address]


def _index(server: CyrusServer, address: str) -> list[str]:
    return ["-C", f"{server.root}/imapd.conf", address]


def _assert_same_files(left: Path, right: Path) -> None:
    """Equal but for directories without a file, which are no mailboxes, and the times at which subfolders came.

    A Cyrus that is ended while it unlinks leaves message files that no record names: -C does not send those.
    """
    orphans = {
        os.fsencode(f"{problem['folder']}/{uid}.")
        for problem in problems(left)
        if problem["kind"] == "orphan"
        for uid in problem["uids"]
    }
    found = []
    for tree in (left, right):
        entries = {path: one for path, one in snapshot(tree, dir_mtimes=False).items() if path not in orphans}
        above = {path.rpartition(b"/")[0] for path, entry in entries.items() if entry.kind != "directory"}
        found.append({path: entry for path, entry in entries.items() if entry.kind != "directory" or path in above})
    assert differences(*found) == []


def _mirrored(server: CyrusServer, replica: Path) -> Path:
    return Path(f"{replica}{server.spool}")


ENGINES = {
    "walk": Engine(
        words=_walk,
        spool=lambda server, replica: replica,
        far=lambda number: number % 2 == 1,
        leaves_nothing=False,
        assert_same=assert_same_tree,
    ),
    # Another destination is another state, be it the same directory: so one way in all runs.
    "index": Engine(
        words=_index,
        spool=_mirrored,
        far=lambda number: False,
        leaves_nothing=True,
        assert_same=_assert_same_files,
    ),
    "index over ssh": Engine(
        words=_index,
        spool=_mirrored,
        far=lambda number: True,
        leaves_nothing=True,
        assert_same=_assert_same_files,
    ),
}


@dataclass
class Runs:
    """Runs of one engine, one after another; every third is killed."""

    engine: Engine
    server: CyrusServer
    replica: Path
    sshd: Sshd
    rng: random.Random
    number: int = 0
    seconds: float = 0.0  # that the last run took which was let go through

    @property
    def spool(self) -> Path:
        """The replica of the server's spool."""
        return self.engine.spool(self.server, self.replica)

    def one(self) -> None:
        """Run, kill it perhaps, and check the replica."""
        killed = self.number % 3 == 2
        code, said = self._run(kill_after=self._moment() if killed else None)
        found = problems(self.spool)
        print(f"run {self.number}: {code}, {len(found)} leftovers")
        assert code == 0 or killed, (code, said)
        if code != 0:
            # Another mailbox's cache, which is sent with the messages, may be there until the next run: it is derived,
            # and Cyrus compares the checksum of each of its records.
            found = [problem for problem in found if problem["kind"] != "cache"]
            harm = [problem for problem in found if not is_harmless(problem, not_mailboxes(found))]
        elif self.engine.leaves_nothing:
            harm = found
        else:
            harm = [problem for problem in found if not is_harmless(problem)]
        assert not harm, f"run {self.number} ({code}): {[(one, self._there(one)) for one in harm]}\n{said}"
        self.number += 1

    def last(self) -> None:
        """Run when all is quiet: nothing is left of what happened."""
        code, said = self._run(kill_after=None)
        assert code == 0, said
        assert not problems(self.spool)
        self.engine.assert_same(self.server.spool, self.spool)

    def _there(self, problem: Problem) -> list[list[str]]:
        """What is in a folder on the replica, and on the source."""
        folders = [tree / problem["folder"] for tree in (self.spool, self.server.spool)]
        return [sorted(path.name for path in folder.iterdir()) if folder.is_dir() else [] for folder in folders]

    def _moment(self) -> float:
        return self.rng.uniform(0, self.seconds)

    def _run(self, kill_after: float | None) -> tuple[int, str]:
        """Return the exit code of a run, and what it said; nothing that it started is left."""
        far = self.engine.far(self.number)
        address = self.sshd.at(f"{self.replica}/") if far else f"{self.replica}/"
        words = ["--delete", "--max-delete=100%", *(["-e", self.sshd.rsh] if far else [])]
        words += self.engine.words(self.server, address)
        began = time.monotonic()
        with start_cyrsync("sync", "--json", *words, own_group=True) as process:
            try:
                process.wait(kill_after)
                self.seconds = time.monotonic() - began
            except subprocess.TimeoutExpired:
                below = children(process.pid)
                self.rng.choice([process.kill, process.kill_group])()
                process.wait()
                wait_for(lambda: not any(map(is_alive, below)), seconds=30, name="what a killed run had started")
            done = process.complete(timeout=0)
        wait_for(lambda: not self.sshd.sessions(), seconds=30, name="the far end of a run")
        return done.returncode, done.stdout + done.stderr


def not_mailboxes(found: list[Problem]) -> frozenset[str]:
    """The folders among these that lack their header or their index: Cyrus opens none of them."""
    return frozenset(problem["folder"] for problem in found if lacks_metadata(problem))


def lacks_metadata(problem: Problem) -> bool:
    return bool(problem["detail"].endswith(": there is none"))


def is_harmless(problem: Problem, not_mailboxes: frozenset[str] = frozenset()) -> bool:
    """Messages without an index, and folders that are not yet mailboxes.

    A run that was killed leaves them, and one during which their folder went away: until the next.
    """
    return problem["kind"] == "orphan" or lacks_metadata(problem) or problem["folder"] in not_mailboxes


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def problems(tree: Path) -> list[Problem]:
    """What `verify` finds."""
    done = run_cyrsync("verify", "--content", "--json", tree)
    assert done.returncode in (0, 1) or not any(tree.rglob("cyrus.index")), done.stderr
    found: list[Problem] = json.loads(done.stdout)["problems"] if done.returncode in (0, 1) else []
    return found


def plain_rsyncs(server: CyrusServer, replica: Path) -> Iterator[list[Problem]]:
    """What is wrong after each of many runs of plain rsync."""
    for _ in range(RSYNCS):
        words = ["rsync", "-a", "--delete", f"{server.spool}/", f"{replica}/"]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        assert done.returncode in (0, 23, 24)
        yield [problem for problem in problems(replica) if not is_harmless(problem)]


@pytest.fixture
def seed() -> int:
    """A number that a failure tells."""
    number = int.from_bytes(os.urandom(4), "big")
    print(f"seed {number}")
    return number


@pytest.mark.parametrize(
    ("engine", "options"),
    [
        pytest.param(ENGINES["walk"], NAME, id="walk, name directories"),
        pytest.param(ENGINES["walk"], UNIQUEID, id="walk, uniqueid directories"),
        pytest.param(ENGINES["index over ssh"], NAME, id="index over ssh, name directories"),
        pytest.param(ENGINES["index"], UNIQUEID, id="index, uniqueid directories"),
        pytest.param(ENGINES["index over ssh"], DELAYED, id="index over ssh, name directories, delayed"),
        pytest.param(ENGINES["index"], UNIQUEID_DELAYED, id="index, uniqueid directories, delayed"),
    ],
)
def test_every_run_leaves_indexes_with_their_messages(
    cyrus_server: Callable[..., CyrusServer],
    open_dir: Path,
    sshd: Sshd,
    seed: int,
    engine: Engine,
    options: dict[str, str],
) -> None:
    requires("rsync", "cyr_expire")
    server = cyrus_server("server", **options)
    replica = open_dir / "replica"
    replica.mkdir()
    runs = Runs(engine, server, replica, sshd, random.Random(seed))
    with under_load(server, seed, expire=options["expunge_mode"] == "delayed"):
        deadline = time.monotonic() + BUSY
        while time.monotonic() < deadline or runs.number < 4:
            runs.one()
    runs.last()


def test_plain_rsync_does_harm_under_this_load(
    cyrus_server: Callable[..., CyrusServer], open_dir: Path, seed: int
) -> None:
    requires("rsync")
    server = cyrus_server("server", **NAME)
    with under_load(server, seed, expire=False):
        assert any(plain_rsyncs(server, open_dir / "replica")), "this was no load"
