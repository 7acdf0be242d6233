"""Mailboxes and messages of a tree: what is there, and what was restored of it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from cyrsync.history import moment
from cyrsync.history.choose import shown
from cyrsync.history.envelopes import Envelope, Envelopes
from cyrsync.history.findings import FoundMailbox, FoundMessage
from cyrsync.history.outcome import Outcome
from cyrsync.history.selected import Message, Selection
from cyrsync.history.versions import FoundVersion
from cyrsync.text import human_bytes, human_count, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

#: Columns of words; all others are numbers.
_WORDS = frozenset(["Mailbox", "Date", "Deleted", "Removed", "Flags", "From", "Subject", "GUID", "Former name"]).union(
    ["How", "As of", "Version", "Oldest"]
)
_FOLD = frozenset(["Mailbox", "Flags", "From", "Subject", "Former name"])
#: Letters of a subject or sender that are shown.
_LONGEST = 60


def render_outcome(outcome: Outcome, console: Console) -> None:
    """Print what was restored, or would be, a mailbox in a line."""
    verb = "To restore" if outcome.dry_run else "Restored"
    present = any(one.present for one in outcome.mailboxes)
    how = any(one.how for one in outcome.mailboxes)
    since = any(one.since is not None for one in outcome.mailboxes)
    heads = ["Mailbox", "Messages", verb, *(["There already"] if present else []), "Bytes", *(["How"] if how else [])]
    heads += ["As of"] if since else []
    rows = []
    for one in outcome.mailboxes:
        done = one.selected if outcome.dry_run else one.restored
        counts = [one.selected, done, *([one.present] if present else [])]
        row = [one.name, *map(human_count, counts), human_bytes(one.bytes), *([one.how] if how else [])]
        rows.append([*row, *([moment.shown(one.since) if one.since is not None else "now"] if since else [])])
    if outcome.dry_run:
        heads.remove("Messages")
        rows = [[row[0], *row[2:]] for row in rows]
    _print(heads, rows, console)
    if outcome.files:
        console.print(f"{verb}, beside the mailboxes: {human_count(outcome.files)} files")


def render_findings(
    mailboxes: Sequence[FoundMailbox],
    versions: Sequence[FoundVersion],
    messages: Sequence[FoundMessage],
    console: Console,
    *,
    of_one: bool,
) -> None:
    """Print tables of mailboxes, versions and messages, `of_one` mailbox that is known or of several."""
    if mailboxes:
        _render_mailboxes(mailboxes, console)
    if versions:
        if mailboxes:
            console.print()
        _render_versions(versions, console, of_one=of_one)
    if messages:
        if mailboxes or versions:
            console.print()
        _render_found(messages, console, of_one=of_one)
    if not (mailboxes or versions or messages):
        console.print("Nothing was found.")


def _render_mailboxes(found: Sequence[FoundMailbox], console: Console) -> None:
    """Print a table of mailboxes; when they were deleted, if any was."""
    deleted = any(one.deleted for one in found)
    kept = any(one.versions for one in found)
    heads = ["Mailbox", "Messages", "Expunged", "Bytes", *(["Deleted"] if deleted else [])]
    heads += ["Versions", "Oldest"] if kept else []
    rows = [
        [
            shown(one.name),
            human_count(one.messages),
            human_count(one.expunged),
            human_bytes(one.size),
            *([_date(one.removed)] if deleted else []),
            *([human_count(one.versions), _date((one.oldest or 0) // 10**9)] if kept else []),
        ]
        for one in found
    ]
    _print(heads, rows, console)


def _render_versions(found: Sequence[FoundVersion], console: Console, *, of_one: bool) -> None:
    """Print a table of versions; their times are such as --as-of takes."""
    heads = [*([] if of_one else ["Mailbox"]), "Version", "Messages", "Bytes", "Came", "Went"]
    rows = [
        [
            *([] if of_one else [shown(one.mailbox)]),
            f"{moment.shown(one.since)}{' (now)' if one.now else ''}",
            human_count(one.messages),
            human_bytes(one.size),
            human_count(one.came) if one.came else "",
            human_count(one.went) if one.went else "",
        ]
        for one in found
    ]
    _print(heads, rows, console)


def _render_found(found: Sequence[FoundMessage], console: Console, *, of_one: bool) -> None:
    """Print a table of messages; when they were removed, if any was."""
    removed = any(one.removed or one.message.expunged for one in found)
    heads = [*([] if of_one else ["Mailbox"]), *_HEADS, *(["Removed"] if removed else [])]
    rows = [
        [
            *([] if of_one else [shown(one.mailbox)]),
            *_cells(one.message, one.envelope),
            *([_date(one.removed)] if removed else []),
        ]
        for one in found
    ]
    _print(heads, rows, console)


def render_messages(selection: Selection, console: Console) -> None:
    """Print a table of one mailbox's messages, below its name."""
    from rich.text import Text

    envelopes = Envelopes(selection)
    try:
        rows = [_cells(message, envelopes.of(message)) for message in selection.messages()]
    finally:
        envelopes.close()
    console.print(Text(shown(selection.mailbox.name), "bold"))
    _print(_HEADS, rows, console)
    console.print()


_HEADS = ("UID", "Date", "Bytes", "Flags", "From", "Subject", "GUID")


def _cells(message: Message, envelope: Envelope) -> list[str]:
    return [
        str(message.uid),
        _date(message.internaldate),
        human_count(message.size),
        printable(" ".join(message.flags)),
        _cut(envelope.sender),
        _cut(envelope.subject),
        message.guid.hex() if message.guid else "",
    ]


def _cut(text: str) -> str:
    return printable(text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "...")


def _date(when: int | None) -> str:
    """Return a time as this machine's clock shows it."""
    if not when:
        return ""
    try:
        return datetime.fromtimestamp(when, timezone.utc).astimezone().strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError):
        return "?"


def _print(heads: Sequence[str], rows: Iterable[Sequence[str]], console: Console) -> None:
    from rich.text import Text

    from cyrsync.report.table import new_table

    table = new_table(heads, words=_WORDS, fold=_FOLD)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)
