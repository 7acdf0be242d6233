"""How many files of a folder each step of a transfer sends."""

from __future__ import annotations

from cyrsync.sync.folder_plan import FolderPlan


def messages(plan: FolderPlan) -> int:
    """Return how many are messages, or sent with them."""
    return plan.messages_send + len(plan.derived)


def staged(plan: FolderPlan) -> int:
    """Return how many are sent from a staged copy."""
    return len(plan.metadata) if plan.staged else 0


def unstaged(plan: FolderPlan) -> int:
    """Return how many are sent after the messages, but not from a staged copy."""
    return last(plan) - staged(plan)


def last(plan: FolderPlan) -> int:
    """Return how many are sent after the messages."""
    return len(plan.metadata) + len(plan.other_files)
