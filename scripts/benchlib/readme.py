"""The README's table: rsync, `sync SRC DEST` and `sync -C` on the same changes, each with a replica of its own."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchlib.bench import Bench, Case, Link, Row
from benchlib.spools import cases, check_replica, index_tool, server_files, sync_tools

#: Over ssh, what matters is what has to be sent.
_OVER_SSH = ("first copy", "none", "0.1 % new messages", "5 % new messages")


def measure(cyrsync: list[str], spool: Path, size: int, runs: int, work: Path, links: list[Link]) -> list[str]:
    """Measure all rows on a spool that was made; return the table, and the commands that were timed."""
    rsync, walk = sync_tools(cyrsync, work)
    index = index_tool(cyrsync, work, server_files(work / "conf", spool))
    bench = Bench(spool, [rsync, replace(walk, name="SRC DEST"), replace(index, name="-C")], runs, work)
    for tool in bench.tools:
        tool.replica.mkdir(exist_ok=True)
    for link in links:
        for case in cases(spool, size, 1):
            if not link.rsh or case.name in _OVER_SSH:
                bench.measure(_of_link(case, link), link)
                check_replica(spool, walk.replica)
                check_replica(spool, Path(f"{index.replica}{spool}"))
    commands = [shlex.join(link.arguments(tool, spool)) for link in links for tool in bench.tools]
    return [*table(bench.rows), "", "Timed were:", "", *(f"    {command}" for command in commands)]


def _of_link(case: Case, link: Link) -> Case:
    return replace(case, count=False, cold=case.name == "none" and not link.rsh)


def table(rows: list[Row]) -> Iterator[str]:
    """Yield the lines of a Markdown table: medians of wall time, beside those of rsync."""
    names = list(rows[0].samples)
    yield f"| change | {names[0]} |" + "".join(f" {name} | times as fast |" for name in names[1:])
    yield "|---|" + "--:|" * (2 * len(names) - 1)
    for row in rows:
        seconds = [statistics.median(sample.seconds for sample in row.samples[name]) for name in names]
        where = [row.case, *(["cold caches"] if row.caches == "cold" else [])]
        where += ["over ssh to loopback"] if row.link == "ssh" else []
        others = "".join(f" {one:.2f} s | {seconds[0] / one:.1f} |" for one in seconds[1:])
        yield f"| {', '.join(where)} | {seconds[0]:.2f} s |{others}"
