"""One mailbox as an operator looks at it, and as `inspect --json` has it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cyrsync.cyrus.mailbox.mailbox import Message, OpenMailbox

if TYPE_CHECKING:
    pass


@dataclass(slots=True)
class Inspected:
    """One mailbox: what mailboxes.db or its path says of it, and its own files, or why they can't be read."""

    name: str
    partition: str | None
    data: bytes
    meta: bytes
    archive: bytes
    uniqueid: str
    deleted: bool
    opened: OpenMailbox | None = None
    error: str = ""

    def to_json(self, *, messages: bool) -> dict[str, Any]:
        """Return one line of `inspect --json`; numbers are null where the mailbox can't be read."""
        head = self.opened.index.header if self.opened else None
        record: dict[str, Any] = {
            "mailbox": self.name,
            "partition": self.partition,
            "data_dir": os.fsdecode(self.data),
            "meta_dir": os.fsdecode(self.meta),
            "archive_dir": os.fsdecode(self.archive) if self.archive != self.data else None,
            "uniqueid": (self.opened and self.opened.header.uniqueid) or self.uniqueid or None,
            "uidvalidity": head and head.uidvalidity,
            "minor_version": head and head.minor_version,
            "last_uid": head and head.last_uid,
            "exists": self.opened and self.opened.exists(),
            "expunged": self.opened and self.opened.number_expunged(),
            "bytes": self.opened and self.opened.size(),
            "deleted": self.deleted,
            "error": self.error or None,
        }
        if messages:
            record["messages"] = [_message(one) for one in self.opened.messages()] if self.opened else []
        return record


def _message(message: Message) -> dict[str, Any]:
    return {
        "uid": message.uid,
        "size": message.size,
        "guid": message.guid.hex() if message.guid else None,
        "flags": list(message.flags),
        "expunged": message.expunged,
        "unlinked": message.unlinked,
        "archived": message.archived,
    }
