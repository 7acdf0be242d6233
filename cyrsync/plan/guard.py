"""The rails: how much a run may delete. They stand in the plan, before anything is deleted."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cyrsync.errors import UsageError
from cyrsync.plan.folder_plan import FolderPlan, State

#: Without --max-delete: more than half of the replica's messages or folders, if that is more than this many.
_HARMLESS = 100
_HALF = 50  # percent
_LIMIT = re.compile(r"(\d+)(%?)")


@dataclass(slots=True)
class Deletions:
    """What a whole plan would delete, beside what the replica holds."""

    messages: int = 0
    folders: int = 0
    others: int = 0  # metadata files and strays
    files: int = 0  # beside the partitions
    replica_messages: int = 0
    replica_folders: int = 0
    replica_files: int = 0

    def add(self, plan: FolderPlan) -> None:
        """Count one folder."""
        if plan.deletes():
            self.messages += plan.messages_delete
            self.others += plan.others_delete
            self.folders += plan.state is State.GONE
        self.replica_messages += plan.replica_messages
        self.replica_folders += plan.state not in (State.NEW, State.UNREADABLE, State.VANISHED)

    def replace(self, old: FolderPlan, new: FolderPlan) -> None:
        """Count a folder's plan for the one it had before."""
        if old.deletes():
            self.messages -= old.messages_delete
            self.others -= old.others_delete
        if new.deletes():
            self.messages += new.messages_delete
            self.others += new.others_delete

    def total(self) -> int:
        """Return the number of files and folders."""
        return self.messages + self.folders + self.others + self.files


@dataclass(frozen=True, slots=True)
class MaxDelete:
    """The user's own rail: so many files and folders, or so many percent of the replica's messages or folders."""

    number: int
    percent: bool

    @classmethod
    def parse(cls, text: str) -> MaxDelete:
        """Read `N` or `N%`. Raise UsageError for anything else."""
        match = _LIMIT.fullmatch(text.strip())
        if not match or (match[2] and int(match[1]) > 100):
            raise UsageError(f"--max-delete={text}: give a number, or a percentage as 10%")
        return cls(int(match[1]), bool(match[2]))


def withhold(planned: Deletions, limit: MaxDelete | None) -> str | None:
    """Return why nothing must be deleted, None when the plan may be carried out."""
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
