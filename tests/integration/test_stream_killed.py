"""Whatever happens to mailboxes, and wherever a run of `sync -C` is killed: the replica is right, and gets whole."""

from __future__ import annotations

import random
from pathlib import Path

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

import samplespool
from support.campaign import amount
from support.dying import Death, run_and_die
from support.inside import sync_server_here
from support.mailboxes import Mailboxes
from support.memory import in_memory
from support.servers import SampleServer, assert_sound, below
from support.tree import assert_same_tree, snapshot
from support.truth import Truth, assert_kept, by_path

#: More than any message; and less, so that every mailbox is sent by way of an agent.
PORTIONS = (16 << 20, 1)
#: A run that sends all has some hundred steps, one that sends a message a few dozen, most of them in one process.
STEPS, FEW_STEPS = (st.one_of(st.integers(0, most // 5), st.integers(0, most)) for most in (150, 50))
JOBS = st.sampled_from([1, 1, 2])


class Killed(Mailboxes):
    """A server, and a replica on which runs die."""

    @initialize(seed=st.integers(0, 2**16))
    def begin(self, seed: int) -> None:
        self.memory = in_memory()
        self.root = self.memory.__enter__()
        self.rng = random.Random(seed)
        self.server = SampleServer(self.root / "server", messages=30, folder_count=6, partitions="default second")
        self.spools = {spool: below(self.root / "replica", spool) for spool in self.server.spools.values()}
        self.subscriptions = self.root / "server/conf/user/j/joe.sub"
        self.replica = self.root / "replica"
        self.replica.mkdir()
        self.truth = Truth()

    def teardown(self) -> None:
        try:
            if hasattr(self, "root"):
                self.sync(full=False)
                assert_sound(self.server.conf, self.replica)
        finally:
            if hasattr(self, "memory"):
                self.memory.__exit__(None, None, None)

    def words(self, jobs: int, *more: str) -> list[str | Path]:
        """The words of a run; it tries nothing twice, as it would die at the same step."""
        always = ("--delete", "--max-delete=100%", "--retries=0", f"--jobs={jobs}")
        return ["-C", self.server.conf, *always, *more, "--state", self.root / "state", self.replica]

    @rule()
    def deliver_much(self) -> None:
        samplespool.deliver(self.some(), 30, rng=self.rng, size=80)

    @rule(count=st.integers(1, 9))
    def expunge(self, count: int) -> None:
        samplespool.expunge(self.some(), count, rng=self.rng)

    @precondition(lambda self: self.several())
    @rule(count=st.integers(1, 9))
    def move(self, count: int) -> None:
        samplespool.move(*self.two(), count, rng=self.rng)

    @rule()
    def move_to_partition(self) -> None:
        """The mailbox alone, under the same name."""
        folder = self.some()
        spool, other = sorted(self.spools, key=lambda spool: spool not in folder.parents)
        target = other / folder.relative_to(spool)
        if not target.exists() and len(self.server.folders()) > 2:
            target.mkdir(parents=True)
            for path in [path for path in folder.iterdir() if not path.is_dir()]:
                path.rename(target / path.name)
            self.tidy()

    @rule()
    def subscribe(self) -> None:
        self.subscriptions.parent.mkdir(parents=True, exist_ok=True)
        self.subscriptions.write_text(f"user.joe.{self.rng.random()}\t\n")

    @rule(step=STEPS, portion=st.sampled_from(PORTIONS), jobs=JOBS, alone=st.booleans())
    def die(self, step: int, portion: int, jobs: int, alone: bool) -> None:
        """With it, or without it, its agents die."""
        self.run_and_die(Death(step, near=True, alone=alone, portion=portion), jobs)

    @rule(step=FEW_STEPS, jobs=JOBS)
    def die_with_an_agent(self, step: int, jobs: int) -> None:
        self.run_and_die(Death(step, near=False, alone=False, portion=1), jobs)

    @rule(step=FEW_STEPS, portion=st.sampled_from(PORTIONS), jobs=JOBS)
    def lose_an_agent(self, step: int, portion: int, jobs: int) -> None:
        self.run_and_die(Death(step, near=False, alone=True, portion=portion), jobs)

    def run_and_die(self, death: Death, jobs: int) -> None:
        self.look()
        before = {spool: by_path(there) for spool, there in self.spools.items()}
        source = snapshot(self.server.root)
        run_and_die(death, *self.words(jobs))
        assert snapshot(self.server.root) == source
        for spool, there in self.spools.items():
            self.truth.check(there)
            assert_kept(before[spool], by_path(there), by_path(spool))

    @rule(full=st.booleans())
    def sync(self, full: bool) -> None:
        """What killed runs have left is finished, and the next one has nothing to do."""
        self.look()
        sync_server_here(*self.words(1, *["--full"] * full)[1:])
        for spool, there in self.spools.items():
            self.truth.check(there)
            assert_same_tree(spool, there, dir_mtimes=False)
        conf = self.root / "server/conf"
        there = below(self.replica, conf)
        assert (conf / "mailboxes.db").read_bytes() == (there / "mailboxes.db").read_bytes()
        if (conf / "user").exists():
            assert_same_tree(conf / "user", there / "user", dir_mtimes=False)
        assert sync_server_here(*self.words(1)[1:])["files"]["planned"] == 0

    def look(self) -> None:
        """Have the server's list name its mailboxes, each in one partition, and remember them."""
        first, second = self.spools
        for folder in samplespool.folders(second):
            if (first / folder.relative_to(second) / "cyrus.index").exists():
                samplespool.delete_folder(folder)
        self.tidy()
        self.server.record()
        for spool in self.spools:
            self.truth.remember(spool)


# Without shrinking: each step starts processes.
Killed.TestCase.settings = settings(
    max_examples=amount(8, long=400),
    stateful_step_count=15,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
TestKilled = Killed.TestCase
