"""Deletions on the replica of a server, timed and booked."""

from __future__ import annotations

from cyrsync.spool.recording import record
from cyrsync.spool.steps import Transfer
from cyrsync.sync.session import Session


def delete(session: Session, transfer: Transfer) -> set[bytes]:
    """Delete what goes, and return the folders where something stayed."""
    before = set(transfer.account.errors)
    if transfer.deletes():
        policy = session.options.policy
        with session.phases.phase("delete"):
            transfer.delete(keep_times=policy.preserve.times and policy.preserve.dir_times)
    record(session.result, transfer)
    failed = set(transfer.account.errors) - before
    return failed | {path.rpartition(b"/")[0] for path in failed}
