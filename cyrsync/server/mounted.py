"""Whether the source's disks are mounted: one that is not looks like a server that has lost all of its mail."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox import regular_file
from cyrsync.cyrus.server.config import Config
from cyrsync.cyrus.server.server import Located
from cyrsync.errors import UnusableError
from cyrsync.far.owner_file import is_bare
from cyrsync.server.roots import Roots
from cyrsync.state.store import Store
from cyrsync.text import path_text

#: The beginning of an index: the number of its records, and the bytes of the messages that users see.
INDEX_HEAD = struct.Struct(">20xI8xQ")


def check_indexes(partitions: dict[str, Roots], store: Store, total: dict[str, int], missing: dict[str, int]) -> None:
    """Refuse a partition without any of its mailboxes; if only some are missing, these are looked for one by one.

    `total` and `missing` count its mailboxes by partition. Raise UnusableError.
    """
    for partition, count in missing.items():
        indexes = store.locations.indexes(partition) if count == total[partition] else []
        if indexes and not any(map(os.path.exists, indexes)):
            root = partitions[partition].homes[kinds.INDEX]
            raise _nothing_there(root, len(indexes), partition)


def check_roots(config: Config, places: Iterable[Located]) -> None:
    """Refuse a partition that has mailboxes, and nothing in a directory that has to have their files.

    Raise UnusableError.
    """
    by_partition: dict[str, list[Located]] = {}
    for place in places:
        if place.data:
            by_partition.setdefault(place.mailbox.partition, []).append(place)
    for name, within in by_partition.items():
        roots = Roots.of(config.partitions[name])
        if _is_empty(roots.homes[kinds.INDEX]):
            raise _nothing_there(roots.homes[kinds.INDEX], len(within), name)
        if lacks_messages(roots, within):
            raise unmounted(roots.data, name)


def lacks_messages(roots: Roots, places: Iterable[Located]) -> bool:
    """Tell whether the directory for messages is empty, though indexes elsewhere, of these mailboxes, name some."""
    if roots.data == roots.homes[kinds.INDEX] or not _is_empty(roots.data):
        return False
    return any(_names_messages(place.files.index_path) for place in places)


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


def _nothing_there(root: bytes, number: int, partition: str) -> UnusableError:
    return UnusableError(
        f"{path_text(root)}: none of the {number} mailboxes of partition {partition} is there: is it mounted?"
    )


def _is_empty(root: bytes) -> bool:
    """Tell whether a root is not there, or has nothing in it: as when its disk is not mounted."""
    try:
        return is_bare(root)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False  # whoever reads there will say why


def _names_messages(index: bytes) -> bool:
    """Tell whether an index has a record."""
    try:
        descriptor = regular_file.opened(index)[0]
        try:
            records, _ = INDEX_HEAD.unpack(os.read(descriptor, INDEX_HEAD.size).ljust(INDEX_HEAD.size, b"\0"))
            return bool(records)
        finally:
            os.close(descriptor)
    except OSError:
        return False
