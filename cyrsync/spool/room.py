"""A replica that is too full for what is to be sent to a folder, though messages are to be deleted there.

Messages are deleted when no index names them any more, and rsync writes a new index beside the old one: where there is
no room for that, nothing would ever be deleted. So the old index is deleted first, then the messages, and all is sent
once more. A folder without an index is known to the next run, should this one die. It is done only where what is
deleted takes as much room as what is sent: else the index stays, and the messages that it names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Protocol

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.ends.side import Writer
from cyrsync.errors import ReplicaFull
from cyrsync.far.folder import join
from cyrsync.far.remove import Removal
from cyrsync.far.uids import file_names
from cyrsync.spool.steps import Transfer
from cyrsync.sync.folder_plan import FolderPlan

_BLOCK = 4096  # bytes: what a file takes is a multiple

#: Sizes of files of the source, by their paths below one of its roots; None where that is not known.
Sizes = Callable[[list[bytes]], list[int | None]]


class Again(Protocol):
    """Whoever carries out the plans of some folders once more."""

    def __call__(self, before: Sequence[Transfer], paths: list[bytes], *, clear: bool) -> Sequence[Transfer]:
        """Do it in place of what came of them `before`, with `clear` after `make_way`; return the new transfers."""


def try_again(
    transfers: Sequence[Transfer],
    index_root: bytes,
    sizes: Sequence[Sizes],
    again: Again,
    device: Callable[[bytes], int] = lambda _: 0,
) -> ReplicaFull | None:
    """Carry out once more what there was no room for; return why there is none still, None where all is there.

    The first folder makes room for others, so twice as many indexes are deleted at once each time. `index_root` is the
    replica's directory with the indexes; `sizes` are of the sources of the `transfers`; `device` tells on which file
    system a directory of the replica is.
    """

    def makes_room(path: bytes) -> bool:
        left = _balance(path, transfers, index_root, sizes, device)
        return left is not None and all(size >= 0 for size in left.values())

    full, short = _full(transfers), _short(transfers)
    number = 1
    while full:
        chosen = list(islice(filter(makes_room, sorted(short)), number))
        if not chosen:
            return full
        cleared = again(transfers, chosen, clear=True)
        if _full(cleared):
            return _full(cleared)
        short -= set(chosen)
        if not short:
            return None
        transfers = again(transfers, sorted(short), clear=False)
        full, short = _full(transfers), _short(transfers)
        number *= 2
    return None


def make_way(transfers: Sequence[Transfer], index_root: bytes, paths: list[bytes]) -> None:
    """Delete the indexes of these folders, then what is to be deleted there; where that cannot be, they are held."""
    failed: set[bytes] = set()
    for transfer in sorted(transfers, key=lambda one: one.root != index_root):
        index = (kinds.INDEX,) if transfer.root == index_root else ()
        plans = [plan for path in paths if path not in failed and (plan := transfer.plan(path))]
        failed |= transfer.delete_first([Removal(plan.path, plan.delete_uids, index) for plan in plans])
    for transfer in transfers:
        transfer.hold(failed)


def _full(transfers: Sequence[Transfer]) -> ReplicaFull | None:
    return next((transfer.full for transfer in transfers if transfer.full), None)


def _short(transfers: Sequence[Transfer]) -> set[bytes]:
    return set().union(*(transfer.short for transfer in transfers))


def _balance(
    path: bytes,
    transfers: Sequence[Transfer],
    index_root: bytes,
    sizes: Sequence[Sizes],
    device: Callable[[bytes], int],
) -> dict[int, int] | None:
    """Return how much more room what is deleted in a folder takes than what is sent, in bytes by file system.

    None where nothing is deleted that an index names, or where that cannot be told.
    """
    plans = [plan for transfer in transfers if (plan := transfer.plan(path))]
    if not any(plan.delete_uids for plan in plans) or any(plan.kept for plan in plans):
        return None
    balance: Counter[int] = Counter()
    for transfer, sizes_of in zip(transfers, sizes, strict=True):
        plan = transfer.plan(path)
        if plan is None:
            continue
        writer = transfer.writer
        if not writer or (transfer.root == index_root and kinds.INDEX not in plan.metadata):
            return None
        needed = _needed(plan, sizes_of)
        if needed is None:
            return None
        freed = _freed(plan, transfer.root, writer, with_index=transfer.root == index_root)
        balance[device(transfer.root)] += freed - needed
    return balance


def _needed(plan: FolderPlan, sizes_of: Sizes) -> int | None:
    """Return the bytes that a plan's files take on the replica, with one directory; None where that is not known."""
    sizes = sizes_of(plan.entries([*file_names(plan.uids), *plan.odd, *plan.loose]))
    known = [size for size in sizes if size is not None]
    staged = plan.metadata_bytes + _BLOCK * (len(plan.metadata) + 1)
    return sum(map(_blocks, known)) + staged if len(known) == len(sizes) else None


def _freed(plan: FolderPlan, root: bytes, writer: Writer, *, with_index: bool) -> int:
    names = [*file_names(plan.delete_uids), *[kinds.INDEX][:with_index]]
    found = writer.stat([join(root, path) for path in plan.entries(names)])
    return sum(_blocks(one[0]) for one in found if isinstance(one, tuple))


def _blocks(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
