"""What is to be restored: mailboxes, each with its messages, from whatever source and to whatever target.

Plain values. Who restores reads nothing but these and the message files that they name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One mailbox as it was. Names are bytes, as the server's users chose them."""

    name: bytes  # internal: `example.com!user.john^doe.Sent`
    kind: str  # the letters of its type in mailboxes.db that are no flags: `e` email; "" for email up to 3.4
    partition: str  # "" where only its directory is known
    uniqueid: str
    uidvalidity: int
    last_uid: int
    highest_modseq: int  # 0 in 2.2 and some 2.3
    options: int  # the options of the index's header, bit by bit
    acl: tuple[tuple[bytes, bytes], ...]  # who, rights
    quota_root: bytes | None
    user_flags: tuple[bytes | None, ...]  # by bit number, None where a number has no name
    deleted: bool  # it is one of those under DELETED
    legacy: bool  # its directory is named after it, not after its uniqueid


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotation of a message; `user` is b"" for one that all share."""

    entry: bytes
    user: bytes
    value: bytes
    modseq: int  # 0 where the version does not keep it


@dataclass(frozen=True, slots=True)
class Message:
    """One message, and where its file is: in the first of the `places` that has it."""

    uid: int
    guid: bytes | None  # the SHA-1 of the file, 20 bytes; None where the index has none (up to 2.3)
    size: int  # bytes
    internaldate: int  # seconds since 1970
    flags: tuple[str, ...]  # names as IMAP has them, of the user flags too
    modseq: int
    last_changed: int  # seconds since 1970; of an expunged message, when it was expunged
    expunged: bool
    archived: bool
    cache_offset: int  # where in cyrus.cache its record is, 0 for nowhere
    places: tuple[bytes, ...]  # absolute paths
    annotations: tuple[Annotation, ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """A mailbox, and its selected messages.

    Messages are made one by one, as there may be a million. `messages` may be called again.
    """

    mailbox: Mailbox
    count: int
    expunged: int  # how many of them are expunged
    size: int  # bytes of the messages
    messages: Callable[[], Iterator[Message]]
    #: `cyrus.header`, `cyrus.index` and the like by their names, of the same moment as the messages.
    metadata: dict[bytes, bytes]
    #: Where `cyrus.cache` is: with the index, and on the archive partition.
    caches: tuple[bytes, bytes]
    #: Since when it was so, in nanoseconds since 1970; None for a mailbox as it is.
    since: int | None = None
