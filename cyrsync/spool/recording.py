"""What became of the files of a transfer, added to the result of a run."""

from __future__ import annotations

from collections.abc import Collection

from cyrsync.spool.steps import Transfer
from cyrsync.sync.result import RunResult
from cyrsync.text import path_text


def record(result: RunResult, transfer: Transfer) -> None:
    """Add what became of the files of a transfer."""
    account, files = transfer.account, result.files
    result.bytes_sent += account.bytes_sent
    result.spare(account.same_messages, account.same_folders)
    files.planned += account.planned
    files.vanished += account.vanished
    files.failed += account.failed + account.unsent
    files.sent += account.sent
    files.deleted += account.deleted
    result.errors += [f"{path_text(path)}: {reason}" for path, reason in account.errors.items()]
    result.hold(account.held)


def forget(result: RunResult, transfer: Transfer, paths: Collection[bytes]) -> None:
    """Subtract what was recorded of folders that are tried again."""
    for plan in filter(None, map(transfer.plan, paths)):
        planned, failed = plan.files_planned(), transfer.account.given_up[plan.path]
        result.files.planned -= planned
        result.files.failed -= failed
        result.files.sent -= planned - failed
    result.release(set(paths))
