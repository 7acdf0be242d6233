"""The directories of a partition, and which file of a mailbox lies below which of them."""

from __future__ import annotations

from dataclasses import dataclass

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.server.config import Partition

#: The words of metapartition_files, by file.
_WORDS = {
    kinds.HEADER: "header",
    kinds.INDEX: "index",
    kinds.EXPUNGE: "expunge",
    kinds.ANNOTATIONS: "annotations",
    kinds.CACHE: "cache",
    b"cyrus.squat": "squat",
    b"cyrus.dav": "dav",
}


@dataclass(frozen=True, slots=True)
class Roots:
    """Where the parts of a partition's mailboxes lie: a mailbox has the same path below each root."""

    name: str
    data: bytes
    archive: bytes  # `data` where archived messages stay where they are
    homes: dict[bytes, bytes]  # metadata file: its root
    archive_cache: bytes  # the root of the cache of archived messages

    @classmethod
    def of(cls, partition: Partition) -> Roots:
        """Return the roots of a partition of imapd.conf."""
        homes = {name: partition.root_of(word) for name, word in _WORDS.items()}
        return cls(partition.name, partition.data, partition.archive, homes, partition.root_of("archivecache"))

    def all(self) -> tuple[bytes, ...]:
        """Return the roots, those with metadata alone first: an index has to go before the messages behind it do."""
        meta = {*self.homes.values(), self.archive_cache} - {self.data, self.archive}
        return tuple(dict.fromkeys((*sorted(meta), self.data, self.archive)))

    def derived(self) -> list[tuple[bytes, bytes]]:
        """Return (root, name) of the metadata that is not of one moment with the index."""
        found = [(root, name) for name, root in self.homes.items() if name not in kinds.SNAPSHOT]
        return list(dict.fromkeys([*found, (self.archive_cache, kinds.CACHE)]))
