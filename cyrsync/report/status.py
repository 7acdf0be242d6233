"""All that is known of one replica: how up to date it is, a table and plots of its runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cyrsync.report import watching
from cyrsync.report.known import local
from cyrsync.text import human_bytes, human_count, human_seconds

if TYPE_CHECKING:
    from rich.console import Console

    from cyrsync.report.known import Known, Run

#: Runs that are shown, unless all are asked for.
FEW = 10
#: Columns that the names of the facts take.
MARGIN = 14
#: Lines of a plot, and what fills a character of it by so many eighths.
HEIGHT = 3
_BLOCKS, _ASCII_BLOCKS = " ▁▂▃▄▅▆▇█", " .,:-=+*#"
_ALARM = "bold red"


def render(known: Known, console: Console, *, every: bool, now: datetime, limit: float | None = None) -> None:
    """Print all that is known of a pair, and of its watcher; in red how far it is behind, if that is beyond a limit."""
    from rich.text import Text

    for name, value, alarming in facts(known, now, limit):
        console.print(Text.assemble((name.ljust(MARGIN), "bold"), (value, _ALARM * alarming)), soft_wrap=True)
    if not known.runs:
        return
    console.print()
    _print_runs(known.runs if every else known.runs[:FEW], console)
    if not every and len(known.runs) > FEW:
        console.print(Text(f"  ... and {human_count(len(known.runs) - FEW)} more (--verbose shows all)", style="dim"))
    drawn = [run for run in reversed(known.runs[: max(console.width - MARGIN, 1)]) if not run.skipped]
    if len(drawn) > 1:
        _print_plot("Took", [run.seconds for run in drawn], human_seconds, console)
        _print_plot("Messages", [run.messages for run in drawn], human_count, console)


def facts(known: Known, now: datetime, limit: float | None = None) -> Iterator[tuple[str, str, bool]]:
    """Yield what is known: name, value, and whether it is alarming."""
    yield "Source", known.source + (f" ({' '.join(known.partitions)})" if known.partitions else ""), False
    yield "Replica", known.destination, False
    if known.plain_rsync:
        since = f", since {local(known.plain_since)}" if known.plain_since else ""
        yield "Plain rsync", f"{known.plain_rsync}{since}", True
        return
    behind = known.behind(now)
    shown = human_seconds(behind) if behind is not None else "no run has succeeded"
    yield "Behind", shown, behind is None or known.is_late(now, limit)
    for running in known.running:
        yield "Running", running.text, False
    yield from _attempts(known)
    if known.skipped:
        yield "Skipped", f"{human_count(known.skipped)} since, as another run held the lock", False
    if known.withheld:
        yield "Withheld", f"{human_count(known.withheld)} deletions", True
    if known.last_error and known.last_error_at:
        yield "Last error", f"{local(known.last_error_at)}: {known.last_error}", known.has_failed
    if known.watcher:
        yield from watching.facts(known.watcher, now)


def _attempts(known: Known) -> Iterator[tuple[str, str, bool]]:
    success = next((run for run in known.runs if run.succeeded), None)
    if known.last_success:
        took = f", took {human_seconds(success.seconds)}" if success and success.started == known.last_success else ""
        yield "Last success", f"{local(known.last_success)}{took}", False
    attempt = next((run for run in known.runs if not run.skipped), None)
    if attempt and not attempt.succeeded:
        yield (
            "Last attempt",
            f"{local(attempt.started)}, took {human_seconds(attempt.seconds)}, exit {attempt.exit}",
            False,
        )


def _print_runs(runs: Sequence[Run], console: Console) -> None:
    from rich.text import Text

    from cyrsync.report.table import new_table

    parts = [word for run in runs for word in run.part]
    by_user = all(word.startswith("--user=") for word in parts)
    last = ["Users" if by_user else "Part"] if parts else []
    heads = ("Started", "Took", "Exit", "Messages", "Bytes", "Deleted", "Failed", *last)
    table = new_table(heads, words=("Started", *last), fold=last)
    for run in runs:
        counts = human_count(run.messages), human_bytes(run.bytes_sent), *map(human_count, (run.deleted, run.failed))
        part = " ".join(run.users if by_user else run.part)
        cells = [local(run.started), human_seconds(run.seconds), str(run.exit), *counts, *([part] if last else [])]
        style = "dim" if run.skipped else "" if run.exit == 0 else "red"
        table.add_row(*(Text(cell, style) for cell in cells))
    console.print(table)


def _print_plot(name: str, values: Sequence[float], shown: Callable[[Any], str], console: Console) -> None:
    """Print a column for each run, the latest on the right."""
    from rich.text import Text

    if not any(values):
        return
    console.print()
    rows = plot(values, _ASCII_BLOCKS if console.options.ascii_only else _BLOCKS)
    for label, row in zip((name, f"to {shown(max(values))}", ""), rows, strict=True):
        console.print(Text.assemble((label.ljust(MARGIN), "bold" * (label == name)), row.rstrip()), soft_wrap=True)


def plot(values: Sequence[float], blocks: str = _BLOCKS) -> list[str]:
    """Return the lines of a plot from nothing to the highest value; what is more than nothing shows."""
    steps = len(blocks) - 1
    top = max(values)
    levels = [max(round(value / top * HEIGHT * steps), value > 0) for value in values]
    return [
        "".join(blocks[min(max(level - row * steps, 0), steps)] for level in levels) for row in reversed(range(HEIGHT))
    ]
