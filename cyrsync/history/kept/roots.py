"""The roots of a replica, below which stores may be."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from cyrsync.cyrus.server.config import Partition
from cyrsync.far.store import STORE
from cyrsync.history.tree import Tree


def roots_of_tree(tree: Tree) -> list[bytes]:
    """Return where stores may be: in the roots that imapd.conf has, else wherever there are any."""
    if tree.config is None:
        return list(_looked_for(tree.top))
    config = tree.config
    found = [config.configdirectory, config.userpath, config.sievedir, os.path.dirname(config.database("mboxlist")[1])]
    for partition in config.partitions.values():
        found += roots_of(partition)
    return list(dict.fromkeys(found))


def roots_of(partition: Partition) -> list[bytes]:
    """Return the directories of a partition."""
    return [partition.data, partition.meta, partition.archive, *partition.elsewhere.values()]


def _looked_for(top: bytes) -> Iterator[bytes]:
    pending = [top]
    while pending:
        directory = pending.pop()
        try:
            with os.scandir(directory) as entries:
                below = [one.name for one in entries if one.is_dir(follow_symlinks=False)]
        except OSError:
            continue  # told of when its mailboxes are looked for
        if STORE in below:
            yield directory
        pending += [os.path.join(directory, name) for name in below if not name.startswith(b".")]


def has_store(root: bytes) -> bool:
    """Tell whether there is a store below a root."""
    try:
        return stat.S_ISDIR(os.lstat(os.path.join(root, STORE)).st_mode)
    except OSError:
        return False
