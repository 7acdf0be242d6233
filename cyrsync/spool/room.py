"""A replica that is too full for what is to be sent to a folder, though messages are to be deleted there.

Messages are deleted when no index names them any more, and rsync writes a new index beside the old one: where there is
no room for that, nothing would ever be deleted. So the old index is deleted first, then the messages, and all is sent
once more. A folder without an index is known to the next run, should this one die. It is done only where what is
deleted takes as much room as what is sent: else the index stays, and the messages that it names.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Protocol

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.errors import ReplicaFull
from cyrsync.far.uids import file_names
from cyrsync.spool.steps import Transfer
from cyrsync.sync.folder_plan import FolderPlan

_BLOCK = 4096  # bytes: the room for a file is a multiple

#: Sizes of files of the source, by their paths below its root; None where that is not known.
Sizes = Callable[[list[bytes]], list[int | None]]


class Again(Protocol):
    """Executes the plans of some folders once more."""

    def __call__(self, before: Transfer, paths: list[bytes], *, clear: bool) -> Transfer:
        """Transfer in place of `before`, with `clear` after old indexes are removed; return the new transfer."""


def try_again(transfer: Transfer, sizes: Sizes, again: Again) -> ReplicaFull | None:
    """Carry out once more what there was no room for; return why there is none still, None where all is there.

    The first folder makes room for others, so twice as many indexes are deleted at once each time. `sizes` are of the
    source.
    """

    def makes_room(path: bytes) -> bool:
        left = _balance(path, transfer, sizes)
        return left is not None and left >= 0

    short = set(transfer.account.short)
    number = 1
    while transfer.account.full:
        chosen = list(islice(filter(makes_room, sorted(short)), number))
        if not chosen:
            break
        cleared = again(transfer, chosen, clear=True)
        if cleared.account.full:
            return cleared.account.full
        short -= set(chosen)
        if not short:
            return None
        transfer = again(transfer, sorted(short), clear=False)
        short = set(transfer.account.short)
        number *= 2
    return transfer.account.full


def _balance(path: bytes, transfer: Transfer, sizes: Sizes) -> int | None:
    """Return how many bytes more are deleted in a folder than are sent.

    None where nothing is deleted that an index names, or where that cannot be told.
    """
    plan = transfer.plan(path)
    if plan is None or not plan.delete_uids or plan.kept or kinds.INDEX not in plan.metadata:
        return None
    needed = _needed(plan, sizes)
    return None if needed is None else sum(map(_blocks, transfer.size_of_deleted(plan))) - needed


def _needed(plan: FolderPlan, sizes_of: Sizes) -> int | None:
    """Return the bytes that a plan's files need on the replica, with one directory; None where that is not known."""
    sizes = sizes_of(plan.entries([*file_names(plan.uids), *plan.nonstandard, *plan.derived]))
    known = [size for size in sizes if size is not None]
    staged = plan.metadata_bytes + _BLOCK * (len(plan.metadata) + 1)
    return sum(map(_blocks, known)) + staged if len(known) == len(sizes) else None


def _blocks(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
