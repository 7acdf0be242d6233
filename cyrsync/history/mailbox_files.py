"""A mailbox's own files as they were at one moment, and where the files of its messages are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

#: Where a message's file may be, in the order to look: by its UID, its GUID, and whether it is archived.
Places = Callable[[int, "bytes | None", bool], tuple[bytes, ...]]


class Unreadable(Exception):
    """A mailbox that cannot be read: which one, and why, in one line."""


@dataclass(frozen=True, slots=True)
class MailboxFiles:
    """What reading a mailbox begins with."""

    #: `cyrus.header`, `cyrus.index` and the like by their names, all of one moment.
    metadata: dict[bytes, bytes]
    directory: bytes  # what they are called in messages about them
    #: Where `cyrus.cache` is: with the index, and on the archive partition.
    caches: tuple[bytes, bytes]
    places: Places
    #: SHA-1 of messages that the index has no GUID of, by UID, as far as they are known.
    digests: Mapping[int, bytes] = field(default_factory=dict)
    #: The highest ever given, also after this moment; 0 where this moment's are.
    last_uid: int = 0
    highest_modseq: int = 0
    #: Since when the mailbox was so, in nanoseconds since 1970; None for a mailbox as it is.
    since: int | None = None
