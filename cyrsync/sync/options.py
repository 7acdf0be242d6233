"""What a run is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cyrsync.ends.link import DEFAULT_PATIENCE, Patience
from cyrsync.rsync.rate import Rate
from cyrsync.state.lock import state_path
from cyrsync.sync.guard import MaxDelete
from cyrsync.sync.part import Part
from cyrsync.sync.policy import Policy


@dataclass(frozen=True, slots=True)
class History:
    """How a history is kept.

    A mailbox's state is not kept less than `spacing` seconds after another one was.
    """

    spacing: int = 0


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is asked for, beside its two addresses."""

    delete: bool = False
    max_delete: MaxDelete | None = None
    dry_run: bool = False
    part: Part = field(default_factory=Part)
    policy: Policy = field(default_factory=Policy)
    rsh: str | None = None
    rsync_path: str | None = None
    compress: bool = False
    words: tuple[str, ...] = ("-a",)  # for every rsync
    bwlimit: Rate | None = None
    one_file_system: bool = False  # no other may be mounted in either tree
    trial: tuple[str, ...] = ()  # what rsync has to accept before anything is touched; () for no doubt
    connection: tuple[str, ...] = ()  # for an rsync that only looks
    retries: int = 3
    wait: float = 0.0
    jobs: int = 1
    overwrite: bool = False  # a replica that is another's, was promoted, or has a Cyrus at work on it
    patience: Patience = DEFAULT_PATIENCE
    state: Path = field(default_factory=state_path)  # the directory of what outlives a run
    from_replica: bool = False  # the source may be one
    history: History | None = None
    maps: tuple[tuple[bytes, bytes], ...] = ()  # directories of a server, and where they have their replicas
    full: bool = False  # names prove nothing, and nothing that is known of the replica: all of that is compared
    with_conf: bool = True  # of a server, not its partitions alone

    def words_of_job(self) -> tuple[str, ...]:
        """Return the words for the rsync of one job, with its share of the bandwidth."""
        return (*self.words, *(self.bwlimit.share(self.jobs).words if self.bwlimit else ()))
