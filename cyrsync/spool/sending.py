"""The order of a transfer: messages, then the rest.

Between the taking of a folder's metadata and the sending of its messages some may go, or another mailbox may take the
folder's name: then it is taken again.
"""

from __future__ import annotations

from typing import Protocol

from cyrsync.spool.losses import Losses
from cyrsync.spool.steps import Transfer
from cyrsync.sync.folder_plan import FolderPlan

#: So often a folder may lose a message between its taking and its sending: then it is too busy for now.
_TAKES = 5
_BUSY = "changed too often while being copied: left as it is until the next run"


class Source(Protocol):
    """Where folders are taken from."""

    def check(self, losses: Losses, plans: list[FolderPlan]) -> None:
        """Compare what was sent with what was read, and record in `losses` what was lost."""

    def retake(self, paths: list[bytes]) -> list[FolderPlan]:
        """Take folders again, and return their plans as they are now."""


def send(transfer: Transfer, source: Source | None, *, force: bool = False, coarse: bool = False) -> set[bytes]:
    """Send messages, then metadata; return the folders that keep what they had.

    Without a `source`, nothing was taken, and nothing is looked at again. See `Transfer` for `force` and `coarse`.
    """
    transfer.send_messages(force=force)
    if source:
        _settle(transfer, source)
    transfer.send_metadata(coarse=coarse)
    return set(transfer.account.held)


def _settle(transfer: Transfer, source: Source) -> None:
    """Take folders again until what was sent is what was taken."""
    losses = Losses(transfer)
    source.check(losses, losses.unchecked())
    for _ in range(_TAKES):
        stale = losses.stale()
        if not stale:
            break
        losses.renew(source.retake(sorted(stale)))
        source.check(losses, losses.unchecked())
    transfer.hold(losses.stale(), _BUSY)
    losses.take_foreign_away()
