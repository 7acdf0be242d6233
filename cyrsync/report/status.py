"""How up to date replicas are, and how their runs went: a table and a plot, or JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cyrsync.report import watching
from cyrsync.text import human_bytes, human_count, human_seconds, printable

if TYPE_CHECKING:
    from rich.console import Console

    from cyrsync.state.history import Pair, Record

#: Runs that are shown, unless all are asked for.
FEW = 10
#: Columns that the names of the facts take.
MARGIN = 14
#: Lines of a plot, and what fills a character of it by so many eighths.
HEIGHT = 3
_BLOCKS, _ASCII_BLOCKS = " ▁▂▃▄▅▆▇█", " .,:-=+*#"
_ALARM = "bold red"


def age(pair: Pair, now: datetime) -> float | None:
    """Return how many seconds the replica is behind: what came since the last success began, it may lack."""
    success = pair.last_success
    return max((now - success.began).total_seconds(), 0.0) if success else None


def to_json(pair: Pair, now: datetime, *, every: bool, watcher: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return one line of `status --json`; null where there was no such run, or no `watcher` is at work."""
    newest, success, attempt, failure = pair.runs[0], pair.last_success, pair.last_attempt, pair.last_failure
    return {
        "source": newest.source,
        "destination": newest.destination,
        "engine": newest.engine,
        "partitions": newest.partitions.split(),
        "behind_seconds": age(pair, now),
        "last_success": success and success.started,
        "last_attempt": attempt and attempt.started,
        "seconds": attempt and attempt.seconds,
        "exit": attempt and attempt.exit,
        "withheld": attempt.result["withheld"] if attempt else 0,
        "skipped": pair.skipped,
        "last_error": failure and _error(failure),
        "last_error_at": failure and failure.started,
        "watcher": watcher,
        "runs": [_run(record) for record in (pair.runs if every else pair.runs[:FEW])],
    }


def _run(record: Record) -> dict[str, Any]:
    result = record.result
    return {
        "started": record.started,
        "seconds": record.seconds,
        "exit": record.exit,
        "users": [word for word in record.users.split() if not word.startswith("--")],
        "part": [word if word.startswith("--") else f"--user={word}" for word in record.users.split()],
        "messages": result["messages"]["send"],
        "bytes_sent": result["bytes_sent"],
        "deleted": result["files"]["deleted"],
        "withheld": result["withheld"],
        "failed": result["files"]["failed"],
    }


def _error(record: Record) -> str:
    errors: list[str] = record.result["errors"]
    more = f" (and {human_count(len(errors) - 1)} more)" if len(errors) > 1 else ""
    return printable(errors[0]) + more if errors else f"exit {record.exit}"


def render(
    pair: Pair, console: Console, *, every: bool, now: datetime, late: bool, watcher: dict[str, Any] | None
) -> None:
    """Print what is known of a pair, and of its watcher; in red how far it is behind, if that is too far."""
    from rich.text import Text

    watched = watching.facts(watcher, now) if watcher else ()
    for name, value, alarming in (*_facts(pair, now, late), *watched):
        console.print(Text.assemble((name.ljust(MARGIN), "bold"), (value, _ALARM * alarming)), soft_wrap=True)
    console.print()
    _print_runs(pair.runs if every else pair.runs[:FEW], console)
    if not every and len(pair.runs) > FEW:
        console.print(Text(f"  ... and {human_count(len(pair.runs) - FEW)} more (--verbose shows all)", style="dim"))
    drawn = [run for run in reversed(pair.runs[: max(console.width - MARGIN, 1)]) if not run.skipped]
    if len(drawn) > 1:
        _print_plot("Took", [run.seconds for run in drawn], human_seconds, console)
        _print_plot("Messages", [_run(run)["messages"] for run in drawn], human_count, console)


def _facts(pair: Pair, now: datetime, late: bool) -> Iterator[tuple[str, str, bool]]:
    """Yield what is known: name, value, and whether it is alarming."""
    newest, success, attempt, failure = pair.runs[0], pair.last_success, pair.last_attempt, pair.last_failure
    behind = age(pair, now)
    yield "Source", newest.source + (f" ({newest.partitions})" if newest.partitions else ""), False
    yield "Replica", newest.destination, False
    yield "Behind", human_seconds(behind) if behind is not None else "no run has succeeded", late or behind is None
    if success:
        yield "Last success", f"{_time(success)}, took {human_seconds(success.seconds)}", False
    if attempt and attempt is not success:
        yield "Last attempt", f"{_time(attempt)}, took {human_seconds(attempt.seconds)}, exit {attempt.exit}", False
    if pair.skipped:
        yield "Skipped", f"{human_count(pair.skipped)} since, as another run held the lock", False
    if attempt and attempt.result["withheld"]:
        yield "Withheld", f"{human_count(attempt.result['withheld'])} deletions", True
    if failure:
        yield "Last error", f"{_time(failure)}: {_error(failure)}", failure is attempt


def _print_runs(runs: Sequence[Record], console: Console) -> None:
    from rich.text import Text

    from cyrsync.report.table import new_table

    parts = {word for run in runs for word in run.users.split()}
    last = ["Part" if any(word.startswith("--") for word in parts) else "Users"] if parts else []
    heads = ("Started", "Took", "Exit", "Messages", "Bytes", "Deleted", "Failed", *last)
    table = new_table(heads, words=("Started", *last), fold=last)
    for record in runs:
        run = _run(record)
        counts = (
            human_count(run["messages"]),
            human_bytes(run["bytes_sent"]),
            *map(human_count, (run["deleted"], run["failed"])),
        )
        cells = [_time(record), human_seconds(record.seconds), str(record.exit), *counts]
        style = "dim" if record.skipped else "" if record.exit == 0 else "red"
        table.add_row(*(Text(cell, style) for cell in (*cells, *([record.users] if last else []))))
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


def _time(record: Record) -> str:
    """Return when a run began, by the clock on the wall here."""
    return record.began.astimezone().strftime("%Y-%m-%d %H:%M:%S")
