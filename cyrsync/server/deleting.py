"""Deletions on the replica of a server, timed and reported."""

from __future__ import annotations

from cyrsync.server.replica import Replica
from cyrsync.sync.folder_plan import FolderPlan
from cyrsync.sync.session import Session


def delete(session: Session, replica: Replica, root: bytes, plans: list[FolderPlan]) -> set[bytes]:
    """Execute the deletions of plans below a root of the source, and return the folders where something stayed."""
    from cyrsync.spool.recording import record  # what few runs need is not loaded by all
    from cyrsync.spool.steps import Transfer

    where = (plans, None, replica.tree, replica.root(root), session.progress.transfer)
    transfer = Transfer(*where, may_delete=session.limit.start)
    before = set(transfer.account.errors)
    if transfer.deletes():
        policy = session.options.policy
        with session.phases.phase("delete"):
            transfer.delete(keep_times=policy.preserve.times and policy.preserve.dir_times)
    record(session.result, transfer)
    failed = set(transfer.account.errors) - before
    return failed | {path.rpartition(b"/")[0] for path in failed}
