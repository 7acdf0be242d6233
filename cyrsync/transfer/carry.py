"""The order of a transfer, in one tree or in several that hold parts of the same folders: messages, then the rest.

Between the taking of a folder's metadata and the sending of its messages some may go: then it is taken again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cyrsync.plan.folder_plan import FolderPlan
from cyrsync.transfer.steps import Transfer

#: So often a folder may lose a message between its taking and its sending: then it is too busy for now.
_TAKES = 5
_BUSY = "its messages go faster than they can be sent: left as it is until the next run"

#: Takes folders again, and returns their plans as they are now, those of each tree by itself.
Retake = Callable[[list[bytes]], Sequence[list[FolderPlan]]]


def carry(
    transfers: Sequence[Transfer], retake: Retake | None, *, force: bool = False, coarse: bool = False
) -> set[bytes]:
    """Send messages, then metadata; return the folders that keep what they had, in all of the trees.

    See `Transfer` for `force` and `coarse`.
    """
    for transfer in transfers:
        transfer.send_messages(force=force)
    for _ in range(_TAKES if retake else 0):
        stale = _stale(transfers)
        if not stale:
            break
        assert retake
        for transfer, plans in zip(transfers, retake(sorted(stale)), strict=True):
            transfer.renew(plans)
    if retake:
        for transfer in transfers:
            transfer.hold(transfer.stale(), _BUSY)
    held = set().union(*(transfer.held for transfer in transfers))
    for transfer in transfers:
        transfer.hold(held)
        transfer.send_metadata(coarse=coarse)
    held = held.union(*(transfer.held for transfer in transfers))
    for transfer in transfers:
        transfer.hold(held)
    return held


def _stale(transfers: Sequence[Transfer]) -> set[bytes]:
    return set().union(*(transfer.stale() for transfer in transfers))
