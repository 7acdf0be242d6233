"""The result of an audit, printed: problems by kind, and the folders with most of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from cyrsync.cyrus.server.names import mailbox_of, shown_name
from cyrsync.far.finding import KINDS, Problem
from cyrsync.text import Reasons, human_bytes, human_count, human_seconds, path_text, printable
from cyrsync.verify.result import AuditResult

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

#: Rows of the list of folders, unless all are asked for.
FEW = 10
#: UIDs of one problem that are shown; `--json` has them all.
FEW_UIDS = 3


def render(result: AuditResult, console: Console, verbose: bool) -> None:
    """Print what was looked at, problems by kind, and the folders with most of them; all with `verbose`."""
    from rich.text import Text

    console.print(Text(_looked_at(result)), soft_wrap=True)
    if not result.problems:
        console.print(Text("Nothing differs." if result.replica else "All is sound.", style="bold"))
        return
    _print_kinds(result, console)
    _print_folders(result, console, verbose)


def _looked_at(result: AuditResult) -> str:
    time = human_seconds(result.seconds)
    if result.replica:
        messages = f"{human_count(result.messages)} messages on the source, {human_count(result.files)} on the replica"
        return f"{human_count(result.mailboxes)} folders, {messages}, compared in {time}"
    what = "states" if result.history else "mailboxes"
    looked = f"{human_count(result.mailboxes)} {what}, {human_count(result.messages)} messages"
    looked += f", {human_count(result.files)} files in {time}"
    if result.bytes_read:
        rate = human_bytes(int(result.bytes_read / max(result.seconds, 0.001)))
        looked += f", {human_bytes(result.bytes_read)} read at {rate}/s"
    return looked


def _print_kinds(result: AuditResult, console: Console) -> None:
    number, folders = Counter[str](), Counter[str]()
    for _, problem in result.problems:
        number[problem.kind] += problem.number()
        folders[problem.kind] += 1
    rows = [
        (kind, meaning, human_count(number[kind]), human_count(folders[kind]))
        for kind, meaning in KINDS.items()
        if number[kind]
    ]
    _print_table("Problems", ("Kind", "Meaning", "Number", "Folders"), rows, console)


def _print_folders(result: AuditResult, console: Console, verbose: bool) -> None:
    worst: dict[bytes, list[Problem]] = {}
    for path, problem in result.problems:
        worst.setdefault(path, []).append(problem)
    ranked = sorted(worst, key=lambda path: (-sum(problem.number() for problem in worst[path]), path))
    shown = ranked if verbose else ranked[:FEW]
    rows = [(_name(result, path, verbose=verbose), "; ".join(map(_told, worst[path]))) for path in shown]
    _print_table("Worst mailboxes", ("Mailbox", "Problems"), rows, console)
    if len(ranked) > len(shown):
        console.print(f"  ... and {human_count(len(ranked) - len(shown))} more (--verbose shows all)", style="dim")


def _print_table(title: str, heads: tuple[str, ...], rows: Sequence[tuple[str, ...]], console: Console) -> None:
    from rich.text import Text

    from cyrsync.report.table import new_table

    table = new_table(heads, words=set(heads) - {"Number", "Folders"}, fold=heads)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print()
    console.print(Text(title, style="bold"))
    console.print(table)


def lines(result: AuditResult) -> Iterator[str]:
    """Yield each problem as one line, for where there is no table; of those of one kind only the first few."""
    kinds = Reasons()
    for path, problem in result.problems:
        if kinds.is_shown(problem.kind):
            yield f"{_name(result, path)}: {_told(problem)}"
    for more, kind in kinds.more():
        yield f"{more}: {kind}: {KINDS[kind]}"


def _told(problem: Problem) -> str:
    """Return `orphan: UID 7`, or `index: ` and why it can't be read."""
    if not problem.uids:
        return printable(f"{problem.kind}: {problem.detail or KINDS[problem.kind]}")
    shown = problem.uids[:FEW_UIDS]
    some = ("UID " if len(problem.uids) == 1 else "UIDs ") + ", ".join(map(str, shown))
    more = len(problem.uids) - len(shown)
    return f"{problem.kind}: {some}" + (f" and {human_count(more)} more" if more else "")


def _name(result: AuditResult, path: bytes, *, verbose: bool = False) -> str:
    """Return the name of a mailbox, with its directory if that is to be told, too; of no mailbox, the directory."""
    if path not in result.names:
        return path_text(path) if path.startswith(b"/") else printable(mailbox_of(path)) or "(root of the partition)"
    name = printable(shown_name(result.names[path]))
    # Of a mailbox there are many states.
    return f"{name} ({path_text(path)})" if verbose or result.history else name
