"""Taking folders just before they are sent: their metadata into the staging, and their plans made anew from that."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from cyrsync.cyrus.snapshot import PATIENCE
from cyrsync.plan.compare import Policy, compare
from cyrsync.plan.folder_plan import FolderPlan
from cyrsync.report.result import RunResult
from cyrsync.report.text import path_text
from cyrsync.transfer.staging import Staging
from cyrsync.tree.side import Side
from cyrsync.tree.take import Taken

#: Bytes of metadata that one batch may stage, and messages that it may list.
_STAGED_BYTES, _LISTED = 256 << 20, 1_000_000
_BUSY = f"a writer keeps it locked, or never rests: left as it is after {PATIENCE:g} seconds, until the next run"


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


class Taker:
    """Takes folders of one source."""

    def __init__(self, source: Side, root: bytes, policy: Policy, staging: Staging, result: RunResult) -> None:
        self._source = source
        self._root = root
        self._policy = policy
        self._staging = staging
        self._result = result

    def take(self, plans: list[FolderPlan]) -> list[FolderPlan]:
        """Return the plans, of folders with bound metadata to send as they are now, with that metadata staged."""
        wanted = [plan.path for plan in plans if plan.metadata or plan.taken]
        taken = self._source.take(self._root, wanted)
        found = [self._replan(plan, next(taken)) if plan.metadata or plan.taken else plan for plan in plans]
        self._staging.finish()
        return found

    def _replan(self, plan: FolderPlan, taken: Taken) -> FolderPlan:
        fresh = compare(taken.folder, plan.replica, self._policy)
        if taken.folder.problem == errno.EBUSY:
            self._result.errors.append(f"{path_text(plan.path)}: {_BUSY}")
        elif not taken.folder.problem:
            self._staging.add(taken)
            fresh.taken = fresh.staged = True
            fresh.touch = True
        self._result.revise(plan, fresh)
        return fresh
