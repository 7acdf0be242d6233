"""What a tree holds, as `history` shows it: mailboxes, messages, and what of both was removed and can be restored."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from cyrsync.history.choose import Request, deleted_at, former_name, shown
from cyrsync.history.envelopes import Envelope, Envelopes
from cyrsync.history.reading import selections
from cyrsync.history.selected import Message, Selection
from cyrsync.history.tree import Tree
from cyrsync.sync.progress import Reporter
from cyrsync.text import iso


@dataclass(frozen=True, slots=True)
class FoundMailbox:
    """A mailbox, and how much there is in it to restore."""

    name: bytes  # internal
    uniqueid: str
    uidvalidity: int
    messages: int
    expunged: int  # messages that were expunged and have their file still
    size: int  # bytes of all these messages
    deleted: bool
    removed: int | None  # when it was deleted, in seconds since 1970
    former_name: bytes | None  # what it was called before

    def to_json(self) -> dict[str, Any]:
        """Return one line of `history --json`."""
        return {
            "mailbox": os.fsdecode(self.name),
            "name": shown(self.name),
            "uniqueid": self.uniqueid,
            "uidvalidity": self.uidvalidity,
            "messages": self.messages,
            "expunged": self.expunged,
            "bytes": self.size,
            "deleted": self.deleted,
            "removed": _iso(self.removed),
            "former_name": os.fsdecode(self.former_name) if self.former_name else None,
        }


@dataclass(frozen=True, slots=True)
class FoundMessage:
    """A message that can be restored."""

    mailbox: bytes
    message: Message
    envelope: Envelope
    removed: int | None  # when it was expunged, or its mailbox deleted, in seconds since 1970; None: it was not

    def to_json(self) -> dict[str, Any]:
        """Return one line of `history --json`."""
        one = self.message
        return {
            "mailbox": os.fsdecode(self.mailbox),
            "name": shown(self.mailbox),
            "uid": one.uid,
            "guid": one.guid.hex() if one.guid else None,
            "size": one.size,
            "internaldate": _iso(one.internaldate),
            "flags": list(one.flags),
            "expunged": one.expunged,
            "removed": _iso(self.removed),
            "message_id": self.envelope.message_id,
            "from": self.envelope.sender,
            "subject": self.envelope.subject,
        }


def mailboxes(
    tree: Tree,
    request: Request,
    unreadable: Callable[[str], None],
    reporter: Reporter,
    *,
    only_deleted: bool = False,
) -> Iterator[FoundMailbox]:
    """Yield the mailboxes that are meant. Raise UnusableError where there are none."""
    for one in selections(tree, replace(request, every=True, deleted=True), unreadable, reporter):
        if not only_deleted or one.mailbox.deleted:
            yield _mailbox(one, tree.deletedprefix)


def messages(
    tree: Tree,
    request: Request,
    unreadable: Callable[[str], None],
    reporter: Reporter,
    *,
    text: str | None = None,
    only_removed: bool = False,
    only_expunged: bool = False,
) -> Iterator[FoundMessage]:
    """Yield messages: those with a `text` in Message-ID, subject or sender; those that were removed.

    With `only_expunged`, those of mailboxes that are there still.

    Raise UnusableError where there is no such mailbox.
    """
    asked = replace(request, every=not only_expunged, only_expunged=only_expunged, deleted=True)
    for one in selections(tree, asked, unreadable, reporter):
        if (only_expunged and one.mailbox.deleted) or (only_removed and not (one.mailbox.deleted or one.expunged)):
            continue
        envelopes = Envelopes(one)
        removed = deleted_at(one.mailbox.name, tree.deletedprefix)
        try:
            for message in one.messages():
                if only_removed and not message.expunged and not one.mailbox.deleted:
                    continue
                envelope = envelopes.of(message) if text is None else envelopes.matching(message, text)
                if envelope is not None:
                    when = message.last_changed if message.expunged else removed
                    yield FoundMessage(one.mailbox.name, message, envelope, when)
        finally:
            envelopes.close()


def _mailbox(one: Selection, prefix: bytes) -> FoundMailbox:
    return FoundMailbox(
        name=one.mailbox.name,
        uniqueid=one.mailbox.uniqueid,
        uidvalidity=one.mailbox.uidvalidity,
        messages=one.count - one.expunged,
        expunged=one.expunged,
        size=one.size,
        deleted=one.mailbox.deleted,
        removed=deleted_at(one.mailbox.name, prefix),
        former_name=former_name(one.mailbox.name, prefix),
    )


def _iso(when: int | None) -> str | None:
    return iso(when) if when else None
