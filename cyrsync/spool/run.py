"""One run, from two addresses to a result: list both trees, plan, guard, transfer, delete."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.ends.address import Address, identity
from cyrsync.ends.both import BothSides
from cyrsync.ends.side import Side, refuse_promoted, token_of
from cyrsync.errors import (
    ConnectionFailed,
    CyrsyncError,
    Exit,
    GuardError,
    LockedError,
    ReplicaFull,
    UnusableError,
    WrongAnswer,
    error_text,
)
from cyrsync.far.descent import Descent
from cyrsync.far.extended import can_read
from cyrsync.far.folder import Folder, join
from cyrsync.rsync import features
from cyrsync.rsync.driver import Ends, Rsync, await_orphans, hint
from cyrsync.rsync.jobs import Jobs
from cyrsync.spool import ahead, room
from cyrsync.spool.by_index import Doubtful, replanned
from cyrsync.spool.carry import carry, make_room
from cyrsync.spool.staging import Staging
from cyrsync.spool.steps import Transfer
from cyrsync.spool.taker import Taker, batches
from cyrsync.spool.walk_engine import WalkEngine
from cyrsync.state.lock import run_key, run_lock, state_directory
from cyrsync.sync import direction, known_roots, mounts
from cyrsync.sync.extended import Extended, Kinds
from cyrsync.sync.folder_plan import FolderPlan, State
from cyrsync.sync.guard import DeleteLimit
from cyrsync.sync.options import Options
from cyrsync.sync.ownership import CUT_OFF, WalkOwnership, hold
from cyrsync.sync.phases import Phases
from cyrsync.sync.policy import Policy
from cyrsync.sync.progress import NoProgress, Reporter
from cyrsync.sync.result import FileCounts, RunResult
from cyrsync.sync.scratch import staging_directory
from cyrsync.text import path_text

_FSYNC = "--fsync"
_LONGEST_PAUSE = 60.0  # seconds between two tries
_PATIENCE = 10.0  # seconds that it takes a process at the far end to see that its connection is lost
_LOST_ATTRIBUTES = (
    "ACLs and extended attributes of header, index, expunge and annotations are not kept: "
    "Python reads and sets them on Linux alone"
)
#: So many of what is all alike are named.
_FEW = 5
_UNKNOWN = (State.UNREADABLE, State.VANISHED)


@dataclass(slots=True)
class Planned:
    """A whole plan, with what was counted while it was made."""

    plans: list[FolderPlan] = field(default_factory=list)
    in_the_way: bool = False
    links: list[bytes] = field(default_factory=list)  # of the source
    indexed: bool = False  # the source has an index in some folder
    cyrus_folders: int = 0  # of the source
    gone_cyrus_folders: int = 0  # of the replica alone
    all_new: bool = True  # the replica has none of the folders, nor others, and all could be read


class Run:
    """Brings the replica up to date with the source."""

    #: Whether what rsync prints goes to the user as it is.
    verbatim = False
    #: How changes are found.
    engine = "walk"
    #: Of a whole server, those that its imapd.conf names.
    partitions: tuple[str, ...] = ()

    def __init__(self, source: Address, replica: Address, options: Options, progress: Reporter | None = None) -> None:
        self.source = source
        self.replica = replica
        self.options = options
        self.progress = progress or NoProgress()
        self.result = self._new_result()
        self.phases = Phases()
        #: Counts every deletion, in all attempts, before it happens.
        self.limit = DeleteLimit(options.max_delete, asked=options.delete)
        self._numbers: Mapping[str, int | None] = {}  # of owners on the replica's side
        #: ACLs and extended attributes that rsync is to keep, and that staged metadata therefore has.
        self.kinds = Kinds(options.policy.acls, options.policy.xattrs)
        self._jobs = Jobs(options.jobs)
        self._cut_off = False  # a power cut ended a run that was writing to the replica
        self.full: ReplicaFull | None = None  # once there was no room
        self._deadline = 0.0  # of waiting for others, on the monotonic clock
        #: What names the replica, and the pair of source and replica, however they are spelled.
        self.replica_identity = identity(replica)
        self.key = run_key(identity(source), self.replica_identity)

    def execute(self) -> RunResult:
        """Run, with the lock held and lost connections tried again; errors that end it are in the result."""
        began = time.monotonic()
        self._deadline = began + self.options.wait
        try:
            with self._directory() as directory:
                self._attempts(directory)
        except CyrsyncError as error:
            self._fail(error)
        except OSError as error:
            # Ours are the list and the state: rsync and the agents tell of their own.
            self.result.errors.append(error_text(error) if error.filename else f"{state_directory()}: {error.strerror}")
            self.result.exit = Exit.FILE_IO
        self.result.warnings = list(dict.fromkeys(self.result.warnings))
        self.result.seconds = round(time.monotonic() - began, 3)
        self.result.seconds_by_phase = self.phases.seconds()
        return self.result

    def _fail(self, error: CyrsyncError) -> None:
        self.result.errors.append(str(error))
        self.result.exit = error.code

    def _new_result(self) -> RunResult:
        return RunResult(
            source=self.source.text,
            destination=self.replica.text,
            engine=self.engine,
            dry_run=self.options.dry_run,
            started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )

    @contextmanager
    def _directory(self) -> Iterator[Path]:
        """Hold the lock and give the directory that is this pair's alone; a dry run needs no lock."""
        if self.options.dry_run:
            with tempfile.TemporaryDirectory(prefix="cyrsync-") as temporary:
                self.staging_directory = Path(temporary) / "staging"
                yield Path(temporary)
            return
        with run_lock(self.key, self.options.wait):
            directory = state_directory() / self.key
            if directory.exists():  # a killed run left it
                await_orphans(directory)
                self._be_patient()
                shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(mode=0o700)
            try:
                where = (state_directory(), self.key, directory / "staging")
                with staging_directory(*where, self.kinds) as self.staging_directory:
                    yield directory
            finally:
                shutil.rmtree(directory, ignore_errors=True)

    def _attempts(self, directory: Path) -> None:
        for attempt in range(self.options.retries + 1):
            self.full = None
            try:
                self._attempt(directory)
                return
            except ConnectionFailed as error:
                if attempt == self.options.retries or isinstance(error, WrongAnswer):
                    raise
                time.sleep(min(2.0**attempt, _LONGEST_PAUSE))
                self._be_patient()
                before, self.result = self.result, self._new_result()
                self.result.rsync_runs, self.result.bytes_sent = before.rsync_runs, before.bytes_sent
                self.result.warnings = before.warnings

    def _be_patient(self) -> None:
        """Give what is left of a run of ours at the far end the time to see that nobody listens any more."""
        self._deadline = max(self._deadline, time.monotonic() + _PATIENCE)

    def _attempt(self, directory: Path) -> None:
        self.limit.begin()
        hold = None if self.options.dry_run else self._hold
        options = self.options
        far = (options.rsh, options.connection, directory, hold, options.patience)
        with BothSides(self.source, self.replica, *far) as sides:
            self._check_direction(sides)
            name = known_roots.name_of(self.replica, self.replica.path)
            known_roots.check(name, sides.replica_status, anew=self.options.full)
            self.result.roots[name] = os.fsdecode(sides.replica_status.root)
            if self.options.one_file_system:
                mounts.check(self.source, sides.source, sides.source_status.root)
                mounts.check(self.replica, sides.replica, sides.replica_status.root)
            self._sync(sides, directory)

    def _hold(self, side: Side) -> str:
        """Have the replica alone, if there is one; return the boot of its host."""
        host, overwrite = self.replica.host, self.options.overwrite
        return hold(side, [self.replica.path], host, self._deadline, overwrite=overwrite).boot

    def _sync(self, sides: BothSides, directory: Path) -> None:
        self._cut_off = WalkOwnership(sides.replica.writer, sides.replica_status, sides.boot).cut_off
        if self._cut_off:
            self.result.warnings.append(f"{self.replica.text}: {CUT_OFF}: all messages are compared")
        with self.phases.phase("scan"):
            planned = self._plan(sides)
        self._guard(planned)
        if self._acts():
            with self.phases.phase("transfer"):
                self._carry_out(planned, sides, directory)
        if self.full:
            raise self.full
        self.result.exit = self._exit_code()

    def _check_direction(self, sides: BothSides) -> None:
        """Refuse to write where there may be mail that the source has not."""
        status = sides.replica_status
        token = token_of(status)
        if not self.options.from_replica:
            direction.refuse_replica(sides.source_status)
        if not self.options.overwrite:
            if token:
                refuse_promoted(token, status)
            self.result.warnings += direction.refuse_cyrus(sides.replica, [status.root])

    def _acts(self) -> bool:
        return not self.options.dry_run

    def _plan(self, sides: BothSides) -> Planned:
        """List both trees and compare them; once more where owners turn up whose numbers there were not asked for."""
        self._numbers = sides.replica.numbers(sides.names_of_owner())
        planned, names = self._compare(sides)
        unknown = {name for name in names if not _tells(self._numbers, name)}
        numbers = sides.replica.numbers(unknown) if unknown else {}
        if numbers:
            self._numbers = {**self._numbers, **numbers}
            self.result = self._new_result()
            self.limit.begin()
            planned, _ = self._compare(sides)
        self.result.warnings += links_warning(sides, planned.links)
        return planned

    def _compare(self, sides: BothSides) -> tuple[Planned, set[str]]:
        """Return the plan, and the names of owners that files on the replica do not have."""
        policy = self._policy(sides)
        engine = WalkEngine(policy, self._doubts, takes=bool(sides.source.under_locks))
        planned, counts = Planned(), self.result
        for plan in engine.plans(*sides.folders(self.options.users)):
            if plan.state in _UNKNOWN and not plan.path:
                raise UnusableError(f"{self.source.text}: it cannot be read: run cyrsync as its owner, or as root")
            self.limit.listed(plan.path, plan)
            counts.add(plan)
            planned.all_new = planned.all_new and (plan.state is State.NEW or not plan.path)
            if plan.state is State.GONE:
                planned.gone_cyrus_folders += plan.is_cyrus
            else:
                planned.cyrus_folders += plan.is_cyrus
                planned.indexed = planned.indexed or plan.incarnation is not None
            if plan.state is State.UNSEEN and plan.problem:
                counts.errors.append(self._unseen(plan))
            if plan.state is State.UNREADABLE:
                reason = hint(os.strerror(plan.problem))
                counts.errors.append(
                    f"{path_text(plan.path)}: cannot be read; nothing below it is sent or deleted: {reason}"
                )
            if plan.sends() or plan.deletes():
                planned.plans.append(plan)
            self.progress.scan(counts.folders.seen, counts.messages.seen)
        for plan in engine.spare(planned.plans):
            self.limit.count(plan.path, plan)
        self._ask_indexes(engine.doubtful, planned, sides, policy)
        planned.in_the_way = engine.in_the_way
        planned.links = engine.links
        return planned, engine.names_in_doubt

    def _ask_indexes(self, doubtful: list[Doubtful], planned: Planned, sides: BothSides, policy: Policy) -> None:
        """Plan folders anew whose messages are others by what both indexes say."""
        questions = [one.question for one in doubtful]
        theirs = sides.replica.digests(sides.replica_status.root, questions) if questions else {}
        ours = sides.source.digests(sides.source_status.root, questions) if theirs else {}
        fresh = {one.plan.path: (one.plan, plan) for one in doubtful if (plan := replanned(one, ours, theirs, policy))}
        for old, plan in fresh.values():
            self.limit.replan(plan.path, plan)
            self.result.revise(old, plan)
        planned.plans = [fresh[plan.path][1] if plan.path in fresh else plan for plan in planned.plans]

    def _unseen(self, plan: FolderPlan) -> str:
        reason = os.strerror(plan.problem)
        if not plan.path:
            raise UnusableError(f"{self.replica.text}: it cannot be listed: {reason}")
        return f"{path_text(plan.path)}: cannot be listed on the replica: {reason}; nothing in it is sent or deleted"

    def _doubts(self, source: Folder, replica: Folder) -> bool:
        """Tell whether a folder's messages are to be compared, whatever their names say."""
        return self.options.full or self._cut_off

    def _policy(self, sides: BothSides) -> Policy:
        daemon = self.source.daemon or self.replica.daemon
        return replace(self.options.policy, rights=sides.replica.rights, numbers=self._numbers, whole_seconds=daemon)

    def _guard(self, planned: Planned) -> None:
        """Refuse a source that is no spool; withhold deletions that are too many."""
        if not planned.cyrus_folders:
            raise GuardError(
                f"{self.source.text}: no Cyrus folder in it{for_users(self.options.users)}: "
                "is this the spool, and is its partition mounted?"
            )
        self.limit.decide()
        self._note_withheld()

    def _note_withheld(self) -> None:
        """Report what the limit keeps from being deleted, by now."""
        if self.limit.reason:
            if not self.result.withheld:
                self.result.errors.append(self.limit.reason)
            self.result.withheld = self.limit.left()

    def _carry_out(self, planned: Planned, sides: BothSides, directory: Path) -> None:
        """Transfer and delete; a run that finds nothing starts no rsync, and does not even ask for one."""
        if not (planned.plans or self._cut_off):
            return
        rsync = None
        sends = any(plan.sends() for plan in planned.plans) or not sides.replica.writer
        if sends or self.options.trial:
            rsync = self._rsync(sides, directory)
            self._try(rsync)
        ownership = None if self.options.dry_run else self._own(sides)
        self.result.files = FileCounts()
        try:
            if rsync and self._goes_ahead(planned, sides, rsync):
                self._copy_ahead(planned, sides, rsync)
            extended = self._extended(sides)
            if self.kinds and sides.source.under_locks and not extended:
                self.result.warnings.append(_LOST_ATTRIBUTES)
            policy = self.options.policy
            staging = Staging(self.staging_directory, policy.numeric_ids, extended, policy.rules.below)
            for batch in batches(planned.plans):
                self._carry_out_batch(batch, planned, sides, rsync, staging)
                staging.clear()
        finally:
            self._note_withheld()
            if rsync:
                self.result.rsync_runs += rsync.runs
        if not self.options.dry_run:
            sides.replica.to_disk([sides.replica_status.root])
        if ownership:
            compared = (self.options.full or self._cut_off) and not (self.options.users or self.result.errors)
            ownership.end(compared=compared and not (self.result.files.failed or self.full))

    def _extended(self, sides: BothSides) -> Extended | None:
        """Return what gives staged metadata the attributes that rsync is to keep; None for none, or where none can."""
        if not (self.kinds and can_read() and sides.source.rights.attributes):
            return None
        return Extended(self.kinds, Descent(sides.source_status.root).where if self.source.local else None)

    def _try(self, rsync: Rsync) -> None:
        if self.options.trial:
            rsync.try_words(self.options.trial)

    def _own(self, sides: BothSides) -> WalkOwnership:
        """Make the replica's root, if there is none, and say there that a run is writing."""
        writer = sides.replica.writer
        if writer and not sides.replica_status.exists:
            writer.make(sides.replica_status.root)
            sides.hold()
            if sides.replica_status.token or not sides.replica_status.bare:
                raise LockedError(f"{self.replica.text}: another run has begun to fill it meanwhile: run again")
        ownership = WalkOwnership(sides.replica.writer, sides.replica_status, sides.boot)
        warning = ownership.begin()
        self.result.warnings += [warning] if warning else []
        return ownership

    def _goes_ahead(self, planned: Planned, sides: BothSides, rsync: Rsync) -> bool:
        """Tell whether this is a first copy of a whole tree that can be looked at once more afterwards."""
        options = self.options
        whole = planned.all_new and not (
            options.users or options.policy.rules or rsync.ends.below or options.dry_run or options.jobs > 1
        )
        is_worth_it = whole and ahead.is_worth_it(planned.plans, rsync.words_given, rsync.ends.name)
        return is_worth_it and bool(sides.source.under_locks)

    def _copy_ahead(self, planned: Planned, sides: BothSides, rsync: Rsync) -> None:
        """Copy all but what must be of one moment, and plan what is left."""
        count = sum(plan.messages_send + len(plan.loose) + len(plan.strays) for plan in planned.plans)
        rules = ahead.rules(self.options.policy.rules.root(), skip_derived=self.options.policy.skip_derived)
        show = None if isinstance(self.progress, NoProgress) else self.progress.transfer
        outcome = rsync.transfer_all(rules, show and (lambda done, size: show("messages", done, count, size)))
        there = sides.replica.walk(sides.replica_status.root, frozenset())
        planned.plans = ahead.plans_after(planned.plans, there, self._policy(sides))
        left = sum(plan.messages_send + len(plan.loose) + len(plan.strays) for plan in planned.plans)
        files = self.result.files
        files.planned += count - left
        files.sent += count - left
        self.result.bytes_sent += outcome.bytes_sent
        if not self.verbatim:
            self.result.errors += [f"{path_text(path)}: {m.reason}" for path, m in outcome.attributes.items()]

    def _carry_out_batch(
        self, batch: list[FolderPlan], planned: Planned, sides: BothSides, rsync: Rsync | None, staging: Staging
    ) -> None:
        taker = None
        if sides.source.under_locks and not self.options.dry_run:
            taker = Taker(
                sides.source.under_locks,
                sides.source_status.root,
                self._policy(sides),
                staging,
                self.result,
                self.limit,
                planned.indexed,
                partial(sides.replica.digests, sides.replica_status.root),
                self.kinds,
            )
        parts = self._jobs.share(
            taker.take(batch) if taker else batch, lambda plan: plan.messages_send + plan.messages_delete
        )
        self._jobs.run(
            [
                partial(self._job, number, part, planned, sides, rsync, taker, staging)
                for number, part in enumerate(parts)
            ]
        )

    def _job(
        self,
        number: int,
        plans: list[FolderPlan],
        planned: Planned,
        sides: BothSides,
        rsync: Rsync | None,
        taker: Taker | None,
        staging: Staging,
    ) -> None:
        """Carry out plans beside other jobs that do the same with theirs."""
        root = sides.replica_status.root
        with rsync.job(number) if rsync else nullcontext() as own:

            def attempt(plans: list[FolderPlan], *, clear: bool = False) -> Transfer:
                transfer = self._transfer(plans, own, sides, staging)
                try:
                    if clear:
                        room.make_way([transfer], root, [plan.path for plan in plans])
                    carry(
                        [transfer],
                        taker,
                        force=planned.in_the_way and self.limit.allows(),
                        coarse=own is not None and own.features.coarse and self._compares_nanoseconds(),
                    )
                    make_room([transfer], root)
                    if transfer.deletes():
                        with self.phases.phase("delete"):
                            self._delete(transfer, sides)
                        self.limit.done(plan.path for plan in transfer.plans if plan.path not in transfer.held)
                finally:
                    self.book(transfer)
                return transfer

            def again(before: Sequence[Transfer], paths: list[bytes], *, clear: bool) -> list[Transfer]:
                self.forget(before, paths)
                return [attempt([plan for path in paths if (plan := before[0].plan(path))], clear=clear)]

            self.full = room.try_again([attempt(plans)], root, [partial(_sizes, sides)], again) or self.full

    def _transfer(self, plans: list[FolderPlan], rsync: Rsync | None, sides: BothSides, staging: Staging) -> Transfer:
        return Transfer(
            plans,
            rsync,
            sides.replica.writer,
            sides.replica_status.root,
            self.progress.transfer,
            pretend=self.options.dry_run,
            skip_derived=self.options.policy.skip_derived,
            staging=staging.tree,
            may_delete=self.limit.start,
            rules=self.options.policy.rules,
            size_only=self.options.policy.size_only,
        )

    def forget(self, transfers: Iterable[Transfer], paths: Iterable[bytes]) -> None:
        """Take back what was booked of folders that are tried again."""
        some = set(paths)
        for transfer in transfers:
            planned, failed = transfer.files_of(some)
            self.result.files.planned -= planned
            self.result.files.failed -= failed
            self.result.files.sent -= planned - failed
        self.result.release(some)

    def _compares_nanoseconds(self) -> bool:
        """Tell whether a difference of less than a second is one for this run."""
        return self.options.policy.own_quick_check

    def _delete(self, transfer: Transfer, sides: BothSides) -> None:
        if sides.replica.writer:
            policy = self.options.policy
            transfer.delete(keep_times=policy.times and policy.dir_times)
        else:
            transfer.delete_by_rsync(self._protected(), self.limit.left() + transfer.sent_too_many())

    def _protected(self) -> tuple[str, ...]:
        """Return the filters that keep rsync from deleting what is not to be touched on the replica."""
        root = self.options.policy.rules.root()
        names = [f"{root}/{name.decode()}" for name in sorted(kinds.ROOT_TRANSIENT)]
        names += [".*", "cyrus.*.NEW"]
        if self.options.policy.skip_derived:
            names += [name.decode() for name in sorted(kinds.DERIVED)]
        return (*(f"--filter=P {name}" for name in names), *self.options.policy.rules.words)

    def _rsync(self, sides: BothSides, directory: Path) -> Rsync:
        known = features.near()
        if sides.shell:
            known &= features.far(sides.shell.words, self.options.rsync_path, self.options.patience.silence)
        elif self.source.daemon or self.replica.daemon:
            known = features.Features(known.options - {"-@"})  # what a daemon can do it does not tell
        source_root, replica_root = sides.source_status.root, sides.replica_status.root
        name = self.options.policy.rules.below
        top, below = self.source.split(_above(source_root, name))
        ends = Ends(
            source=self.source.for_rsync(top),
            below=below,
            name=name,
            destination=self.replica.for_rsync(_above(replica_root, name)),
            roots=tuple(
                _as_told(address, root) for address, root in ((self.source, source_root), (self.replica, replica_root))
            ),
            rsh=sides.shell.for_rsync() if sides.shell else None,
            pull=not self.source.local,
            silence=0.0 if self.source.local and self.replica.local else self.options.patience.silence,
        )
        words = self._jobs.words(self._words())
        rsync = Rsync(ends, known, words, directory, verbatim=self.verbatim, jobs=self._jobs)
        if self.replica.daemon and "--fsync" in known.options and rsync.accepts((*words, _FSYNC)):
            # Nobody else is there to see that what has arrived is on the disk.
            rsync.words.append(_FSYNC)
        return rsync

    def _words(self) -> tuple[str, ...]:
        return self.options.words

    def book(self, transfer: Transfer) -> None:
        """Add what became of the files of a transfer."""
        account, result = transfer.account, self.result
        result.bytes_sent += account.bytes_sent
        result.spare(account.same_messages, account.same_folders)
        files = result.files
        files.planned += account.planned
        files.vanished += account.vanished
        files.failed += account.failed + account.pending
        files.sent += account.sent
        files.deleted += account.deleted
        result.errors += [f"{path_text(path)}: {reason}" for path, reason in account.errors.items()]
        result.hold(transfer.held)

    def _exit_code(self) -> int:
        result = self.result
        if result.folders.unreadable or result.files.failed or len(result.errors) > bool(result.withheld):
            return Exit.PARTIAL
        return Exit.WITHHELD if result.withheld else Exit.DONE


def links_warning(sides: BothSides, links: list[bytes]) -> list[str]:
    """Return a line, if there is one to say, about mailboxes behind links of the source."""
    found = sides.source.links_to_mailboxes(sides.source_status.root, links) if links else []
    if not found:
        return []
    more = f" and {len(found) - _FEW} more" if len(found) > _FEW else ""
    shown = ", ".join(map(path_text, found[:_FEW]))
    return [f"mailboxes lie behind links, and are not copied, only the links are: {shown}{more}"]


def _sizes(sides: BothSides, paths: list[bytes]) -> list[int | None]:
    """Return the sizes of files of the source, by their paths; None where that is not known."""
    if not (paths and sides.source.under_locks):
        return [None] * len(paths)
    found = sides.source.under_locks.stat([join(sides.source_status.root, path) for path in paths])
    return [one[0] if isinstance(one, tuple) else None for one in found]


def _tells(numbers: Mapping[str, int | None], name: str) -> bool:
    """Tell whether a number is known, or that there is none; some are looked up only when asked for."""
    try:
        numbers[name]
    except KeyError:
        return False
    return True


def _above(root: bytes, name: bytes) -> bytes:
    """Return the directory that a root is in, under its name; without a name, the root."""
    return root.rstrip(b"/").removesuffix(b"/" + name) + b"/" if name else root


def _as_told(address: Address, root: bytes) -> bytes:
    """Return the root as rsync's messages have it: a daemon leaves its module's name out."""
    return b"/" + root.partition(b"/")[2].strip(b"/") if address.daemon else root


def for_users(users: frozenset[str]) -> str:
    """Return what to say of the users that a run is for."""
    return f" of {', '.join(sorted(users))}" if users else ""
