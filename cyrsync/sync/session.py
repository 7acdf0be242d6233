"""One run: its counts, and what is around its work: the lock, the directories, the attempts.

The work itself is handed in: `execute` is given a function that does all of it once.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from cyrsync.ends.address import Address, absolute, identity
from cyrsync.ends.own_directory import remove_tree
from cyrsync.errors import ConnectionFailed, CyrsyncError, Exit, ReplicaFull, WatchedError, WrongAnswer, error_text
from cyrsync.rsync.jobs import Jobs
from cyrsync.state.lock import run_key, run_lock
from cyrsync.sync.extended import Kinds
from cyrsync.sync.guard import DeleteLimit
from cyrsync.sync.options import Options
from cyrsync.sync.phases import Phases
from cyrsync.sync.progress import NoProgress, Reporter
from cyrsync.sync.result import RunResult
from cyrsync.sync.scratch import staging_directory
from cyrsync.text import printable

_LONGEST_PAUSE = 60.0  # seconds between two tries
_PATIENCE = 10.0  # seconds that it takes a process at the far end to see that its connection is lost


class Session:
    """What one run has and counts; all of its steps get this."""

    #: This run's own, for as long as it executes; staged metadata has one apart, in memory if there is room.
    directory: Path
    staging_directory: Path

    def __init__(
        self,
        source: Address,
        replica: Address,
        options: Options,
        progress: Reporter | None = None,
        *,
        engine: str = "walk",
    ) -> None:
        """`engine`: how changes are found."""
        self.source = source
        self.replica = replica
        self.options = options
        self.progress = progress or NoProgress()
        self.engine = engine
        self.partitions: tuple[str, ...] = ()  # of a whole server, those that its imapd.conf names
        self.result = self._new_result()
        self.phases = Phases()
        #: Counts every deletion, in all attempts, before it happens.
        self.limit = DeleteLimit(options.max_delete, asked=options.delete)
        #: ACLs and extended attributes that rsync is to keep, and that staged metadata therefore has.
        self.kinds = Kinds(options.policy.preserve.acls, options.policy.preserve.xattrs)
        self.jobs = Jobs(options.jobs)
        self.full: ReplicaFull | None = None  # once there was no room
        self.watched = ""  # who does already what there is to do
        self.deadline = 0.0  # of waiting for others, on the monotonic clock
        #: What names the replica, and the pair of source and replica, however they are spelled.
        self.replica_identity = identity(replica)
        self.pair = run_key(identity(source), self.replica_identity)
        #: And what names the lock and the state: shards have their own, as they run side by side.
        shard = options.part.shard
        self.key = f"{self.pair}-{shard.number}of{shard.of}" if shard else self.pair

    def execute(
        self, attempt: Callable[[], None], refuse: Callable[[CyrsyncError], None] = lambda _: None
    ) -> RunResult:
        """Have the work done, with the lock held, and again where a connection was lost; errors are in the result.

        `refuse` is shown an error that ends it, and may raise another one in its place.
        """
        began = time.monotonic()
        self.deadline = began + self.options.wait
        try:
            with self.directories():
                self._attempts(attempt)
        except WatchedError as error:
            self.watched = str(error)
        except CyrsyncError as error:
            refuse(error)
            self.result.errors.append(str(error))
            self.result.exit = error.code
        except OSError as error:
            # Ours are the list and the state: rsync and the agents tell of their own.
            text = error_text(error) if error.filename else f"{self.options.state}: {error.strerror}"
            self.result.errors.append(text)
            self.result.exit = Exit.FILE_IO
        self.result.warnings = list(dict.fromkeys(self.result.warnings))
        self.result.seconds = round(time.monotonic() - began, 3)
        self.result.seconds_by_phase = self.phases.seconds()
        return self.result

    def start_over(self) -> None:
        """Forget what was found, but keep the warnings and the times."""
        before, self.result = self.result, self._new_result()
        self.result.rsync_runs, self.result.bytes_sent = before.rsync_runs, before.bytes_sent
        self.result.warnings, self.result.roots = before.warnings, before.roots

    def note_withheld(self) -> None:
        """Report what the limit keeps from being deleted, by now."""
        if self.limit.reason:
            if not self.result.withheld:
                self.result.errors.append(self.limit.reason)
            self.result.withheld = self.limit.left()

    def _new_result(self) -> RunResult:
        return RunResult(
            source=self.source.text,
            destination=self.replica.text,
            engine=self.engine,
            dry_run=self.options.dry_run,
            started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            part=self.options.part.words(),
        )

    @contextmanager
    def directories(self, doing: str = "") -> Iterator[None]:
        """Hold the lock and make the directories that are this pair's alone; a dry run needs no lock.

        The lock says what it is held for, if not for an ordinary run.
        """
        if self.options.dry_run:
            with tempfile.TemporaryDirectory(prefix="cyrsync-") as temporary:
                self.directory = Path(temporary)
                self.staging_directory = self.directory / "staging"
                yield
            return
        pair = printable(absolute(self.source)), printable(absolute(self.replica))
        with run_lock(self.options.state, self.key, self.options.wait, doing, pair):
            self.directory = self.options.state / self.key
            if self.directory.exists():  # a killed run left it
                from cyrsync.rsync.driver import await_orphans  # what few runs need is not loaded by all

                await_orphans(self.directory)
                self._be_patient()
                remove_tree(self.directory)
            self.directory.mkdir(mode=0o700)
            try:
                where = (self.options.state, self.key, self.directory / "staging")
                with staging_directory(*where, self.kinds) as self.staging_directory:
                    yield
            finally:
                remove_tree(self.directory)

    def within(self, other: Session) -> Session:
        """Use the lock and the directories of another session of this pair; return this session."""
        self.directory, self.staging_directory = other.directory, other.staging_directory
        self.jobs = other.jobs
        self.deadline = time.monotonic() + self.options.wait
        return self

    def _attempts(self, attempt: Callable[[], None]) -> None:
        for number in range(self.options.retries + 1):
            self.full = None
            try:
                attempt()
                return
            except ConnectionFailed as error:
                if number == self.options.retries or isinstance(error, WrongAnswer):
                    raise
                time.sleep(min(2.0**number, _LONGEST_PAUSE))
                self._be_patient()
                self.start_over()

    def _be_patient(self) -> None:
        """Wait until processes of ours at the far end may have noticed that the connection is lost."""
        self.deadline = max(self.deadline, time.monotonic() + _PATIENCE)
