"""What happens to mailboxes, at random, for tests of what is right whatever has happened."""

from __future__ import annotations

import random
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

import samplespool
from support.servers import SampleServer

NAMES = [f"user/{user}{path}" for user in ("ann", "joe") for path in ("", "/Sent", "/Sent/2020", "/Trash")]


class Mailboxes(RuleBasedStateMachine):
    """Those of a server, which is there before anything else happens."""

    server: SampleServer
    rng: random.Random

    def some(self) -> Path:
        return self.rng.choice(self.server.folders())

    def two(self) -> list[Path]:
        return self.rng.sample(self.server.folders(), 2)

    def several(self) -> bool:
        """Whether there are mailboxes to spare."""
        return len(self.server.folders()) > 2

    def free(self) -> list[Path]:
        paths = (self.server.folder(name) for name in NAMES)
        return [path for path in paths if not path.exists()]

    def tidy(self) -> None:
        """As Cyrus does it, directories that nothing is left in go."""
        for spool in self.server.spools.values():
            for folder in sorted(spool.glob("*/**/"), reverse=True):
                if not any(folder.iterdir()):
                    folder.rmdir()

    @rule(count=st.integers(1, 4))
    def deliver(self, count: int) -> None:
        samplespool.deliver(self.some(), count, rng=self.rng)

    @rule()
    def flag(self) -> None:
        samplespool.set_flags(self.some(), rng=self.rng)

    @precondition(lambda self: self.free())
    @rule(count=st.integers(0, 5))
    def create(self, count: int) -> None:
        spool = self.server.spool
        name = "/".join(self.rng.choice(self.free()).relative_to(spool).parts[1:])
        samplespool.deliver(samplespool.create_folder(spool, name, rng=self.rng), count, rng=self.rng)

    @precondition(lambda self: self.several())
    @rule()
    def delete(self) -> None:
        samplespool.delete_folder(self.some())
        self.tidy()

    @rule(count=st.integers(0, 8))
    def recreate(self, count: int) -> None:
        samplespool.recreate_folder(self.some(), count, rng=self.rng)

    @precondition(lambda self: self.free())
    @rule()
    def rename(self) -> None:
        """With all that is below it, as renaming a user does."""
        folder, target = self.some(), self.rng.choice(self.free())
        if folder not in target.parents:
            target.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(target)
            self.tidy()

    @precondition(lambda self: self.several())
    @rule()
    def swap(self) -> None:
        one, other = self.two()
        if one not in other.parents and other not in one.parents:
            samplespool.swap(one, other)
