"""The order of a transfer: messages, then the rest.

Between the reading of a folder's metadata and the sending of its messages, messages may vanish, or another mailbox may
get the folder's name: then the folder is read again.
"""

from __future__ import annotations

from typing import Protocol

from cyrsync.spool.losses import Losses
from cyrsync.spool.steps import Transfer
from cyrsync.sync.folder_plan import FolderPlan

#: So often a folder is read again because it lost a message before that was sent; after that it is too busy for now.
_READS = 5
_BUSY = "changed too often while being copied; will be retried in the next run"


class Source(Protocol):
    """What reads folders."""

    def check(self, losses: Losses, plans: list[FolderPlan]) -> None:
        """Compare what was sent with what was read, and record in `losses` what was lost."""

    def read_again(self, paths: list[bytes]) -> list[FolderPlan]:
        """Read folders again, and return their plans as they are now."""


def send(transfer: Transfer, source: Source | None, *, force: bool = False, coarse: bool = False) -> set[bytes]:
    """Send messages, then metadata; return the folders that keep what they had.

    Without a `source`, nothing was read under locks, and nothing is read again. `Transfer` explains `force`, `coarse`.
    """
    transfer.send_messages(force=force)
    if source:
        _settle(transfer, source)
    transfer.send_metadata(coarse=coarse)
    return set(transfer.account.held)


def _settle(transfer: Transfer, source: Source) -> None:
    """Read folders again until what was sent is what was read."""
    losses = Losses(transfer)
    source.check(losses, losses.unchecked())
    for _ in range(_READS):
        stale = losses.stale()
        if not stale:
            break
        losses.renew(source.read_again(sorted(stale)))
        source.check(losses, losses.unchecked())
    transfer.hold(losses.stale(), _BUSY)
    losses.take_foreign_away()
