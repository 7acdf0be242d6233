"""The order of a transfer, in one tree or in several that hold parts of the same folders: messages, then the rest.

Between the taking of a folder's metadata and the sending of its messages some may go, or another mailbox may take the
folder's name: then it is taken again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cyrsync.spool.steps import Transfer
from cyrsync.sync.folder_plan import FolderPlan

#: So often a folder may lose a message between its taking and its sending: then it is too busy for now.
_TAKES = 5
_BUSY = "changed too often while being copied: left as it is until the next run"


class Source(Protocol):
    """Where folders are taken from."""

    def check(self, transfer: Transfer, plans: list[FolderPlan]) -> None:
        """See that what was sent is what was taken; tell the transfer what it has lost."""

    def retake(self, paths: list[bytes]) -> Sequence[list[FolderPlan]]:
        """Take folders again, and return their plans as they are now, those of each tree by itself."""


def carry(
    transfers: Sequence[Transfer], source: Source | None, *, force: bool = False, coarse: bool = False
) -> set[bytes]:
    """Send messages, then metadata; return the folders that keep what they had, in all of the trees.

    Without a `source`, nothing was taken, and nothing is looked at again. See `Transfer` for `force` and `coarse`.
    """
    for transfer in transfers:
        transfer.send_messages(force=force)
    if source:
        _settle(transfers, source)
        for transfer in transfers:
            transfer.take_foreign_away()
    held = set().union(*(transfer.held for transfer in transfers))
    for transfer in transfers:
        transfer.hold(held)
        transfer.send_metadata(coarse=coarse)
    held = held.union(*(transfer.held for transfer in transfers))
    for transfer in transfers:
        transfer.hold(held)
    return held


def make_room(transfers: Sequence[Transfer], index_root: bytes) -> None:
    """Let go of what no index names, where a replica is full; `index_root` has the indexes."""
    if any(transfer.full for transfer in transfers):
        unnamed = set().union(*(transfer.without_index(index_root) for transfer in transfers))
        for transfer in transfers:
            transfer.make_room(unnamed)


def _settle(transfers: Sequence[Transfer], source: Source) -> None:
    """Take folders again until what was sent is what was taken."""
    for _ in range(_TAKES):
        for transfer in transfers:
            source.check(transfer, transfer.unchecked())
        stale = _stale(transfers)
        if not stale:
            return
        for transfer, plans in zip(transfers, source.retake(sorted(stale)), strict=True):
            transfer.renew(plans)
    for transfer in transfers:
        source.check(transfer, transfer.unchecked())
    busy = _stale(transfers)
    for transfer in transfers:
        transfer.hold(busy, _BUSY)


def _stale(transfers: Sequence[Transfer]) -> set[bytes]:
    return set().union(*(transfer.stale() for transfer in transfers))
