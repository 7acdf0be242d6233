"""The steps of a transfer: messages, then the metadata they belong to, then deletions.

A folder whose messages did not all arrive keeps its old metadata, and nothing is deleted in it: so every
index on the replica has its messages.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.ends.tree import Writer
from cyrsync.errors import ReplicaFull, hint
from cyrsync.far import uids as uid_sets
from cyrsync.far.folder import join
from cyrsync.far.remove import HIDDEN, Removal
from cyrsync.far.uids import file_names
from cyrsync.rsync import list_file
from cyrsync.rsync.asked import Own
from cyrsync.rsync.driver import Rsync
from cyrsync.rsync.filters import NO_RULES, Rules
from cyrsync.spool import deletions, lists, planned
from cyrsync.spool.account import Account, by_folder
from cyrsync.spool.rsync_step import TOGETHER, RsyncStep, Tick
from cyrsync.sync.folder_plan import FolderPlan, State

#: Neither size nor time distinguishes the files of two mailboxes, nor what has changed within one second.
_IGNORE_TIMES = "--ignore-times"


class Transfer:
    """Carries plans out."""

    def __init__(
        self,
        plans: list[FolderPlan],
        rsync: Rsync | None,
        writer: Writer | None,
        root: bytes,
        tick: Tick,
        *,
        pretend: bool = False,
        skip_derived: bool = False,
        staging: Path | None = None,
        may_delete: Callable[[], bool] = lambda: True,
        rules: Rules = NO_RULES,
        size_only: bool = False,
    ) -> None:
        """`writer` and `root` are the replica's; without a writer rsync deletes. No `rsync` is needed to send nothing.

        Staged metadata lies in `staging`. `may_delete` is asked right before anything is deleted, whatever the plans
        say.

        What the user's `rules` leave out may stay in folders that are gone. With `size_only`, rsync compares what is no
        message by size.

        With `pretend`, rsync is told to do nothing, and nothing is done here.
        """
        self.plans = [plan for plan in plans if plan.sends() or plan.deletes()]
        self.account = Account()
        self.account.plan(sum(plan.files_planned() for plan in plans))
        self._filters = lists.whole_folder_filters(skip_derived=skip_derived)
        self._rsync = rsync
        self.writer = writer
        self.root = root
        self._by_path = {plan.path: plan for plan in self.plans}
        self._step = RsyncStep(rsync, self.account, self._by_path, tick)
        self._pretend = pretend
        self._staging = staging
        self._may_delete = may_delete
        self._rules = rules
        self._size_only = size_only
        self._forced: tuple[str, ...] = ()
        self._unnamed: set[bytes] = set()  # but for messages that no index names
        self._without_index: set[bytes] = set()  # folders whose index this run has removed

    def send_messages(self, *, force: bool) -> None:
        """Send messages, and what is sent with them; with `force`, files may replace folders."""
        self._forced = ("--force",) if force else ()
        self._send_messages(self.plans)

    def send_again(self, plans: list[FolderPlan]) -> None:
        """Take these plans, made since, for those of the same folders, and send what messages they still lack."""
        for plan in plans:
            self.account.plan(plan.files_planned() - planned.last(self._by_path[plan.path]))
            self._by_path[plan.path] = plan
        self.plans = [plan for plan in self._by_path.values() if plan.sends() or plan.deletes()]
        self._send_messages(plans)

    def hold(self, paths: Iterable[bytes], reason: str) -> None:
        """Leave out in these folders what follows the messages."""
        self.account.held.update(paths)
        self.account.errors.update((path, reason) for path in paths)

    def send_metadata(self, *, coarse: bool = False) -> None:
        """Send metadata and other files.

        With `coarse`, rsync would not see differences of less than a second, and is told to take all metadata that is
        listed for different.
        """
        differing = (_IGNORE_TIMES,) if coarse else ()
        for plan in self.plans:
            if plan.path in self.account.held:
                self.account.give_up(plan, planned.last(plan))
        unlike, others = _split(self.settled(), lambda plan: plan.unseen or _is_renewed(plan))
        for plans, how in ((others, differing), (unlike, (_IGNORE_TIMES,))):
            staged = [plan for plan in plans if plan.staged]
            words = (*self._forced, *how)
            together = TOGETHER if self._clear_updates(staged) and any(map(_in_parts, staged)) else ()
            for some, by_size in self._by_size(staged, _compares_metadata_by_size):
                extra = (*words, *together, *by_size)
                self._step.run("metadata", some, lists.staged_entries, extra, planned.staged, self._staging)
            for some, by_size in self._by_size(plans, _compares_others_by_size):
                self._step.run("metadata", some, lists.other_entries, (*words, *by_size), planned.unstaged)
        root = self._root_left()
        if root:
            words = (*self._forced, *lists.root_alone(self._rsync.ends.name if self._rsync else b""))
            self._step.run("metadata", self._settled([root]), lambda _: iter([Own(list_file.ROOT)]), words, lambda _: 0)

    def _root_left(self) -> FolderPlan | None:
        """Return the root, if its own attributes, or what this run has made of them, are seen to by no other list."""
        root, settled = self._by_path.get(b""), self.settled()
        if self._rsync and self._rsync.ends.pull and not self._rsync.ends.name:
            is_written = any(plan.sends() for plan in settled if not plan.path or _is_new_at_top(plan))
            return (root or FolderPlan(b"", State.SAME, touch=True)) if is_written else None
        return root if root and root.touch and not any(map(lists.lists_metadata, settled)) else None

    def _by_size(
        self, plans: list[FolderPlan], is_so: Callable[[FolderPlan], bool]
    ) -> list[tuple[list[FolderPlan], tuple[str, ...]]]:
        """Part the plans whose files rsync is to compare by size alone from the others."""
        if not self._size_only:
            return [(plans, ())]
        by_size, exact = _split(plans, is_so)
        return [(exact, ()), (by_size, ("--size-only",))]

    def _send_messages(self, plans: list[FolderPlan]) -> None:
        renewed, others = _split(plans, _is_renewed)
        under_index = [] if self._pretend else [plan for plan in others if plan.under_index]
        others = [plan for plan in others if self._pretend or not plan.under_index]
        words = (*self._forced, *self._filters)
        self._step.run("messages", others, lists.message_entries, words, planned.messages)
        replaced = self._to_be_replaced(under_index, words)
        self._take_indexes_away([*renewed, *replaced])
        self._step.run("messages", self._settled(replaced), lists.message_entries, words, planned.messages)
        self._step.run(
            "messages", self._settled(renewed), lists.message_entries, (*words, _IGNORE_TIMES), planned.messages
        )

    def settled(self) -> list[FolderPlan]:
        """Return the plans of the folders that are not held."""
        return self._settled(self.plans)

    def _settled(self, plans: list[FolderPlan]) -> list[FolderPlan]:
        return [plan for plan in plans if plan.path not in self.account.held]

    def delete(self, *, keep_times: bool) -> None:
        """Delete on the replica: files, then folders that are gone."""
        if self._pretend or not self.writer:
            return
        removed = self.writer.remove(self.root, self._removals(), keep_times=keep_times)
        self.account.deleted += removed.files + removed.folders
        for path, number in removed.failed:
            if number == HIDDEN and self._is_left_out(path):
                continue
            reason = os.strerror(number) if number else "hidden files are never deleted, so their folder stays"
            self.account.errors[path] = hint(f"not deleted: {reason}")

    def _is_left_out(self, path: bytes) -> bool:
        return any(self._rules.excludes(path, directory=directory) for directory in (False, True))

    def delete_by_rsync(self, protected: tuple[str, ...], limit: int) -> None:
        """Have rsync delete, where nothing else can: it looks at each folder concerned itself, one level deep."""
        assert self._rsync
        folders = sorted({removal.path for removal in self._removals()})
        words = ("--delete", "--existing", "--ignore-existing", f"--max-delete={limit}", *protected)
        outcome = self._rsync.transfer((path + b"/" if path else b"" for path in folders), words)
        self._step.note({**outcome.failed, **outcome.attributes})
        if self._rsync.verbatim:
            # What it deleted and what it left it reported to the user only.
            self.account.deleted += len(set(self.goes()).difference(outcome.failed))
            return
        self.account.deleted += len(outcome.deleted)
        for path in filter(self._is_left, set(self.goes()).difference(outcome.deleted)):
            # rsync ends with 0 where a directory is not empty, or the daemon is configured to keep a name.
            self.account.errors.setdefault(path.rstrip(b"/"), "not deleted: rsync left it there")

    def sent_too_many(self) -> int:
        """Return how many messages are to be deleted that this run may have sent: they count for no limit."""
        return sum(max(0, len(plan.delete_uids) - plan.messages_delete) for plan in self.settled())

    def _is_left(self, path: bytes) -> bool:
        """Return whether a path should be deleted by now: --force has replaced it by a file of the same name."""
        folder, _, name = path.rstrip(b"/").rpartition(b"/")
        plan = self._by_path.get(folder)
        return plan is None or name not in {
            *plan.metadata,
            *plan.derived,
            *plan.other_files,
            *plan.nonstandard,
            *file_names(plan.uids),
        }

    def make_room(self) -> None:
        """Where the replica is full, delete messages even in a held folder, if no index there names them."""
        if not self.account.full:
            return
        held = [plan for plan in self.plans if plan.path in self.account.held and plan.delete_uids]
        if self.writer:
            looks = self.writer.stat([join(join(self.root, plan.path), kinds.INDEX) for plan in held])
            self._unnamed.update(plan.path for plan, look in zip(held, looks, strict=True) if look is None)
        else:
            self._unnamed.update(plan.path for plan in held if _had_no_index(plan))

    def plan(self, path: bytes) -> FolderPlan | None:
        """Return what is to be done in a folder."""
        return self._by_path.get(path)

    def make_way(self) -> None:
        """Delete all indexes, then what is to be deleted, before anything is sent; where that fails, hold folders."""
        paths = {plan.path for plan in self.plans}
        if not self._may_delete():
            self.account.held |= paths
            return
        if not self.writer:
            self._make_way_by_rsync()
            return
        removals = [Removal(plan.path, plan.delete_uids, (kinds.INDEX,)) for plan in self.plans]
        removed = self.writer.remove(self.root, removals, keep_times=False)
        self.account.deleted += removed.files
        self.account.errors.update((path, hint(f"not deleted: {os.strerror(n)}")) for path, n in removed.failed)
        files, whole = by_folder((path for path, _ in removed.failed), self.plans)
        self._without_index |= paths
        self.account.held |= files.keys() | whole

    def _make_way_by_rsync(self) -> None:
        """Empty all indexes; what is to be deleted, `delete_by_rsync` deletes next."""
        try:
            self._take_indexes_away(self.plans)
        except ReplicaFull as error:
            self.account.no_room(error, self.plans, planned.messages)

    def size_of_deleted(self, plan: FolderPlan) -> list[int]:
        """Return the sizes of the replica's files that a folder loses: its messages that are deleted, and its index."""
        names = file_names(plan.delete_uids)
        if self.writer:
            found = self.writer.stat([join(self.root, path) for path in plan.entries([*names, kinds.INDEX])])
            return [one[0] for one in found if isinstance(one, tuple)]
        return self._rsync.sizes(plan.path, names) if self._rsync else []

    def deletes(self) -> bool:
        """Return whether anything is deleted."""
        some = any(plan.deletes() for plan in self.settled()) or bool(self._unnamed)
        return some and self._may_delete()

    def goes(self) -> Iterator[bytes]:
        """Yield the paths that are to be deleted, folders with a slash behind."""
        yield from deletions.paths(self._removals())

    def deleted_entries(self) -> Iterator[bytes]:
        """Yield the paths of all that is to be deleted, also in folders that are gone, as rsync would name them."""
        if not self._may_delete():
            return
        made_way = b"/"  # rsync has put a file in place of the folder, and says nothing of what was in it
        plans = []
        for plan in self.settled():
            if plan.deletes() and not plan.path.startswith(made_way):
                if plan.state is State.GONE and not self._is_left(plan.path):
                    made_way = plan.path + b"/"
                else:
                    plans.append(plan)
        yield from deletions.entries(plans)

    def left_standing(self) -> list[bytes]:
        """Return the folders that are gone and stay, as they hold files that are left out."""
        return [plan.path for plan in self.settled() if plan.spares] if self._may_delete() else []

    def _removals(self) -> Iterator[Removal]:
        if not self.deletes():
            return
        for plan in self.plans:
            if plan.path in self._unnamed & self.account.held and plan.delete_uids:
                yield Removal(plan.path, plan.delete_uids)
        yield from deletions.removals([plan for plan in self.settled() if plan.deletes()])

    def _to_be_replaced(self, plans: list[FolderPlan], words: tuple[str, ...]) -> list[FolderPlan]:
        """Ask rsync which of these folders have a file that it would replace; the others have nothing to send.

        Another mailbox may take such a folder's name before its messages are sent: no index may stand over them.
        """
        if not plans or not self._rsync:
            return plans
        listed = (entry for plan in plans for entry in lists.message_entries(plan))
        files, whole = by_folder(self._rsync.differing(listed, words), plans)
        differ = files.keys() | whole | self._without_index
        for plan in plans:
            if plan.path in differ:
                self.account.plan(len(plan.restored))
                plan.metadata, plan.restored = tuple(sorted((*plan.metadata, *plan.restored))), ()
                plan.touch = plan.touch or plan.staged
            else:
                self.account.plan(-planned.messages(plan))
                self.account.same_messages += plan.messages_send
                plan.uids, plan.whole, plan.nonstandard, plan.derived, plan.messages_send = (
                    uid_sets.empty(),
                    False,
                    (),
                    (),
                    0,
                )
                plan.staged = plan.staged and bool(plan.metadata)
                if not (plan.sends() or plan.deletes()):
                    self.account.same_folders.add(plan.path)
        return [plan for plan in plans if plan.path in differ]

    def _take_indexes_away(self, renewed: list[FolderPlan]) -> None:
        """Take `cyrus.index` from folders that are to be filled with another mailbox.

        Should this run die on the way, an index would stand over the other mailbox's messages; and should the mailboxes
        change places again on the source, they would be taken for its own. Without its index the folder is sent whole
        by the next run, and Cyrus does not open it meanwhile.
        """
        if self._pretend or not renewed:
            return
        self._without_index.update(plan.path for plan in renewed)
        if self.writer:
            removals = (Removal(plan.path, files=(kinds.INDEX,)) for plan in renewed)
            for path, number in self.writer.remove(self.root, removals, keep_times=False).failed:
                self.account.errors[path] = hint(f"cannot be replaced: {os.strerror(number)}")
                self.account.hold_back([path], renewed, planned.messages)
        elif self._rsync:
            blank = self._rsync.directory / "blank" / os.fsdecode(self._rsync.ends.name)
            indexes = [join(plan.path, kinds.INDEX) for plan in renewed]
            for index in indexes:
                empty = Path(os.fsdecode(bytes(blank) + b"/" + index))
                empty.parent.mkdir(parents=True, exist_ok=True)
                empty.touch()
            outcome = self._rsync.transfer(indexes, ("--no-implied-dirs", "--omit-dir-times"), instead=blank)
            self._step.note(outcome.failed)
            self.account.hold_back(outcome.failed, renewed, planned.messages)

    def _clear_updates(self, plans: list[FolderPlan]) -> bool:
        """Remove what a run that was cut off left of new metadata, and return whether that could be done.

        rsync 3.2.3 takes such files for those in their places, and leaves the old ones there.
        """
        if self._pretend or not self.writer:
            return False
        removals = [Removal(plan.path, folders=(kinds.UPDATES,)) for plan in plans if plan.metadata]
        return not (removals and self.writer.remove(self.root, removals, keep_times=False).failed)


def _had_no_index(plan: FolderPlan) -> bool:
    """Return whether the replica had no index, or one that was emptied, when it was listed."""
    if plan.replica is None or plan.replica.problem:
        return False
    index = plan.replica.metadata.get(kinds.INDEX)
    return kinds.INDEX not in plan.replica.metadata or (index is not None and not index.size)


def _in_parts(plan: FolderPlan) -> bool:
    """Return whether metadata that must be of one moment is sent in more than one file."""
    return len(kinds.SNAPSHOT.intersection(plan.metadata)) > 1


def _compares_metadata_by_size(plan: FolderPlan) -> bool:
    return plan.by_size


def _compares_others_by_size(plan: FolderPlan) -> bool:
    """Tell so of what is not staged: with a staged copy, that is other files alone."""
    return plan.state is not State.RECREATED and (plan.by_size or plan.staged or not plan.metadata)


def _is_new_at_top(plan: FolderPlan) -> bool:
    """Return whether a folder is made in the root."""
    return plan.state is State.NEW and b"/" not in plan.path


def _is_renewed(plan: FolderPlan) -> bool:
    """Return whether a folder is filled with another mailbox."""
    return plan.state is State.RECREATED


def _split(plans: list[FolderPlan], is_so: Callable[[FolderPlan], bool]) -> tuple[list[FolderPlan], list[FolderPlan]]:
    """Part the plans of which something is so from the others; return those first."""
    return [plan for plan in plans if is_so(plan)], [plan for plan in plans if not is_so(plan)]
