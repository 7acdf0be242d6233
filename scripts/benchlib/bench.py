"""What is measured of two tools in turn, and the table of it."""

from __future__ import annotations

import os
import shlex
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchlib.running import Calls, Sample, count, drop_caches, run, say

#: Where a link that is not local leads to: a name of the private ssh configuration.
HOST = "bench"


def make_empty(directory: Path) -> None:
    """Remove all that is in a directory."""
    shutil.rmtree(directory)
    directory.mkdir()


@dataclass
class Tool:
    """One of the two, and the replica it keeps, or the tree it looks at."""

    name: str
    replica: Path
    command: Callable[[Path, str, list[str]], list[str]]
    make_empty: Callable[[Path], object] = make_empty


@dataclass(frozen=True)
class Case:
    """What changes before each run, and how it is measured."""

    name: str
    change: Callable[[int], object] = lambda _: None
    most_runs: int = 99
    cold: bool = True
    count: bool = True
    from_nothing: bool = False


@dataclass
class Row:
    """What came out, for each tool."""

    case: str
    link: str
    caches: str
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    calls: dict[str, Calls] = field(default_factory=dict)


@dataclass(frozen=True)
class Link:
    """How replicas are reached: locally, or by this remote shell from a server with this process id."""

    name: str
    rsh: list[str] = field(default_factory=list)
    server: int = 0

    def arguments(self, tool: Tool, spool: Path) -> list[str]:
        """Return the tool's command line."""
        replica = f"{HOST}:{tool.replica}" if self.rsh else str(tool.replica)
        return tool.command(spool, replica, ["-e", shlex.join(self.rsh)] if self.rsh else [])


def table(rows: list[Row], names: list[str]) -> Iterator[str]:
    """Yield the lines of a Markdown table: of each pair of numbers, the first tool's first."""
    old, new = names
    counted = any(row.calls for row in rows)
    heads = ["change", "to", "caches", old, new, "times as fast", "peak memory"]
    heads += ["system calls", "stats of messages"] * counted
    yield f"| {' | '.join(heads)} |"
    yield "|---" * 3 + "|--:" * (len(heads) - 3) + "|"
    for row in rows:
        seconds = [statistics.median(sample.seconds for sample in row.samples[name]) for name in names]
        memory = [statistics.median(sample.kibibytes for sample in row.samples[name]) / 1024 for name in names]
        cells = [
            *(row.case, row.link, row.caches, *(f"{value:.2f} s" for value in seconds)),
            f"**{seconds[0] / seconds[1]:.1f}**",
            " / ".join(f"{value:.0f}" for value in memory) + " MiB",
        ]
        if counted:
            calls = [row.calls[name] for name in names if name in row.calls]
            cells.append(" / ".join(f"{call.total:,}" for call in calls))
            cells.append(" / ".join(f"{call.message_stats:,}" for call in calls))
        yield f"| {' | '.join(cells)} |"


@dataclass
class Bench:
    """The spool, the tools, and what was measured so far."""

    spool: Path
    tools: list[Tool]
    runs: int
    work: Path
    rows: list[Row] = field(default_factory=list)

    def measure(self, case: Case, link: Link) -> None:
        """Add the rows of one case."""
        runs = min(self.runs, case.most_runs)
        if not case.from_nothing:
            for tool in self.tools:  # both up to date, and everything in the caches
                run(link.arguments(tool, self.spool))
        row = self._row(case, link, "warm", runs)
        if case.count and shutil.which("strace"):
            say(f"{case.name}, {link.name}: system calls")
            case.change(1000)
            for tool in self.tools:
                row.calls[tool.name] = count(link.arguments(tool, self.spool), link.server, self.work)
        if case.cold and os.access("/proc/sys/vm/drop_caches", os.W_OK):
            self._row(case, link, "cold", min(runs, 3))

    def table(self) -> list[str]:
        """Return what was measured as a Markdown table."""
        return list(table(self.rows, [tool.name for tool in self.tools]))

    def _row(self, case: Case, link: Link, caches: str, runs: int) -> Row:
        row = Row(case.name, link.name, caches, {tool.name: [] for tool in self.tools})
        self.rows.append(row)
        for number in range(runs):
            say(f"{case.name}, {link.name}, {caches}: {number + 1} of {runs}")
            case.change(len(self.rows) * 100 + number)
            time.sleep(1.1)  # rsync's quick check may compare whole seconds
            for tool in self.tools if number % 2 == 0 else self.tools[::-1]:
                if case.from_nothing:
                    tool.make_empty(tool.replica)
                os.sync()
                if caches == "cold":
                    drop_caches()
                row.samples[tool.name].append(run(link.arguments(tool, self.spool)))
        return row
