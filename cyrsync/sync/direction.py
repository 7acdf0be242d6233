"""Whether a run leads from a server to its replica, and not the other way: SRC and DEST are easily swapped."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from cyrsync.ends.tree import Status, Tree, owner_file_of
from cyrsync.errors import RefusedError
from cyrsync.far import host
from cyrsync.far.at_work import Cyrus, at_work


def replica_at(status: Status) -> str:
    """Return the error for a source that is a replica and was not promoted; "" for a server's own mail."""
    owner_file = owner_file_of(status)
    if owner_file is None or owner_file.promoted:
        return ""
    whose = f"the replica of {owner_file.source}" if owner_file.source else "a replica"
    return f"{os.fsdecode(status.root)}: it is {whose}, and was not promoted"


def source_here(root: bytes) -> Status:
    """Return what a source on this machine says of itself: nothing but its owner file is looked at."""
    return Status(root, exists=True, directory=True, parent=True, owner_file=host.owner_text(root))


def refuse_replica(status: Status) -> None:
    """Raise RefusedError for a source that is a replica."""
    found = replica_at(status)
    if found:
        raise RefusedError(f"{found}: are SRC and DEST swapped? `sync --from-replica` sends from it nevertheless")


def cyrus_on(tree: Tree, roots: Sequence[bytes]) -> tuple[str, str]:
    """Return the error for a Cyrus that uses a root of the replica, and the warning for one that may use it."""
    return _said_of(tree.cyrus_at_work(roots))


def refuse_cyrus(tree: Tree, roots: Sequence[bytes]) -> list[str]:
    """Raise RefusedError for a replica that a Cyrus is using; return a warning if that is not known."""
    known, doubtful = cyrus_on(tree, roots)
    _refuse(known)
    return [doubtful] if doubtful else []


def refuse_cyrus_here(root: bytes) -> None:
    """Raise RefusedError for a directory on this machine that is, or lies in, one that a Cyrus is using."""
    _refuse(_said_of(at_work([root], within=True))[0])


def _said_of(found: Iterable[Cyrus]) -> tuple[str, str]:
    known, doubtful = "", ""
    for cyrus in found:
        process = f"process {cyrus.pid} there with {os.fsdecode(cyrus.conf)}"
        if cyrus.directory:
            known = known or f"{os.fsdecode(cyrus.directory)}: a Cyrus is using it, {process}"
        else:
            doubtful = f"a Cyrus is running, {process}, which cannot be read: if it uses the replica, stop it"
    return known, doubtful


def _refuse(known: str) -> None:
    if known:
        raise RefusedError(
            f"{known}: are SRC and DEST swapped? Stop it, or `sync --overwrite-replica` writes there, "
            "and what only it has is lost"
        )
