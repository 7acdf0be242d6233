"""Leftovers of killed runs on the replica: the temporary files of what they were sending.

Only files that the state names are looked for, and only by a run that has the replica alone: so they are nobody else's,
however young they are.
"""

from __future__ import annotations

import os
from itertools import groupby

from cyrsync.far.remove import Removal
from cyrsync.server.replica import Replica
from cyrsync.server.roots import Roots
from cyrsync.state.conf_table import ConfTable
from cyrsync.state.store import Store
from cyrsync.text import path_text


def find(store: Store, partitions: dict[str, Roots]) -> dict[bytes, list[Removal]]:
    """Return what the last run was sending if it was killed, by root of the source; nothing if it ended."""
    memory = store.memory
    found: dict[bytes, list[Removal]] = {}
    if not memory.replica or memory.ended:
        return found
    for row in store.under_way():
        roots = partitions.get(row.key.partition)
        for root in roots.all() if roots else ():
            found.setdefault(root, []).append(Removal(row.key.path, row.maybe, row.names))
    for (root, folder), rows in groupby(
        ConfTable(store.file).under_way(), lambda row: (row.root, os.path.dirname(row.path[len(row.root) + 1 :]))
    ):
        names = tuple(os.path.basename(row.path) for row in rows)
        found.setdefault(root, []).append(Removal(folder, files=names))
    return found


def remove(found: dict[bytes, list[Removal]], replica: Replica, *, keep_times: bool) -> list[str]:
    """Remove the temporary files of what `find` has found, and return warnings of those that stay."""
    warnings = []
    for root, removals in found.items():
        there = replica.root(root)
        for path, number in replica.tree.remove_temporary(there, removals, keep_times=keep_times).failed:
            reason = os.strerror(number) if number else "a hidden file is in it"
            warnings.append(f"{path_text(os.path.join(there, path))}: a killed run left it: not deleted: {reason}")
    return warnings
