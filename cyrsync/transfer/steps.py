"""The steps of a transfer: messages, then the metadata they belong to, then what goes.

A folder whose messages did not all arrive keeps its old metadata, and nothing is deleted in it: so every
index on the replica has its messages.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cyrsync.cyrus.entry import HEADER
from cyrsync.plan.folder_plan import FolderPlan, State
from cyrsync.rsync.messages import Message
from cyrsync.transfer import lists
from cyrsync.transfer.driver import Outcome, Rsync, hint
from cyrsync.tree.folder import join
from cyrsync.tree.remove import Removal
from cyrsync.tree.side import Side
from cyrsync.tree.uids import file_names

#: Neither size nor time tells the files of two mailboxes apart.
_WHOLE_NEW = "--ignore-times"

Tick = Callable[[str, int, int, int], None]


@dataclass(slots=True)
class Account:
    """What became of every planned file: planned = sent + vanished + failed."""

    planned: int
    vanished: int = 0
    failed: int = 0
    deleted: int = 0
    pending: int = 0  # planned, and rsync has not come to an end with them
    bytes_sent: int = 0
    errors: dict[bytes, str] = field(default_factory=dict)  # by path below the root

    @property
    def sent(self) -> int:
        """What arrived, or was found on the replica as it should be."""
        return self.planned - self.vanished - self.failed - self.pending


class Transfer:
    """Carries plans out."""

    def __init__(
        self,
        plans: list[FolderPlan],
        rsync: Rsync | None,
        side: Side,
        root: bytes,
        tick: Tick,
        *,
        pretend: bool = False,
    ) -> None:
        """`side` and `root` are the replica's; no `rsync` is needed where nothing is sent.

        With `pretend`, rsync is told to do nothing, and nothing is done here.
        """
        self.plans = [plan for plan in plans if plan.sends() or plan.deletes()]
        self.account = Account(sum(plan.files_planned() for plan in plans))
        self.account.pending = self.account.planned
        self._rsync = rsync
        self._side = side
        self._root = root
        self._tick = tick
        self._pretend = pretend
        self._held: set[bytes] = set()  # folders that keep what they have
        self._by_path = {plan.path: plan for plan in self.plans}

    def send(self, *, force: bool, coarse: bool = False) -> None:
        """Send messages, then metadata and strays.

        With `force`, folders may make way for files; with `coarse`, rsync would not see differences of less than a
        second, and is told to take all metadata that is listed for different.
        """
        forced = ("--force",) if force else ()
        differing = ("--ignore-times",) if coarse else ()
        filtered = (*forced, *lists.WHOLE_FOLDER_FILTERS)
        renewed = [plan for plan in self.plans if plan.state is State.RECREATED]
        others = [plan for plan in self.plans if plan.state is not State.RECREATED]
        self._step("messages", others, lists.message_entries, filtered, _messages)
        self._take_headers_away(renewed)
        self._step("messages", self._settled(renewed), lists.message_entries, (*filtered, _WHOLE_NEW), _messages)
        self._give_up(sum(_others(plan) for plan in self.plans if plan.path in self._held))
        self._step("metadata", self._settled(others), lists.other_entries, (*forced, *differing), _others)
        self._step("metadata", self._settled(renewed), lists.other_entries, (*forced, _WHOLE_NEW), _others)

    def _settled(self, plans: list[FolderPlan]) -> list[FolderPlan]:
        return [plan for plan in plans if plan.path not in self._held]

    def delete(self, *, keep_times: bool) -> None:
        """Delete on the replica: files, then folders that are gone."""
        if self._pretend:
            return
        removed = self._side.remove(self._root, self._removals(), keep_times=keep_times)
        self.account.deleted += removed.files + removed.folders
        for path, number in removed.failed:
            reason = os.strerror(number) if number else "hidden files are left alone, and so is their folder"
            self.account.errors[path] = hint(f"not deleted: {reason}")

    def delete_by_rsync(self, protected: tuple[str, ...], limit: int) -> None:
        """Have rsync delete, where nothing else can: it looks at each folder concerned itself, one level deep."""
        assert self._rsync
        folders = sorted({removal.path for removal in self._removals()})
        words = ("--delete", "--existing", "--ignore-existing", f"--max-delete={limit}", *protected)
        outcome = self._rsync.transfer((path + b"/" if path else b"" for path in folders), words)
        self.account.deleted += len(outcome.deleted)
        self._note({**outcome.failed, **outcome.attributes})
        for path in filter(self._is_left, set(self.goes()).difference(outcome.deleted)):
            # rsync ends with 0 where a directory is not empty, or the daemon is told to keep a name.
            self.account.errors.setdefault(path.rstrip(b"/"), "not deleted: rsync left it there")

    def _is_left(self, path: bytes) -> bool:
        """Tell whether a path should have gone by now: --force has made way for a file of the same name."""
        folder, _, name = path.rstrip(b"/").rpartition(b"/")
        plan = self._by_path.get(folder)
        return plan is None or name not in {*plan.metadata, *plan.strays, *plan.odd, *file_names(plan.uids)}

    def deletes(self) -> bool:
        """Tell whether anything goes."""
        return any(plan.deletes() for plan in self._settled(self.plans))

    def goes(self) -> Iterator[bytes]:
        """Yield the paths that are to be deleted, folders with a slash behind."""
        for removal in self._removals():
            for name in (*file_names(removal.uids), *removal.files):
                yield join(removal.path, name)
            for name in removal.folders:
                yield join(removal.path, name) + b"/"

    def _removals(self) -> Iterator[Removal]:
        settled = [plan for plan in self._settled(self.plans) if plan.deletes()]
        for plan in settled:
            if plan.state is not State.GONE:
                files = (*plan.delete_files, *plan.leftovers)
                yield Removal(plan.path, plan.delete_uids, files)
        for plan in settled:
            if plan.state is State.GONE and not plan.inside_gone:
                parent, _, name = plan.path.rpartition(b"/")
                yield Removal(parent, folders=(name,))

    def _take_headers_away(self, renewed: list[FolderPlan]) -> None:
        """Take `cyrus.header` from folders that are to be filled with another mailbox.

        Should this run die on the way, and the mailboxes change places again on the source, header and index
        would be right once more, and the other mailbox's messages would be taken for theirs. Without its header
        the folder is sent whole by the next run, and Cyrus does not open it meanwhile.
        """
        if self._pretend or not renewed:
            return
        if self._side.can_remove:
            removals = (Removal(plan.path, files=(HEADER,)) for plan in renewed)
            for path, number in self._side.remove(self._root, removals, keep_times=False).failed:
                self.account.errors[path] = hint(f"cannot be replaced: {os.strerror(number)}")
                self._hold_back(path, renewed)
        elif self._rsync:
            blank = self._rsync.directory / "blank"
            headers = [join(plan.path, HEADER) for plan in renewed]
            for header in headers:
                empty = Path(os.fsdecode(bytes(blank) + b"/" + header))
                empty.parent.mkdir(parents=True, exist_ok=True)
                empty.touch()
            outcome = self._rsync.transfer(headers, ("--no-implied-dirs", "--omit-dir-times"), instead=blank)
            self._note(outcome.failed)
            for path in outcome.failed:
                self._hold_back(path, renewed)

    def _hold_back(self, path: bytes, plans: list[FolderPlan]) -> None:
        """Leave a folder, or the one that a file is in, or all below, as it is on the replica."""
        files, whole = self._by_folder([path], plans)
        for folder in (files.keys() | whole) - self._held:
            self._held.add(folder)
            self._give_up(self._by_path[folder].messages_send)

    def _give_up(self, count: int) -> None:
        self.account.failed += count
        self.account.pending -= count

    def _step(
        self,
        name: str,
        plans: list[FolderPlan],
        entries: Callable[[FolderPlan], Iterator[bytes]],
        extra: tuple[str, ...],
        planned: Callable[[FolderPlan], int],
    ) -> None:
        """Run rsync over the entries of these plans, again over what may go well a second time, and book it."""
        if not self._rsync:
            return
        total = sum(planned(plan) for plan in plans)
        tick = self._tick
        listed = (entry for plan in plans for entry in entries(plan))
        outcome = self._rsync.transfer(listed, extra, lambda done, size: tick(name, done, total, size))
        self.account.bytes_sent += outcome.bytes_sent
        again = sorted(path for path, message in outcome.failed.items() if message.worth_another_try())
        second = self._rsync.transfer((entry for path in again for entry in self._entries_of(path, entries)), extra)
        self.account.bytes_sent += second.bytes_sent
        for path in again:
            del outcome.failed[path]
        outcome.failed.update(second.failed)
        outcome.vanished.update(second.vanished)
        outcome.attributes.update(second.attributes)
        self.account.pending -= total
        self._book(outcome, planned, plans)

    def _entries_of(self, path: bytes, entries: Callable[[FolderPlan], Iterator[bytes]]) -> Iterable[bytes]:
        """Return what to list again of a path that failed: of a folder, all of it."""
        plan = self._by_path.get(path)
        return entries(plan) if plan else [path]

    def _book(self, outcome: Outcome, planned: Callable[[FolderPlan], int], plans: list[FolderPlan]) -> None:
        """Count what failed and what vanished, each file once; folders with a failure are held."""
        failed, all_failed = self._by_folder(outcome.failed, plans)
        vanished, all_vanished = self._by_folder(outcome.vanished, plans)
        self._held |= all_failed | failed.keys()
        for path in all_failed | all_vanished | failed.keys() | vanished.keys():
            count = planned(self._by_path[path])
            names = failed.get(path, set())
            failures = count if path in all_failed else min(len(names), count)
            gone = count if path in all_vanished else len(vanished.get(path, set()) - names)
            self.account.failed += failures
            self.account.vanished += min(gone, count - failures)
        self._note({**outcome.failed, **outcome.attributes})

    def _by_folder(self, paths: Iterable[bytes], plans: list[FolderPlan]) -> tuple[dict[bytes, set[bytes]], set[bytes]]:
        """Sort paths of files by their folders; and return the folders of which all is meant.

        A folder's path stands for all that is below it, and so does one that no plan knows.
        """
        files: dict[bytes, set[bytes]] = {}
        whole: set[bytes] = set()
        known = {plan.path for plan in plans}
        for path in paths:
            folder = path.rpartition(b"/")[0]
            if path and path not in known and folder in known:
                files.setdefault(folder, set()).add(path)
            else:
                whole.update(p.path for p in plans if not path or (p.path + b"/").startswith(path + b"/"))
        return files, whole

    def _note(self, complaints: dict[bytes, Message]) -> None:
        if self._rsync and self._rsync.verbatim:
            return  # the user has seen rsync's own words
        for path, message in complaints.items():
            self.account.errors[path] = hint(message.reason)


def _messages(plan: FolderPlan) -> int:
    return plan.messages_send


def _others(plan: FolderPlan) -> int:
    return len(plan.metadata) + len(plan.strays)
