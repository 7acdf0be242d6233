"""Folders are read just before they are sent: their metadata is staged, and their plans are made again from it."""

from __future__ import annotations

import errno
import os
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox import records
from cyrsync.cyrus.mailbox.snapshot import PATIENCE
from cyrsync.ends.tree import UnderLocks
from cyrsync.errors import hint
from cyrsync.far import uids as uid_sets
from cyrsync.far.digests import Digests, Question, of_index
from cyrsync.far.extended import NO_KINDS, Kinds
from cyrsync.far.folder import NOBODY, Folder, Incarnation
from cyrsync.far.locked_folder import LockedFolder
from cyrsync.spool.compare import compare, gone, same_metadata
from cyrsync.spool.likeness import Likeness, likeness
from cyrsync.spool.losses import Losses
from cyrsync.spool.staging import Staging
from cyrsync.sync.folder_plan import FolderPlan, State
from cyrsync.sync.guard import DeleteLimit
from cyrsync.sync.policy import Policy
from cyrsync.sync.result import RunResult
from cyrsync.text import path_text

#: Bytes of metadata that one batch may stage, and messages that it may list.
_STAGED_BYTES, _LISTED = 256 << 20, 1_000_000
_BUSY = f"locked by a writer, or changed all the time, for {PATIENCE:g} seconds; will be retried in the next run"


def batches(plans: list[FolderPlan]) -> Iterator[list[FolderPlan]]:
    """Part the plans so that neither their staged copies nor their lists grow without bounds."""
    batch: list[FolderPlan] = []
    size = messages = 0
    for plan in plans:
        if batch and (size + plan.metadata_bytes > _STAGED_BYTES or messages + plan.messages_send > _LISTED):
            yield batch
            batch, size, messages = [], 0, 0
        batch.append(plan)
        size += plan.metadata_bytes
        messages += plan.messages_send
    if batch:
        yield batch


class FolderReader:
    """Reads folders of one source under locks."""

    def __init__(
        self,
        source: UnderLocks,
        root: bytes,
        policy: Policy,
        staging: Staging,
        result: RunResult,
        limit: DeleteLimit,
        indexed: bool,
        digests: Callable[[Sequence[Question]], Mapping[bytes, Digests | None]] = lambda _: {},
        wanted: Kinds = NO_KINDS,
    ) -> None:
        """`limit` counts what is deleted; `indexed`: there are indexes in this tree, not in a metapartition.

        `digests` returns what the replica's indexes say of messages. `wanted` are attributes to stage.
        """
        self._digests = digests
        self._wanted = wanted
        self._asked: list[tuple[FolderPlan, LockedFolder, Question, Digests]] = []
        self._indexed = indexed
        self._source = source
        self._root = root
        self._policy = policy
        self._staging = staging
        self._result = result
        self._limit = limit
        self._plans: dict[bytes, FolderPlan] = {}
        self._mixed: set[bytes] = set()  # folders that were another mailbox's when their messages were sent
        self._listed: dict[bytes, array[int]] = {}  # messages that rsync may have been given already

    def read(self, plans: list[FolderPlan]) -> list[FolderPlan]:
        """Return the plans. Those with snapshot metadata to send are made again, and that metadata is staged.

        A folder with messages to delete is read, too: during a repack files are missing before the index says so. So is
        one with messages and no index: a mailbox may be just being made there. And so is one where all messages are
        compared, or other metadata is sent: another mailbox may get the folder's name meanwhile.
        """
        wanted = [plan for plan in plans if self._is_to_be_read(plan)]
        paths = [plan.path for plan in wanted]
        locked_folders = self._source.read_under_locks(
            self._root, paths, self._wanted, numeric_ids=self._policy.preserve.numeric_ids
        )
        fresh: dict[bytes, FolderPlan] = {}
        for plan in wanted:
            found = next(locked_folders)
            asked = self._question(plan, found)
            if asked:
                self._staging.add(found)  # its index is to be sent, whatever the answer
                self._asked.append((plan, found._replace(files=()), *asked))
            else:
                fresh[plan.path] = self._replan(plan, found)
        fresh.update(self._replan_asked())
        self._staging.finish()
        self._plans.update((path, replace(plan)) for path, plan in fresh.items())  # their execution changes them
        return [fresh.get(plan.path, plan) for plan in plans]

    def read_again(self, paths: list[bytes]) -> list[FolderPlan]:
        """Read folders again."""
        return self.read([self._plans[path] for path in paths])

    def check(self, losses: Losses, plans: list[FolderPlan]) -> None:
        """Check that the folders are the mailboxes that were read, and that those sent whole were complete."""
        for plan, now in zip(plans, self._source.look(self._root, [plan.path for plan in plans]), strict=True):
            if identity(now) != plan.identity:
                losses.lose(plan, None)
                if plan.messages_send:
                    self._mixed.add(plan.path)
                if plan.whole:
                    self._list(plan.path, now.messages.uids)
            elif plan.whole:
                losses.lose_of_whole(plan, now)

    def _question(self, plan: FolderPlan, locked_folder: LockedFolder) -> tuple[Question, Digests] | None:
        """Return what to ask of the replica's index, where it should be an older one of the same mailbox, with ours.

        A folder that was asked about before is not asked about again: its messages may have been sent since.
        """
        there, here = plan.replica and plan.replica.incarnation, locked_folder.folder.incarnation
        if plan.was_locked or plan.path in self._mixed or not (there and here and here.same_as(there)):
            return None
        assert plan.replica
        if kinds.INDEX not in plan.replica.metadata:
            return None  # copied with the whole tree: its index has not been sent yet
        if same_metadata(kinds.INDEX, locked_folder.folder, plan.replica, self._policy):
            return None
        index = _index(locked_folder)
        if index is None:
            return None
        uids = uid_sets.up_to(index.uids, there.last_uid)
        return Question(plan.path, uids), of_index(index, uids)

    def _replan_asked(self) -> dict[bytes, FolderPlan]:
        """Return the plans of the folders that were asked about: names prove nothing where records differ."""
        asked, self._asked = self._asked, []
        told = self._digests([question for _, _, question, _ in asked])
        fresh = {}
        for plan, locked_folder, _, ours in asked:
            if plan.path in told:
                found = likeness(ours, told[plan.path])
                plan.doubted = plan.doubted or found is Likeness.DOUBTFUL
                if found is Likeness.OTHER:
                    self._mixed.add(plan.path)
            fresh[plan.path] = self._replan(plan, locked_folder, is_staged=True)
        return fresh

    def _is_to_be_read(self, plan: FolderPlan) -> bool:
        changes = plan.metadata or plan.derived or plan.delete_uids
        return bool(changes or plan.was_locked or plan.doubted or self._lacks_index(plan))

    def _lacks_index(self, plan: FolderPlan) -> bool:
        return self._indexed and plan.incarnation is None and plan.messages_send > 0

    def _replan(self, plan: FolderPlan, locked_folder: LockedFolder, *, is_staged: bool = False) -> FolderPlan:
        if locked_folder.folder.problem in (errno.ENOENT, errno.ENOTDIR) and plan.was_locked:
            # What was sent of it is not to wait for the next run without an index.
            fresh = gone(plan.replica or Folder(plan.path))
            fresh.made_now = plan.replica is None
        elif locked_folder.folder.problem == errno.EAGAIN:
            # Messages without an index wait for it.
            seen = plan.messages_seen
            fresh = FolderPlan(plan.path, State.VANISHED, messages_seen=seen, messages_waiting=seen)
        else:
            if plan.identity and not plan.was_locked and plan.identity != identity(locked_folder.folder):
                self._mixed.add(plan.path)  # another mailbox was there when the whole tree was copied
            if plan.was_locked and _whose(plan.incarnation) != _whose(locked_folder.folder.incarnation):
                self._mixed.add(plan.path)  # what the replica had proves nothing any more, even if that mailbox returns
            fresh = compare(locked_folder.folder, self._replica_of(plan), self._policy, doubted=plan.doubted)
        if locked_folder.folder.problem == errno.EBUSY:
            self._result.errors.append(f"{path_text(plan.path)}: {_BUSY}")
        elif fresh.state is State.UNREADABLE:
            self._result.errors.append(f"{path_text(plan.path)}: {hint(os.strerror(locked_folder.folder.problem))}")
        elif not locked_folder.folder.problem and fresh.state is not State.GONE:
            fresh.was_locked = True
            fresh.identity = identity(locked_folder.folder)
            fresh.staged = is_staged or bool((fresh.metadata or fresh.restored) and locked_folder.files)
            if fresh.staged and not is_staged:
                self._staging.add(locked_folder)
            fresh.touch = fresh.touch or (fresh.staged and bool(fresh.metadata))
            self._delete_listed(plan, fresh, locked_folder)
            self._send_derived_again(plan, fresh, locked_folder)
        self._limit.replan(plan.path, fresh)
        self._result.revise(plan, fresh)
        return fresh

    def _delete_listed(self, plan: FolderPlan, fresh: FolderPlan, locked_folder: LockedFolder) -> None:
        """Plan to delete messages that were sent since the last reading, and are not there any more."""
        if plan.was_locked:
            self._list(plan.path, plan.uids)
            fresh.delete_too(uid_sets.difference(self._listed[plan.path], locked_folder.folder.messages.uids))

    def _send_derived_again(self, plan: FolderPlan, fresh: FolderPlan, locked_folder: LockedFolder) -> None:
        """See that metadata is sent again that may have been another mailbox's when the last plan sent it."""
        if plan.was_locked:
            names = {name for name in plan.derived if name in locked_folder.folder.metadata}
            fresh.derived = tuple(sorted(names.union(fresh.derived)))

    def _list(self, path: bytes, uids: array[int]) -> None:
        self._listed[path] = uid_sets.union(self._listed.get(path, uid_sets.empty()), uids)

    def _replica_of(self, plan: FolderPlan) -> Folder | None:
        """Return what the replica has; where two mailboxes' messages were mixed, it is nobody's any more."""
        if plan.replica is None or plan.path not in self._mixed:
            return plan.replica
        return plan.replica._replace(incarnation=NOBODY)


def _whose(incarnation: Incarnation | None) -> tuple[object, ...]:
    """Return what distinguishes two mailboxes."""
    return incarnation[:2] if incarnation else ()


def _index(locked_folder: LockedFolder) -> records.Index | None:
    """Return the index that was read with a folder, None where there is none, or it is damaged."""
    data = next((file.data for file in locked_folder.files if file.name == kinds.INDEX), b"")
    try:
        return records.read(data, check_records=False)
    except records.BadIndex:
        return None


def identity(folder: Folder) -> tuple[object, ...]:
    """Return what differs between two mailboxes that have one name in turn: a rename makes a new header."""
    header = folder.metadata.get(kinds.HEADER)
    return (folder.problem, folder.incarnation and folder.incarnation[:2], header and (header.size, header.mtime))
