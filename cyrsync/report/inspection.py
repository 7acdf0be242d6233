"""Mailboxes as an operator looks at them: a table, one in detail, or JSON."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cyrsync.cyrus.mailbox import Message, OpenMailbox
from cyrsync.report.text import human_bytes, human_count, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console


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


def render_all(found: Iterable[Inspected], console: Console) -> None:
    """Print a table of mailboxes."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for head in ("Mailbox", "Partition", "UIDVALIDITY", "Version", "Messages", "Expunged", "Bytes"):
        words = head in ("Mailbox", "Partition")
        table.add_column(head, overflow="fold", justify="left" if words else "right", no_wrap=not words)
    for one in found:
        style = "red" if one.error else ""
        table.add_row(*(Text(cell, style) for cell in _row(one)))
    console.print(table)


def _row(one: Inspected) -> tuple[str, ...]:
    name, partition = printable(one.name), printable(one.partition or "")
    if one.opened is None:
        return name, partition, printable(one.error)
    head = one.opened.index.header
    counts = (one.opened.exists(), one.opened.number_expunged())
    size = human_bytes(one.opened.size())
    return (name, partition, str(head.uidvalidity), str(head.minor_version), *map(human_count, counts), size)


def render_one(one: Inspected, console: Console, *, messages: bool) -> None:
    """Print one mailbox in detail."""
    from rich.text import Text

    facts = one.to_json(messages=False)
    if one.opened:
        facts["quota root"] = os.fsdecode(one.opened.header.quotaroot or b"")
        facts["user flags"] = " ".join(os.fsdecode(flag) for flag in one.opened.header.flags if flag)
        facts["acl"] = ", ".join(f"{os.fsdecode(who)} {os.fsdecode(rights)}" for who, rights in one.opened.header.acl)
    for fact, value in facts.items():
        if value not in (None, ""):
            label = Text(fact.replace("_", " ").ljust(14), style="bold")
            console.print(label + Text(printable(str(value))), soft_wrap=True)
    if messages and one.opened:
        _render_messages(one.opened, console)


def _render_messages(opened: OpenMailbox, console: Console) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for head in ("UID", "Bytes", "GUID", "Flags", "State"):
        table.add_column(head, overflow="fold", justify="right" if head in ("UID", "Bytes") else "left")
    for one in opened.messages():
        states = {"expunged": one.expunged, "unlinked": one.unlinked, "archived": one.archived}
        state = " ".join(word for word, holds in states.items() if holds)
        cells = (str(one.uid), str(one.size), one.guid.hex() if one.guid else "", printable(" ".join(one.flags)), state)
        table.add_row(*map(Text, cells))
    console.print()
    console.print(table)
