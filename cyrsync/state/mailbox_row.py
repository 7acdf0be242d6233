"""What the state has of one mailbox: where it lies, and what the replica has of it; and the form of its row."""

from __future__ import annotations

import json
import os
import struct
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cyrsync.far import uids as uid_sets
from cyrsync.far.grown import Cache
from cyrsync.text import path_text

#: What is known of header and index, each: inode, size, times of modification and change (nanoseconds).
SEEN = struct.Struct("<8Q")
#: Nothing is known of the files: they have to be looked into.
UNSEEN = b""
#: The statement that keeps a row, see `columns_of`.
PUT = "INSERT OR REPLACE INTO main.sent VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class StateDamaged(Exception):
    """The state file is no state file, or somebody else's, or torn."""


class Key(NamedTuple):
    """What names a mailbox's folder: the partition, and the path below its roots."""

    partition: str
    path: bytes


class Location(NamedTuple):
    """Where one mailbox's files are: absolute paths but for the key's."""

    key: Key
    name: bytes
    uniqueid: str  # as mailboxes.db has it, "" where it has none
    header_path: bytes
    index_path: bytes
    expunge_path: bytes
    name_lock: bytes


@dataclass(slots=True)
class MailboxRow:
    """What the replica has of one mailbox."""

    key: Key
    uniqueid: str = ""  # "": whose the files are is not known
    uidvalidity: int = 0
    seen: bytes = UNSEEN  # header and index as they were stat'ed under the locks, see `seen_of`
    uids: array[int] = field(default_factory=uid_sets.empty)  # messages in the data directory
    archived: array[int] = field(default_factory=uid_sets.empty)  # and in the archive directory
    maybe: array[int] = field(default_factory=uid_sets.empty)  # in either, perhaps: unproven, or to be deleted
    names: tuple[bytes, ...] = ()  # metadata files
    stale: tuple[bytes, ...] = ()  # metadata files that are to be deleted
    caches: dict[bytes, Cache] = field(default_factory=dict)  # by the root of the source that they are below

    def has(self, uid: int) -> bool:
        """Tell whether a message is there for certain."""
        return uid_sets.has(self.uids, uid) or uid_sets.has(self.archived, uid)

    def last_uid(self) -> int:
        """Return the highest UID that is there for certain, 0 for none."""
        return max([0, *self.uids[-1:], *self.archived[-1:]])

    def unproven(self) -> int:
        """Return how many messages may be there beside those that are."""
        return len(uid_sets.difference(uid_sets.difference(self.maybe, self.uids), self.archived))


def seen_of(header: os.stat_result, index: os.stat_result) -> bytes:
    """Return what tells whether either file has changed."""
    return SEEN.pack(
        *(header.st_ino, header.st_size, header.st_mtime_ns, header.st_ctime_ns),
        *(index.st_ino, index.st_size, index.st_mtime_ns, index.st_ctime_ns),
    )


def same_header(left: bytes, right: bytes) -> bool:
    """Tell whether the header is known to be the same in both."""
    half = SEEN.size // 2
    return bool(left and right) and left[:half] == right[:half]


def index_size(seen: bytes) -> int:
    """Return how many bytes the index had, 0 where that is not known."""
    return int(SEEN.unpack(seen)[5]) if seen else 0


def columns_of(row: MailboxRow) -> tuple[object, ...]:
    """Return the columns, in the order of the table."""
    sets = (_packed(uids) for uids in (row.uids, row.archived, row.maybe))
    count = len(row.uids) + len(row.archived)
    names, stale = text_of(row.names), text_of(row.stale)
    return (*row.key, row.uniqueid, row.uidvalidity, row.seen, count, *sets, names, stale, _text_of_caches(row.caches))


def row_of(columns: Sequence[Any]) -> MailboxRow:
    """Return what such columns say. Raise StateDamaged where they are not what was written."""
    partition, path, uniqueid, uidvalidity, seen, _, uids, archived, maybe, names, stale, caches = columns
    try:
        return MailboxRow(
            *(Key(partition, path), uniqueid, uidvalidity, seen),
            *(_unpacked(uids), _unpacked(archived), _unpacked(maybe)),
            *(names_in(names), names_in(stale), _caches_in(caches)),
        )
    except (AttributeError, LookupError, TypeError, ValueError, zlib.error) as error:
        name = path_text(path) if isinstance(path, bytes) else str(path)
        raise StateDamaged(f"{name}: {error}") from None


def text_of(names: tuple[bytes, ...]) -> str | None:
    """Return names as one text, None for none."""
    return json.dumps([name.decode("latin-1") for name in names]) if names else None


def names_in(text: str | None) -> tuple[bytes, ...]:
    """Return the names in such a text."""
    return tuple(name.encode("latin-1") for name in json.loads(text)) if text is not None else ()


def _text_of_caches(caches: dict[bytes, Cache]) -> str | None:
    return json.dumps({root.decode("latin-1"): cache for root, cache in caches.items()}) if caches else None


def _caches_in(text: str | None) -> dict[bytes, Cache]:
    found = json.loads(text) if text is not None else {}
    return {
        root.encode("latin-1"): Cache(int(size), int(mtime), str(sample))
        for root, (size, mtime, sample) in found.items()
    }


def _packed(uids: array[int]) -> bytes | None:
    """Return UIDs as the steps between them, compressed: messages one after the other take next to nothing."""
    if not uids:
        return None
    size, steps = uid_sets.pack(uids)
    return bytes([size]) + zlib.compress(steps, 1)


def _unpacked(data: bytes | None) -> array[int]:
    return uid_sets.unpack(data[0], zlib.decompress(data[1:])) if data else uid_sets.empty()
