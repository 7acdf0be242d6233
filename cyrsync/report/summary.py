"""What a run did, or would do, as text for people. Imports rich: import this module only where it is used.

Everything that a mail user or a far end can choose is passed through `printable`, and is in `Text` objects, where rich
interprets no markup.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from cyrsync.cyrus.mailbox.user import text, user_of
from cyrsync.cyrus.server.layout import user_of_name
from cyrsync.cyrus.server.names import mailbox_of, shown_name
from cyrsync.text import human_bytes, human_count, human_seconds, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import Console

    from cyrsync.sync.result import FolderWork, RunResult

#: Rows of each list and table, unless all are asked for.
FEW = 10
ALARM = "bold red"
ALARMING = frozenset(["unreadable", "failed"])
#: Columns that the names of the facts take.
MARGIN = 13


def render_run(result: RunResult, console: Console, verbose: bool) -> None:
    """Print what a run did, with `verbose` every folder that had something to do, then how much went wrong."""
    _print_found(result, console)
    sent = f"{human_bytes(result.bytes_sent)} in {human_seconds(result.seconds)}"
    _print_fact("Files", _amounts(asdict(result.files)), console)
    runs = "" if result.engine == "index" else f", {_number(result.rsync_runs, 'rsync run')}"
    _print_fact("Transfer", Text(sent + runs), console)
    if verbose:
        _print_folders("Folders with something to do", result.work, console, verbose)
    _print_problems(result, console)


def render_dry_run(result: RunResult, console: Console, verbose: bool) -> None:
    """Print what a run would do: totals, then folders and users, ten of each or all with `verbose`."""
    _print_found(result, console)
    console.print()
    _print_wrapped(Text(_would(result), style="bold"), console)
    if result.messages.present:
        _print_wrapped(Text(_spared(result.messages.present)), console)
    _print_folders("Folders with most to do", result.work, console, verbose)
    for state in ("new", "recreated", "gone"):
        _print_names(state, result.work, console, verbose)
    _print_users(result.work, console, verbose)
    _print_problems(result, console)


def _print_found(result: RunResult, console: Console) -> None:
    messages = {
        "seen": result.messages.seen,
        "present": result.messages.present,
        "new": result.messages.send,
        "linked": result.messages.linked,
        "waiting": result.messages.waiting,
        "gone": result.messages.delete,
    }
    metadata = {"seen": result.metadata.seen, "changed": result.metadata.send}
    # Not wrapped: paths are there to be copied.
    _print_fact("Source", Text(printable(result.source), overflow="ignore"), console)
    _print_fact("Replica", Text(printable(result.destination), overflow="ignore"), console)
    if result.part:
        _print_fact("Part", Text(printable(" ".join(result.part))), console)
    _print_fact("Folders", _amounts(asdict(result.folders)), console)
    _print_fact("Messages", _amounts(messages), console)
    _print_fact("Metadata", _amounts(metadata), console)
    if result.config.seen:
        config = {"seen": result.config.seen, "changed": result.config.send, "gone": result.config.delete}
        _print_fact("Config", _amounts(config), console)
    if result.other_files:
        _print_fact("Other files", Text(human_count(result.other_files)), console)


def _would(result: RunResult) -> str:
    messages, metadata = result.messages, result.metadata
    other_files = result.files.planned - messages.send - metadata.send
    send = ((messages.send, "message"), (metadata.send, "metadata file"), (other_files, "other file"))
    gone = sum(folder.state == "gone" for folder in result.work)
    delete = [] if result.withheld else [(messages.delete, "message"), (gone, "folder")]
    return f"Would send {_joined(*send)}, and delete {_joined(*delete)}."


def _spared(present: int) -> str:
    return (
        f"Spared {_number(2 * present, 'stat')}: plain rsync -a makes one on either side "
        f"for each of the {_number(present, 'message')} already on the replica."
    )


def _print_folders(title: str, work: Sequence[FolderWork], console: Console, verbose: bool) -> None:
    ranked = sorted(work, key=lambda folder: (-folder.send - folder.delete, folder.path))
    table = _table("Folder", "State")
    for folder in ranked if verbose else ranked[:FEW]:
        numbers = human_count(folder.send), human_count(folder.delete)
        table.add_row(Text(_name(folder)), Text(printable(folder.state)), *numbers)
    _print_table(title, table, len(ranked), console)


def _print_users(work: Iterable[FolderWork], console: Console, verbose: bool) -> None:
    folders, send, delete = Counter[str](), Counter[str](), Counter[str]()
    for folder in work:
        user = _user(folder)
        if user is not None:
            folders[user] += 1
            send[user] += folder.send
            delete[user] += folder.delete
    ranked = sorted(folders, key=lambda user: (-send[user] - delete[user], user))
    table = _table("User", "Folders")
    table.columns[1].justify = "right"
    for user in ranked if verbose else ranked[:FEW]:
        numbers = (human_count(counter[user]) for counter in (folders, send, delete))
        table.add_row(Text(printable(user)), *numbers)
    _print_table("Users with most to do", table, len(ranked), console)


def _user(folder: FolderWork) -> str | None:
    """Return whose mailbox it is, by its name where that is known."""
    if not folder.mailbox:
        return user_of(folder.path)
    user = user_of_name(folder.mailbox)
    return None if user is None else text(user)


def _table(first: str, second: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column(first, overflow="fold")
    table.add_column(second, no_wrap=True)
    for head in ("Send", "Delete"):
        table.add_column(head, no_wrap=True, justify="right")
    return table


def _print_table(title: str, table: Table, rows: int, console: Console) -> None:
    if rows:
        console.print()
        console.print(Text(title, style="bold"))
        console.print(table)
        _print_more(rows - table.row_count, console)


def _print_names(state: str, work: Sequence[FolderWork], console: Console, verbose: bool) -> None:
    names = sorted(_name(folder) for folder in work if folder.state == state)
    if names:
        shown = names if verbose else names[:FEW]
        title = f"{state.capitalize()} folders ({human_count(len(names))})"
        _print_lines(Text(title, "bold"), shown, console)
        _print_more(len(names) - len(shown), console)


def _print_problems(result: RunResult, console: Console) -> None:
    """Say how much is wrong: what it is, standard error has."""
    if result.withheld:
        withheld = f"{_number(result.withheld, 'deletion')} withheld: the replica keeps these for now."
        _print_lines(Text(withheld, ALARM), [], console)
    problems = len(result.errors) - bool(result.withheld)
    if problems:
        _print_lines(Text(f"{_number(problems, 'problem')}: see standard error", ALARM), [], console)


def _print_lines(title: Text, lines: Iterable[str], console: Console) -> None:
    console.print()
    console.print(title)
    for line in lines:
        # Not wrapped: what a line names can be copied, and found with grep.
        console.print(Text(f"  {line}"), soft_wrap=True)


def _print_more(number: int, console: Console) -> None:
    if number:
        console.print(Text(f"  ... and {human_count(number)} more (--verbose shows all)", style="dim"))


def _print_fact(name: str, value: Text, console: Console) -> None:
    _print_wrapped(value, console, Text(name.ljust(MARGIN), style="bold"))


def _print_wrapped(text: Text, console: Console, label: Text | None = None) -> None:
    """Print at the console's width, the text beside its label; a table would pad each line with blanks."""
    head = label or Text()
    for line in text.wrap(console, max(console.width - len(head), MARGIN)):
        line.rstrip()
        console.print(head + line, soft_wrap=True)
        head = Text(" " * len(head))


def _amounts(amounts: Mapping[str, int]) -> Text:
    """Join what is not zero by commas: `12 seen, 3 new`."""
    styles = {what: ALARM if what in ALARMING else "" for what in amounts}
    shown = [Text(f"{human_count(count)} {what}", styles[what]) for what, count in amounts.items() if count]
    return Text(", ").join(shown) if shown else Text("none")


def _name(folder: FolderWork) -> str:
    name = shown_name(folder.mailbox) if folder.mailbox else mailbox_of(folder.path)
    return printable(name) or "(root of the partition)"


def _number(number: int, thing: str) -> str:
    return f"{human_count(number)} {thing}" + ("" if number == 1 else "s")


def _joined(*amounts: tuple[int, str]) -> str:
    """Join what is not zero by commas and `and`: `3 messages and 1 folder`."""
    *others, last = [_number(*amount) for amount in amounts if amount[0]] or ["nothing"]
    return f"{', '.join(others)} and {last}" if others else last
