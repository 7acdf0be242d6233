"""The execution of a plan: batch by batch and job by job, from what is staged to what is deleted."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.ends.tree_pair import TreePair
from cyrsync.errors import LockedError
from cyrsync.far.descent import Descent
from cyrsync.far.extended import can_read
from cyrsync.far.folder import join
from cyrsync.rsync import list_file
from cyrsync.rsync.asked import Own
from cyrsync.rsync.driver import Rsync
from cyrsync.spool import first_copy, lists, room
from cyrsync.spool.folder_reader import FolderReader, batches
from cyrsync.spool.manner import Manner
from cyrsync.spool.planning import Planned
from cyrsync.spool.recording import forget, record
from cyrsync.spool.rsync_step import Tick
from cyrsync.spool.sending import send
from cyrsync.spool.staging import Staging
from cyrsync.spool.steps import Transfer
from cyrsync.spool.transport import rsync_between
from cyrsync.state import under_way
from cyrsync.sync.extended import Extended
from cyrsync.sync.folder_plan import FolderPlan
from cyrsync.sync.ownership import WalkOwnership
from cyrsync.sync.progress import NoProgress, OfJobs
from cyrsync.sync.result import FileCounts
from cyrsync.sync.session import Session
from cyrsync.text import path_text

_LOST_ATTRIBUTES = (
    "ACLs and extended attributes of header, index, expunge and annotations are not kept: "
    "Python reads and sets them on Linux alone"
)


def execute(
    session: Session, trees: TreePair, planned: Planned, manner: Manner, *, doubtful: frozenset[bytes] | None
) -> set[int]:
    """Transfer and delete, and return the codes that rsync ended with.

    `doubtful` are the folders in which the last run wrote, if a power cut ended it, None for any. If there are none, a
    run that finds nothing starts no rsync, and does not even ask for its version.
    """
    cut_off = doubtful != frozenset()
    if not (planned.plans or cut_off):
        return set()
    options = session.options
    rsync = None
    if any(plan.sends() for plan in planned.plans) or not trees.replica.writer or options.trial:
        rsync = rsync_between(session, trees, verbatim=manner.verbatim)
        if options.trial:
            manner.try_words(rsync)
    ownership = None if options.dry_run else _own(session, trees, planned, rsync if manner.verbatim else None, doubtful)
    session.result.files = FileCounts()
    try:
        _Execution(session, trees, planned, manner, rsync).run()
    finally:
        session.note_withheld()
        if rsync:
            session.result.rsync_runs += rsync.runs
    if ownership and not trees.replica.writer:
        trees.replica.to_disk([trees.replica_status.root])
    if ownership:
        compared = (options.full or cut_off) and not (options.part.users or session.result.errors)
        if ownership.end(compared=compared and not (session.result.files.failed or session.full)):
            under_way.forget(options.state, session.key)
    return rsync.codes if rsync else set()


def extended_of(session: Session, trees: TreePair) -> Extended | None:
    """Return what gives staged metadata the attributes that rsync is to keep; None for none, or where none can."""
    if not (session.kinds and can_read() and trees.source.rights.attributes):
        return None
    return Extended(session.kinds, Descent(trees.source_status.root).where if session.source.local else None)


def _own(
    session: Session, trees: TreePair, planned: Planned, rsync: Rsync | None, doubtful: frozenset[bytes] | None
) -> WalkOwnership:
    """Make the replica's root, if there is none, and say there that a run is writing.

    An `rsync` makes it, if there is one: only so it gets the mode that rsync gives to new directories without --perms.
    """
    writer = trees.replica.writer
    if writer and not trees.replica_status.exists:
        if rsync:
            rsync.transfer([Own(list_file.ROOT)], lists.root_alone(rsync.ends.name))
        else:
            writer.make(trees.replica_status.root)
        trees.hold()
        if trees.replica_status.owner_file or not trees.replica_status.bare:
            raise LockedError(f"{session.replica.text}: another run has just begun to write there: run again")
    ownership = WalkOwnership(trees.replica.writer, trees.replica_status)
    warning = ownership.begin(partial(_note, session, planned, doubtful))
    session.result.warnings += [warning] if warning else []
    return ownership


def _note(session: Session, planned: Planned, doubtful: frozenset[bytes] | None, replica: str) -> None:
    """Note which folders this run may write to; in a first copy, rsync decides that."""
    where = session.options.state, session.key
    if doubtful is None or planned.all_new:
        under_way.forget(*where)
    else:
        under_way.note(*where, replica, doubtful.union(plan.path for plan in planned.plans))


class _Execution:
    """The execution of one plan."""

    def __init__(
        self, session: Session, trees: TreePair, planned: Planned, manner: Manner, rsync: Rsync | None
    ) -> None:
        self._session = session
        self._trees = trees
        self._planned = planned
        self._manner = manner
        self._rsync = rsync
        self._options = session.options
        extended = extended_of(session, trees)
        if session.kinds and trees.source.under_locks and not extended:
            session.result.warnings.append(_LOST_ATTRIBUTES)
        policy = session.options.policy
        self._staging = Staging(session.staging_directory, policy.preserve.numeric_ids, extended, policy.rules.below)

    def run(self) -> None:
        """Do all that is planned."""
        if self._rsync and self._is_first_copy(self._rsync):
            self._copy_whole_tree(self._rsync)
        for batch in batches(self._planned.plans):
            self._execute_batch(batch)
            self._staging.clear()

    def _is_first_copy(self, rsync: Rsync) -> bool:
        """Return whether this is a first copy of a whole tree that can be looked at once more afterwards."""
        options = self._options
        whole = self._planned.all_new and not (
            options.part.users or options.policy.rules or rsync.ends.below or options.dry_run or options.jobs > 1
        )
        is_worth_it = whole and first_copy.is_worth_it(self._planned.plans, rsync.words_given, rsync.ends.name)
        return is_worth_it and bool(self._trees.source.under_locks)

    def _copy_whole_tree(self, rsync: Rsync) -> None:
        """Copy all but what must be of one moment, and plan what is left."""
        planned, session, policy = self._planned, self._session, self._options.policy
        count = _files(planned.plans)
        rules = first_copy.rules(policy.rules.root(), skip_derived=policy.skip_derived)
        show = None if isinstance(session.progress, NoProgress) else session.progress.transfer
        outcome = rsync.transfer_all(rules, show and (lambda done, size: show("messages", done, count, size)))
        there = self._trees.replica.walk(self._trees.replica_status.root, frozenset())
        planned.plans = first_copy.plans_after(planned.plans, there, planned.policy)
        left = _files(planned.plans)
        files = session.result.files
        files.planned += count - left
        files.sent += count - left
        session.result.bytes_sent += outcome.bytes_sent
        if not self._manner.verbatim:
            session.result.errors += [f"{path_text(path)}: {m.reason}" for path, m in outcome.attributes.items()]

    def _execute_batch(self, batch: list[FolderPlan]) -> None:
        session, trees = self._session, self._trees
        reader = None
        if trees.source.under_locks and not self._options.dry_run:
            reader = FolderReader(
                trees.source.under_locks,
                trees.source_status.root,
                self._planned.policy,
                self._staging,
                session.result,
                session.limit,
                self._planned.indexed,
                partial(trees.replica.digests, trees.replica_status.root),
                session.kinds,
            )
        parts = session.jobs.share(
            reader.read(batch) if reader else batch, lambda plan: plan.messages_send + plan.messages_delete
        )
        progress = OfJobs(session.progress.transfer)
        session.jobs.run([partial(self._job, number, part, reader, progress) for number, part in enumerate(parts)])

    def _job(self, number: int, plans: list[FolderPlan], reader: FolderReader | None, progress: OfJobs) -> None:
        """Execute plans beside other jobs that do the same with theirs."""
        session = self._session
        with self._rsync.job(number) if self._rsync else nullcontext() as own:

            def attempt(plans: list[FolderPlan], *, clear: bool = False) -> Transfer:
                transfer = self._transfer(plans, own, progress.of(number))
                # rsync deletes all of a folder at once: where it has to make way, before anything is sent.
                at_once = clear and not self._trees.replica.writer
                try:
                    if clear:
                        transfer.make_way()
                    if at_once:
                        self._delete_counted(transfer)
                    send(
                        transfer,
                        reader,
                        force=self._planned.in_the_way and session.limit.allows(),
                        coarse=own is not None and own.features.coarse and self._compares_nanoseconds(),
                    )
                    transfer.make_room()
                    if not at_once:
                        self._delete_counted(transfer)
                finally:
                    record(session.result, transfer)
                return transfer

            def again(before: Transfer, paths: list[bytes], *, clear: bool) -> Transfer:
                forget(session.result, before, paths)
                return attempt([plan for path in paths if (plan := before.plan(path))], clear=clear)

            full = room.try_again(attempt(plans), partial(_sizes, self._trees), again)
            session.full = full or session.full

    def _transfer(self, plans: list[FolderPlan], rsync: Rsync | None, tick: Tick) -> Transfer:
        policy = self._options.policy
        return Transfer(
            plans,
            rsync,
            self._trees.replica.writer,
            self._trees.replica_status.root,
            tick,
            pretend=self._options.dry_run,
            skip_derived=policy.skip_derived,
            staging=self._staging.tree,
            may_delete=self._session.limit.start,
            rules=policy.rules,
            size_only=policy.size_only,
        )

    def _compares_nanoseconds(self) -> bool:
        """Return whether a difference of less than a second counts in this run: rsync itself compares whole seconds."""
        return self._options.policy.own_quick_check and not self._manner.verbatim

    def _delete_counted(self, transfer: Transfer) -> None:
        if transfer.deletes():
            with self._session.phases.phase("delete"):
                self._delete(transfer)
            self._session.limit.done(plan.path for plan in transfer.plans if plan.path not in transfer.account.held)

    def _delete(self, transfer: Transfer) -> None:
        self._manner.deleting(transfer)
        if self._trees.replica.writer:
            policy = self._options.policy
            transfer.delete(keep_times=policy.preserve.times and policy.preserve.dir_times)
        else:
            transfer.delete_by_rsync(self._protected(), self._session.limit.left() + transfer.sent_too_many())

    def _protected(self) -> tuple[str, ...]:
        """Return the filters that keep rsync from deleting what is not to be touched on the replica."""
        policy = self._options.policy
        names = [f"{policy.rules.root()}/{name.decode()}" for name in sorted(kinds.ROOT_TRANSIENT)]
        names += [".*", "cyrus.*.NEW"]
        if policy.skip_derived:
            names += [name.decode() for name in sorted(kinds.DERIVED)]
        return (*(f"--filter=P {name}" for name in names), *policy.rules.words)


def _files(plans: list[FolderPlan]) -> int:
    """Return how many files are to be sent that need not be of one moment."""
    return sum(plan.messages_send + len(plan.derived) + len(plan.other_files) for plan in plans)


def _sizes(trees: TreePair, paths: list[bytes]) -> list[int | None]:
    """Return the sizes of files of the source, by their paths; None where that is not known."""
    if not (paths and trees.source.under_locks):
        return [None] * len(paths)
    found = trees.source.under_locks.stat([join(trees.source_status.root, path) for path in paths])
    return [one[0] if isinstance(one, tuple) else None for one in found]
