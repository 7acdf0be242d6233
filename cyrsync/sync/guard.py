"""The limit of what a run may delete. It is checked in the plan, before anything is deleted."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from cyrsync.errors import UsageError
from cyrsync.sync.folder_plan import FolderPlan, State

#: Without --max-delete: more than half of the replica's messages or folders, if that is more than this many.
_HARMLESS = 100
_HALF = 50  # percent
_LIMIT = re.compile(r"(\d+)(%?)")


#: Messages, other files and folders that one plan deletes.
Counts = tuple[int, int, int]
_NONE: Counts = (0, 0, 0)


@dataclass(slots=True)
class Deletions:
    """What a whole plan would delete, beside what the replica holds."""

    messages: int = 0
    folders: int = 0
    others: int = 0  # metadata files and other files
    files: int = 0  # beside the partitions
    replica_messages: int = 0
    replica_folders: int = 0
    replica_files: int = 0

    def change(self, by: Counts, sign: int = 1) -> None:
        """Count so many more, or with a `sign` of -1, fewer."""
        self.messages += sign * by[0]
        self.others += sign * by[1]
        self.folders += sign * by[2]

    def total(self) -> int:
        """Return the number of files and folders."""
        return self.messages + self.folders + self.others + self.files


class MaxDelete(NamedTuple):
    """The user's own limit: so many files and folders, or so many percent of the replica's messages or folders."""

    number: int
    percent: bool

    @classmethod
    def parse(cls, text: str) -> MaxDelete:
        """Read `N` or `N%`. Raise UsageError for anything else."""
        match = _LIMIT.fullmatch(text.strip())
        if not match or (match[2] and int(match[1]) > 100):
            raise UsageError(f"--max-delete={text}: give a number, or a percentage as 10%")
        return cls(int(match[1]), bool(match[2]))


class DeleteLimit:
    """What one run may delete: every deletion is counted here before it happens, whenever it was planned.

    As soon as there are too many, nothing more is deleted in this run, whichever plan it stands in.
    """

    def __init__(self, limit: MaxDelete | None, *, asked: bool) -> None:
        """`asked`: whether the run is to delete at all."""
        self.limit = limit
        self.counted = Deletions()
        #: Why nothing more is deleted, "" as long as something may be.
        self.reason = ""
        self._asked = asked
        self._planned: dict[Hashable, Counts] = {}
        self._tried: dict[Hashable, Counts] = {}  # planned by an attempt that was broken off
        self._done = 0
        self._doubted = 0  # files and folders
        self._started = False
        self._earlier = _NONE  # deleted by others that the limit is for, too
        self._replica = (0, 0)  # messages and folders, as the last attempt found them

    def begin(self) -> None:
        """Begin to count once more, for another attempt: what the last one may have deleted stays counted."""
        if not self._started:
            self.counted, self.reason, self._doubted = Deletions(), "", 0
            self._planned.clear()
            return
        counted = self.counted
        self._tried.update(self._planned)
        self._planned.clear()
        self._replica = (counted.replica_messages, counted.replica_folders)
        counted.replica_messages = counted.replica_folders = 0

    def listed(self, key: Hashable, plan: FolderPlan) -> None:
        """Count a folder of a listing, and what the replica has of it. `decide` when the listing is complete."""
        self.counted.replica_messages += plan.replica_messages
        self.counted.replica_folders += plan.state not in (State.NEW, State.UNREADABLE, State.VANISHED, State.UNSEEN)
        self.count(key, plan)

    def count(self, key: Hashable, plan: FolderPlan) -> None:
        """Count a folder's plan in place of an earlier one that was not executed."""
        if not self._asked:
            plan.keep()
        before = self._planned.get(key) or self._tried.get(key, _NONE)
        now = deletions_of(plan)
        if key in self._tried:
            one, other = self._tried[key], now
            now = (max(one[0], other[0]), max(one[1], other[1]), max(one[2], other[2]))
        if now != before:
            self.counted.change(before, -1)
            self.counted.change(now)
            self._planned[key] = now

    def planned(self, key: Hashable) -> Counts:
        """Return what is counted of a folder, and has not been deleted yet."""
        return self._planned.get(key, _NONE)

    def replan(self, key: Hashable, plan: FolderPlan) -> None:
        """Count what a folder's plan is now, in place of an earlier one; if that is too much, keep what is there."""
        self.count(key, plan)
        self.decide()
        if not self.allows():
            plan.kept = True

    def of(self, *, messages: int, folders: int) -> None:
        """Tell what the replica has, where no listing counts that."""
        counted = self.counted
        counted.replica_messages = max(counted.replica_messages, messages)
        counted.replica_folders = max(counted.replica_folders, folders)

    def sent(self, *, messages: int, folders: int = 0) -> None:
        """Note what the replica has got since: it may lose that, too."""
        self.counted.replica_messages += messages
        self.counted.replica_folders += folders

    def files(self, number: int, *, of: int) -> None:
        """Count files beside the partitions, `of` so many that the replica has."""
        self.counted.files = max(self.counted.files, number if self._asked else 0)
        self.counted.replica_files = max(self.counted.replica_files, of)

    def done(self, keys: Iterable[Hashable]) -> None:
        """Note that the deletions in these folders have happened: others there are counted beside them."""
        for key in keys:
            self._done += sum(self._planned.pop(key, _NONE))
            self._tried.pop(key, None)

    def left(self) -> int:
        """Return how many files and folders are to be deleted yet; with a `reason`, they stay."""
        return self.counted.total() - self._done + self._doubted

    def after(self, earlier: Counts) -> None:
        """Count what others have deleted for which the same limit holds, as the runs of one watcher within an hour."""
        self._earlier = earlier

    def spent(self) -> Counts:
        """Return what may have been deleted by now."""
        counted = self.counted
        return (counted.messages, counted.others + counted.files, counted.folders) if self._started else _NONE

    def decide(self) -> None:
        """See whether all that is counted by now is too much."""
        if not self.reason:
            messages, folders = self._replica
            self.of(messages=messages, folders=folders)
            both = replace(self.counted)
            both.change(self._earlier)
            # The percentage is of what there was before, not of what is left.
            both.replica_messages += self._earlier[0]
            both.replica_folders += self._earlier[2]
            reason = withhold(both, self.limit) if self.counted.total() else None
            self.reason = f"nothing {'more ' if self._done else ''}is deleted: {reason}" if reason else ""

    def doubt(self, plans: Iterable[FolderPlan], reason: str) -> None:
        """Let nothing more be deleted, for this `reason`, if these plans, too, would make it too much.

        These plans are not executed, and count for nothing else.
        """
        both = replace(self.counted)
        for plan in plans:
            both.change(deletions_of(plan))
        if self._asked and not self.reason and withhold(both, self.limit):
            self._doubted = both.total() - self.counted.total()
            self.refuse(f"{reason} Give --max-delete={both.total()} if it is right")

    def refuse(self, reason: str) -> None:
        """Let nothing more be deleted, for another `reason` than the number."""
        self.reason = self.reason or f"nothing {'more ' if self._done else ''}is deleted: {reason}"

    def allows(self) -> bool:
        """Tell whether anything may be deleted now."""
        return self._asked and not self.reason

    def start(self) -> bool:
        """Tell whether what is counted may be deleted now, and note that it is; asked right before that."""
        self._started = self._started or self.allows()
        return self.allows()


def deletions_of(plan: FolderPlan) -> Counts:
    """Return what a plan deletes."""
    if not plan.deletes():
        return _NONE
    is_folder = plan.state is State.GONE and not (plan.spares or plan.made_now)
    return plan.messages_delete, plan.others_delete, int(is_folder)


def withhold(planned: Deletions, limit: MaxDelete | None) -> str | None:
    """Return why nothing must be deleted, None if the plan may be executed."""
    if not planned.total():
        return None
    if limit is None:
        return _too_many(planned, _HALF, _HARMLESS, f"give --max-delete={planned.total()} if that is right")
    if limit.percent:
        return _too_many(planned, limit.number, 0, f"the limit is --max-delete={limit.number}%")
    if planned.total() > limit.number:
        return f"{planned.total()} files and folders to delete; the limit is --max-delete={limit.number}"
    return None


def _too_many(planned: Deletions, percent: int, harmless: int, remark: str) -> str | None:
    for what, count, of in (
        ("messages", planned.messages, planned.replica_messages),
        ("folders", planned.folders, planned.replica_folders),
        ("files beside the partitions", planned.files, planned.replica_files),
    ):
        if count > harmless and count * 100 > of * percent:
            return f"{count} of the replica's {of} {what} to delete; {remark}"
    return None
