"""What became of the files and folders of a transfer."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.errors import Exit, ReplicaFull, hint
from cyrsync.far.uids import file_names
from cyrsync.rsync.messages import Complaint, Kind
from cyrsync.rsync.outcome import Outcome
from cyrsync.sync.folder_plan import FolderPlan

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

#: How many files of a folder one step sends.
Planned = Callable[[FolderPlan], int]


@dataclass(slots=True)
class Account:
    """What became of every planned file, planned = sent + vanished + failed, and of the folders that they are in."""

    planned: int = 0
    vanished: int = 0
    failed: int = 0
    deleted: int = 0
    pending: int = 0  # planned, and rsync has not finished them
    arriving: int = 0  # of these, as many as the present rsync says that it has sent
    bytes_sent: int = 0
    same_messages: int = 0  # that were to be compared, and are the same
    same_folders: set[bytes] = field(default_factory=set)  # with nothing else to be done in them
    errors: dict[bytes, str] = field(default_factory=dict)  # by path below the root
    held: set[bytes] = field(default_factory=set)  # folders that keep what they have
    full: ReplicaFull | None = None  # why they do
    short: set[bytes] = field(default_factory=set)  # those for which there is no room
    given_up: Counter[bytes] = field(default_factory=Counter)  # files that failed, by folder
    lost: dict[bytes, set[bytes]] = field(default_factory=dict)  # folders with the messages in them that vanished

    def plan(self, count: int) -> None:
        """Expect so many files more."""
        self.planned += count
        self.pending += count

    @property
    def sent(self) -> int:
        """What arrived, or was found on the replica as it should be."""
        return self.planned - self.vanished - self.failed - self.unsent

    @property
    def unsent(self) -> int:
        """What was planned, and is neither there nor has failed: the run was broken off."""
        return self.pending - min(self.arriving, self.pending)

    def give_up(self, plan: FolderPlan, count: int) -> None:
        """Count files of a folder as failed that rsync will not be given."""
        self.failed += count
        self.pending -= count
        self.given_up[plan.path] += count

    def hold_back(self, paths: Iterable[bytes], plans: list[FolderPlan], planned: Planned) -> None:
        """Leave these folders, or those that these files are in, with all below, as they are on the replica."""
        files, whole = by_folder(paths, plans)
        self._hold([plan for plan in plans if plan.path in files or plan.path in whole], planned)

    def no_room(self, error: ReplicaFull, plans: list[FolderPlan], planned: Planned) -> None:
        """Give up what was given to an rsync that broke off for want of room: it does not say which files arrived."""
        self.full = error
        self.arriving = 0
        self.short |= {plan.path for plan in plans} - self.held
        self._hold(plans, planned)

    def record(self, outcome: Outcome, plans: list[FolderPlan], planned: Planned) -> dict[bytes, Complaint]:
        """Count what failed and what vanished, each file once; folders with a failure are held. Return complaints."""
        self.pending -= sum(map(planned, plans))
        self.arriving = 0
        # An index that looks otherwise than the source's would look like one that somebody else has written.
        for path, message in outcome.attributes.items():
            if path.rpartition(b"/")[2] in kinds.SNAPSHOT:
                outcome.failed.setdefault(path, message)
        no_room = {path: message for path, message in outcome.failed.items() if message.number in _NO_ROOM}
        if no_room:
            reason = next(iter(no_room.values())).reason
            self.full = self.full or ReplicaFull(f"not all could be written: {hint(reason)}", Exit.PARTIAL)
            self.short.update(*map(set, by_folder(no_room, plans)))
        failed, all_failed = by_folder(outcome.failed, plans)
        vanished, all_vanished = by_folder(outcome.vanished, plans)
        self.held |= all_failed
        self.held |= {folder for folder, files in failed.items() if not all(_is_left_out(outcome, f) for f in files)}
        by_path = {plan.path: plan for plan in plans}
        for path in all_vanished | vanished.keys():
            plan = by_path[path]
            names = plan.entries(file_names(plan.uids)) if path in all_vanished else vanished[path]
            self.lost.setdefault(path, set()).update(names)
        for path in all_failed | all_vanished | failed.keys() | vanished.keys():
            count = planned(by_path[path])
            names = failed.get(path, set())
            failures = count if path in all_failed else min(len(names), count)
            gone = count if path in all_vanished else len(vanished.get(path, set()) - names)
            self.failed += failures
            self.given_up[path] += failures
            self.vanished += min(gone, count - failures)
        others = {path: message for path, message in outcome.failed.items() if path not in no_room}
        return {**others, **outcome.attributes}

    def _hold(self, plans: list[FolderPlan], planned: Planned) -> None:
        for plan in plans:
            if plan.path not in self.held:
                self.held.add(plan.path)
                self.give_up(plan, planned(plan))


def by_folder(paths: Iterable[bytes], plans: list[FolderPlan]) -> tuple[dict[bytes, set[bytes]], set[bytes]]:
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


def _is_left_out(outcome: Outcome, path: bytes) -> bool:
    """Return whether the replica never has this file, by its daemon's will, and its folder does not need it."""
    name = path.rpartition(b"/")[2]
    needed = kinds.is_message(name) or name in kinds.SNAPSHOT
    return outcome.failed[path].kind is Kind.REFUSED and not needed
