"""Whatever happens to mailboxes: both engines make the same replica of it."""

from __future__ import annotations

import random
from pathlib import Path

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

import samplespool
from cyrsync.cyrus.server import config
from cyrsync.ends import address
from cyrsync.server.run import ServerRun
from cyrsync.spool import run as walk
from cyrsync.sync.guard import MaxDelete
from cyrsync.sync.options import Options
from cyrsync.sync.session import Session
from support.campaign import amount
from support.mailboxes import Mailboxes
from support.memory import in_memory
from support.servers import SampleServer, assert_sound, below
from support.tree import Entry, differences, snapshot

OPTIONS = Options(delete=True, max_delete=MaxDelete(10**6, percent=False), with_conf=False)


def contents(root: Path) -> dict[bytes, Entry]:
    """All but directories that hold nothing: of those the indexes know nothing."""
    found = snapshot(root, dir_mtimes=False)
    files = [path for path, entry in found.items() if entry.kind != "directory"]
    above = {path[:at] for path in files for at in range(len(path)) if path[at : at + 1] == b"/"}
    return {path: entry for path, entry in found.items() if entry.kind != "directory" or path in above}


class Engines(Mailboxes):
    """One spool, and a replica that each engine keeps."""

    @initialize(seed=st.integers(0, 2**16))
    def begin(self, seed: int) -> None:
        self.memory = in_memory()
        self.root = self.memory.__enter__()
        self.rng = random.Random(seed)
        self.server = SampleServer(self.root / "server", messages=30, folder_count=4)
        with self.server.conf.open("a") as stream:
            stream.write("expunge_mode: immediate\n")
        self.spool = self.server.spool
        self.walked, self.indexed = self.root / "walked", self.root / "indexed"
        self.indexed.mkdir()

    def teardown(self) -> None:
        try:
            if hasattr(self, "root"):
                self.sync_with_both()
                assert_sound(self.server.conf, self.indexed)
        finally:
            if hasattr(self, "memory"):
                self.memory.__exit__(None, None, None)

    @rule()
    def deliver_much(self) -> None:
        """So much that a new mailbox goes as a whole."""
        samplespool.deliver(self.some(), 120, rng=self.rng, size=80)

    @rule(count=st.integers(1, 200))
    def expunge(self, count: int) -> None:
        samplespool.expunge(self.some(), count, rng=self.rng)

    @rule(count=st.integers(1, 50), mode=st.sampled_from(["delayed", "semidelayed", "immediate"]), moves=st.booleans())
    def copy_or_move(self, count: int, mode: str, moves: bool) -> None:
        """Some messages, to any mailbox, also to the one that has them."""
        folder, to = self.some(), self.some()
        there = sorted(int(path.name[:-1]) for path in folder.glob("[0-9]*."))
        uids = sorted(self.rng.sample(there, min(count, len(there))))
        samplespool.copy(folder, uids, to)
        if moves:
            samplespool.remove(folder, uids, mode=mode)

    @rule()
    def sync_with_both(self) -> None:
        self.server.record()
        conf = str(self.server.conf)
        where = address.Address(conf, conf.encode())
        index = Session(where, address.parse(str(self.indexed)), OPTIONS, engine="index")
        attempt = ServerRun(index, config.read(conf)).attempt
        walked = Session(address.parse(f"{self.spool}/"), address.parse(f"{self.walked}/"), OPTIONS)
        for result in (walk.run(walked), index.execute(attempt)):
            assert (result.exit, result.errors, result.warnings) == (0, [], [])
        assert not differences(contents(self.walked), contents(below(self.indexed, self.spool)))


# Without shrinking: each step starts processes.
Engines.TestCase.settings = settings(
    max_examples=amount(8, long=100),
    stateful_step_count=12,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
TestEngines = Engines.TestCase
