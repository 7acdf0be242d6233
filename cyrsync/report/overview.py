"""Many replicas, a line each, with what needs attention, in a table; and a report for a mail, without any column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cyrsync.report.known import local
from cyrsync.report.status import MARGIN, facts
from cyrsync.text import human_bytes, human_count, human_seconds

if TYPE_CHECKING:
    from rich.console import Console

    from cyrsync.report.known import Known

#: Columns for what is wrong, at least.
_PROBLEM = 30
#: Of how many hours a mail sums the runs up.
_HOURS = 24


def columns(found: Sequence[Known]) -> list[str]:
    """Return the heads of the table: only with those of machines and sources that tell replicas apart."""
    several = [
        *(["Machine"] if len({known.host for known in found}) > 1 else []),
        *(["Source"] if len({(known.host, known.source) for known in found}) > 1 else []),
    ]
    return [*several, "Replica", "Last success", "Behind", "Running since", "Problem"]


def cell(known: Known, head: str, now: datetime, limit: float | None) -> str:
    """Return what stands in a column of the table."""
    if head == "Machine":
        return known.host
    if head == "Source":
        return known.source
    if head == "Replica":
        return known.destination
    if head == "Last success":
        return local(known.last_success) if known.last_success else "-"
    if head == "Behind":
        behind = known.behind(now)
        return "-" if behind is None else human_seconds(behind)
    if head == "Running since":
        return ", ".join(running.brief(now) for running in known.running) or "-"
    return known.problem(now, limit) or "-"


def render(found: Sequence[Known], console: Console, *, now: datetime, limit: float | None) -> None:
    """Print a line for each replica, in red where something needs attention."""
    from rich.cells import cell_len
    from rich.text import Text

    from cyrsync.report.table import new_table

    heads = columns(found)
    rows = [[cell(known, head, now, limit) for head in heads] for known in found]
    table = new_table(heads, words=set(heads) - {"Behind"}, fold=heads[-1:])
    for known, row in zip(found, rows, strict=True):
        style = "red" if known.problem(now, limit) else ""
        table.add_row(*(Text(one, style) for one in row))
    # What tells replicas apart is not cut off: rather the terminal folds the lines.
    least = sum(max(map(cell_len, column)) + 2 for column in list(zip(heads, *rows, strict=True))[:-1])
    console.width = max(console.width, least + _PROBLEM)
    console.print(table)


def summary(found: Sequence[Known], now: datetime, limit: float | None) -> str:
    """Say how many replicas there are, and how many have a problem."""
    bad = sum(bool(known.problem(now, limit)) for known in found)
    replicas = f"{human_count(len(found))} replica{'s' * (len(found) != 1)}"
    return f"{replicas}, {human_count(bad)} with a problem" if bad else f"{replicas}, no problem"


def mail_lines(found: Sequence[Known], now: datetime, limit: float | None) -> Iterator[str]:
    """Yield the lines of a mail about replicas, those with a problem first."""
    yield f"cyrsync, {local(now)}: {summary(found, now, limit)}"
    several = len({known.host for known in found}) > 1
    for known in sorted(found, key=lambda known: not known.problem(now, limit)):
        problem = known.problem(now, limit)
        yield ""
        yield f"{'PROBLEM' if problem else 'OK'}: {known.destination}{f' ({known.host})' if several else ''}"
        shown = [("Problem", problem)] if problem else []
        shown += [(name, value) for name, value, _ in facts(known, now, limit) if name != "Replica"]
        if known.runs:
            shown.append((f"In {_HOURS} hours", _summed(known, now)))
        for name, value in shown:
            yield f"  {name.ljust(MARGIN)}{value}"


def _summed(known: Known, now: datetime) -> str:
    recent = [run for run in known.runs if run.started > now - timedelta(hours=_HOURS)]
    done = [run for run in recent if not run.skipped]
    failed = sum(run.went_wrong for run in done)
    sent = f"{human_count(sum(run.messages for run in done))} messages"
    size = human_bytes(sum(run.bytes_sent for run in done))
    return f"{human_count(len(done))} runs, {human_count(failed)} failed; {sent}, {size} sent"
