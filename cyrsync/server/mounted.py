"""Whether the source's disks are mounted: one that is not looks like a server that has lost all of its mail."""

from __future__ import annotations

import os

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.errors import UnusableError
from cyrsync.far.owner_file import is_bare
from cyrsync.server.roots import Roots
from cyrsync.state.store import Store
from cyrsync.text import path_text


def check_indexes(partitions: dict[str, Roots], store: Store, total: dict[str, int], missing: dict[str, int]) -> None:
    """Refuse a partition without any of its mailboxes; if only some are missing, these are looked for one by one.

    `total` and `missing` count its mailboxes by partition. Raise UnusableError.
    """
    for partition, count in missing.items():
        indexes = store.locations.indexes(partition) if count == total[partition] else []
        if indexes and not any(map(os.path.exists, indexes)):
            root = os.fsdecode(partitions[partition].homes[kinds.INDEX])
            raise UnusableError(
                f"{root}: none of the {len(indexes)} mailboxes of partition {partition} is there: is it mounted?"
            )


def empty_roots(partitions: dict[str, Roots], store: Store) -> dict[str, bytes]:
    """Return the partitions whose indexes lie elsewhere than their messages, and where nothing is for these.

    Raise UnusableError where messages are known to have been there.
    """
    empty = {}
    for name, roots in partitions.items():
        if roots.data != roots.homes[kinds.INDEX] and _is_empty(roots.data):
            if store.has_messages(name):
                raise unmounted(roots.data, name)
            empty[name] = roots.data
    return empty


def unmounted(root: bytes, partition: str) -> UnusableError:
    """Return the error for a root that is empty, though indexes elsewhere name messages in it."""
    return UnusableError(
        f"{path_text(root)}: it is empty, but the indexes of partition {partition} name messages: is it mounted?"
    )


def _is_empty(root: bytes) -> bool:
    """Tell whether a root is not there, or has nothing in it: as when its disk is not mounted."""
    try:
        return is_bare(root)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False  # whoever reads there will say why
