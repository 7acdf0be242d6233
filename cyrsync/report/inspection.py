"""Mailboxes as an operator looks at them: a table, or one in detail."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cyrsync.cyrus.mailbox.mailbox import OpenMailbox
from cyrsync.inspect.inspected import Inspected
from cyrsync.text import human_bytes, human_count, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import Console


def render_all(found: Iterable[Inspected], console: Console) -> None:
    """Print a table of mailboxes, a line each; which partition, where there are several."""
    from rich.text import Text

    from cyrsync.report.table import new_table

    rows = [(_row(one), "red" if one.error else "") for one in found]
    several = len({cells[1] for cells, _ in rows}) > 1
    heads = ("Mailbox", "Partition", "UIDVALIDITY", "Version", "Messages", "Expunged", "Bytes")
    shown = [number for number in range(len(heads)) if several or number != 1]
    table = new_table([heads[number] for number in shown], words=("Mailbox", "Partition"), fold=("Mailbox",))
    for cells, style in rows:
        table.add_row(*(Text(cells[number], style) for number in shown))
    console.print(table)


def _row(one: Inspected) -> tuple[str, ...]:
    name, partition = printable(one.name), printable(one.partition or "")
    if one.opened is None:
        return (name, partition, *["?"] * 5)
    head = one.opened.index.header
    counts = (one.opened.exists(), one.opened.number_expunged())
    size = human_bytes(one.opened.size())
    return (name, partition, str(head.uidvalidity), str(head.minor_version), *map(human_count, counts), size)


def render_one(one: Inspected, console: Console, *, messages: bool) -> None:
    """Print one mailbox in detail."""
    from rich.text import Text

    for fact, value in _facts(one):
        if value:
            console.print(Text.assemble((fact.ljust(15), "bold"), printable(value)), soft_wrap=True)
    if messages and one.opened:
        console.print()
        _render_messages(one.opened, console)


def _facts(one: Inspected) -> Iterator[tuple[str, str]]:
    """Yield what is known, by name; what is empty is not worth a line."""
    yield "Mailbox", one.name + (" (deleted)" if one.deleted else "")
    yield "Partition", one.partition or ""
    yield "Directory", os.fsdecode(one.data)
    yield "Metadata", os.fsdecode(one.meta) if one.meta != one.data else ""
    yield "Archive", os.fsdecode(one.archive) if one.archive != one.data else ""
    yield "Uniqueid", (one.opened and one.opened.header.uniqueid) or one.uniqueid
    if one.opened is None:
        yield "Error", one.error
        return
    index, header = one.opened.index.header, one.opened.header
    yield "UIDVALIDITY", str(index.uidvalidity)
    yield "Index version", str(index.minor_version)
    yield "Last UID", str(index.last_uid)
    yield "Messages", human_count(one.opened.exists())
    yield "Expunged", human_count(one.opened.number_expunged())
    yield "Size", f"{human_bytes(one.opened.size())} ({human_count(one.opened.size())} bytes)"
    yield "Quota root", os.fsdecode(header.quotaroot or b"")
    yield "User flags", " ".join(os.fsdecode(flag) for flag in header.flags if flag)
    yield "ACL", ", ".join(f"{os.fsdecode(who)} {os.fsdecode(rights)}" for who, rights in header.acl)


def _render_messages(opened: OpenMailbox, console: Console) -> None:
    from rich.text import Text

    from cyrsync.report.table import new_table

    heads = ("UID", "Bytes", "GUID", "State", "Flags")
    table = new_table(heads, words=heads[2:], fold=("Flags",))
    for one in opened.messages():
        states = {"expunged": one.expunged, "unlinked": one.unlinked, "archived": one.archived}
        state = " ".join(word for word, holds in states.items() if holds)
        cells = (str(one.uid), str(one.size), one.guid.hex() if one.guid else "", state, printable(" ".join(one.flags)))
        table.add_row(*map(Text, cells))
    console.print(table)
