"""Whether the source's disks are mounted: one that is not looks like a server that has lost all of its mail."""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox import records, regular_file
from cyrsync.cyrus.server.config import Config
from cyrsync.cyrus.server.server import Located
from cyrsync.errors import UnusableError
from cyrsync.far.locked_folder import need_file
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
        if is_empty(roots.homes[kinds.INDEX]):
            raise _nothing_there(roots.homes[kinds.INDEX], len(within), name)
        for root in lacking(roots, [place.files.index_path for place in within]):
            raise unmounted(root, name)


def lacking(roots: Roots, indexes: Collection[bytes]) -> Iterator[bytes]:
    """Yield the directories for messages that are empty, though indexes elsewhere name some there.

    `indexes` are those of the partition.
    """
    for root, names_some in _elsewhere(roots):
        if is_empty(root) and any(map(names_some, indexes)):
            yield root


class EmptyRoots:
    """The directories for messages that are empty, and whose partition has its indexes elsewhere."""

    def __init__(self, partitions: dict[str, Roots], store: Store) -> None:
        """Raise UnusableError where the replica has messages of such a directory, and the indexes still name some."""
        self._empty: dict[tuple[str, bool], bytes] = {}
        for name, roots in partitions.items():
            for root, names_some in _elsewhere(roots):
                archived = root != roots.data
                if is_empty(root):
                    if store.has_messages(name, archived=archived) and any(
                        map(names_some, store.locations.indexes(name))
                    ):
                        raise unmounted(root, name)
                    self._empty[name, archived] = root

    def has(self, partition: str) -> bool:
        """Tell whether the data directory of a partition is one of them."""
        return (partition, False) in self._empty

    def refuse(self, partition: str, messages: array[int], archived: array[int]) -> None:
        """Raise UnusableError where a mailbox has a message that should be in one of them."""
        for uids, where in ((messages, (partition, False)), (archived, (partition, True))):
            if uids and where in self._empty:
                raise unmounted(self._empty[where], partition)


def _elsewhere(roots: Roots) -> Iterator[tuple[bytes, Callable[[bytes], bool]]]:
    """Yield the directories for messages that have no index, and what tells whether an index names a message there."""
    if roots.data != roots.homes[kinds.INDEX]:
        yield roots.data, _names_messages
    if roots.archive not in (roots.data, roots.homes[kinds.INDEX]):
        yield roots.archive, _names_archived


def unmounted(root: bytes, partition: str) -> UnusableError:
    """Return the error for a root that is empty, though indexes elsewhere name messages in it."""
    return UnusableError(
        f"{path_text(root)}: it is empty, but the indexes of partition {partition} name messages: is it mounted?"
    )


def _nothing_there(root: bytes, number: int, partition: str) -> UnusableError:
    return UnusableError(
        f"{path_text(root)}: none of the {number} mailboxes of partition {partition} is there: is it mounted?"
    )


def is_empty(root: bytes) -> bool:
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


def _names_archived(index: bytes) -> bool:
    """Tell whether an index has a message that is in the archive partition."""
    try:
        descriptor = regular_file.opened(index)[0]
        try:
            data = regular_file.contents(descriptor)
        finally:
            os.close(descriptor)
        return bool(need_file(records.read(data, check_records=False), archived=True))
    except (OSError, records.BadIndex):
        return False
