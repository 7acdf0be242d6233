"""The folders in which names prove nothing: a power cut ended the run that wrote there."""

from __future__ import annotations

from pathlib import Path

from cyrsync.ends.tree_pair import TreePair
from cyrsync.state import under_way
from cyrsync.sync.ownership import WalkOwnership


def folders(trees: TreePair, state: Path, key: str, warnings: list[str]) -> frozenset[bytes] | None:
    """Return the folders of the replica whose messages are to be compared, None for all; add to `warnings` why.

    `key` names the pair in the directory of `state`.
    """
    ownership = WalkOwnership(trees.replica.writer, trees.replica_status) if trees.replica_address else None
    if not (ownership and ownership.doubt):
        return frozenset()
    found = under_way.recall(state, key, ownership.replica)
    what = "all messages are" if found is None else "what was under way then is"
    warnings.append(f"{ownership.doubt}: {what} compared")
    return found
