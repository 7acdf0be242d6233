"""What one mailbox's own files say of it: header and index, and the records of each message.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

from itertools import compress
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.cyrus.mailbox import header, records, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cyrsync.cyrus.mailbox.header import Header
    from cyrsync.cyrus.mailbox.records import Index
    from cyrsync.cyrus.mailbox.snapshot import MetaFiles


class Message(NamedTuple):
    """One record of an index; `expunged` ones keep their file until Cyrus cleans up."""

    uid: int
    size: int  # bytes
    guid: "bytes | None"  # SHA-1 of the file, None where the index has none
    flags: "tuple[str, ...]"
    expunged: bool
    unlinked: bool
    archived: bool


class MailboxError(Exception):
    """A mailbox whose header or index is missing or damaged."""


class OpenMailbox:
    """A mailbox as it was at one moment."""

    def __init__(self, head: "Header", index: "Index", expunged: "Index | None") -> None:
        """`expunged` is what 2.3 keeps in cyrus.expunge."""
        self.header = head
        self.index = index
        self.expunged = expunged

    def exists(self) -> int:
        """Return the number of messages that a user sees."""
        return self.index.live.count(1)

    def number_expunged(self) -> int:
        """Return the number of messages that nobody sees any more, and whose files are kept."""
        kept = len(self.index) - self.index.live.count(1) - self.index.unlinked.count(1)
        return kept + (len(self.expunged) if self.expunged else 0)

    def size(self) -> int:
        """Return the bytes of the messages that a user sees."""
        return sum(compress(self.index.sizes, self.index.live))

    def messages(self) -> "Iterator[Message]":
        """Yield the records, those of cyrus.expunge last."""
        yield from self._messages(self.index, expunged=False)
        if self.expunged:
            yield from self._messages(self.expunged, expunged=True)

    def _messages(self, index: "Index", expunged: bool) -> "Iterator[Message]":
        for number, uid in enumerate(index.uids):
            flags = records.flag_names(index.system_flags[number], index.user_flags(number), self.header.flags)
            yield Message(
                uid,
                index.sizes[number],
                index.guid(number),
                tuple(flags),
                expunged or bool(index.expunged[number]),
                bool(index.unlinked[number]),
                bool(index.archived[number]),
            )


def read(files: "MetaFiles") -> OpenMailbox:
    """Read a mailbox's metadata under Cyrus's locks.

    Raise MailboxError for what is missing or damaged, OSError and locks.LockTimeout.
    """
    metadata = snapshot.read(files)
    for name, data in (("cyrus.header", metadata.header_data), ("cyrus.index", metadata.index_data)):
        if data is None:
            raise MailboxError("there is no " + name)
    assert metadata.header_data is not None and metadata.index_data is not None
    name = "cyrus.header"
    try:
        head = header.read(metadata.header_data)
        name = "cyrus.index"
        index = records.read(metadata.index_data)
        name = "cyrus.expunge"
        expunged = records.read(metadata.expunge_data, sorted_uids=False) if metadata.expunge_data else None
    except (header.HeaderError, records.BadIndex) as error:
        raise MailboxError("{}: {}".format(name, error)) from None
    return OpenMailbox(head, index, expunged)
