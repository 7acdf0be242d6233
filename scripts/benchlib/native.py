"""Beside Cyrus's own replication: a master and a replica on loopback, and a replica of cyrsync's of the same master."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import samplespool
from benchlib import cyrus
from benchlib.bench import Bench, Case, Link, Tool
from benchlib.spools import index_tool

#: How many times as fast cyrsync is to be.
GOAL = 3.0
_MESSAGE = re.compile(r"[0-9]+\.")


def cases() -> list[Case]:
    """Return what is measured, in order."""
    return [
        Case("first copy", most_runs=3, cold=False, count=False, from_nothing=True),
        Case("none", most_runs=3, cold=False, count=False),
    ]


def tools(cyrsync: list[str], work: Path, master: cyrus.Server, replica: cyrus.Server) -> list[Tool]:
    """Return Cyrus's way to replicate all users, and cyrsync's."""
    client = [f"{cyrus.PROGRAMS}/sync_client", "-C", str(master.conf), "-A"]
    native = Tool("sync_client -A", replica.spool, lambda *_: client, lambda _: replica.make_empty())
    return [native, index_tool(cyrsync, work, master.conf)]


def measure(cyrsync: list[str], messages: int, folders: int, size: int | None, runs: int, work: Path) -> list[str]:
    """Measure, and return the table."""
    cyrus.install()
    os.environ.update(cyrus.identity())
    work.chmod(0o711)  # Cyrus runs as somebody else
    with contextlib.ExitStack() as stack:
        replica = stack.enter_context(cyrus.started(cyrus.Server(work / "cyrus-replica", "sync_server")))
        settings = cyrus.replicating(replica.port)
        master = stack.enter_context(cyrus.started(cyrus.Server(work / "cyrus-master", "imapd", settings)))
        samplespool.make(work / "sample", messages, folders, size=size)
        cyrus.fill(master, work / "sample")
        bench = Bench(master.spool, tools(cyrsync, work, master, replica), runs, work)
        for tool in bench.tools:
            tool.replica.mkdir(exist_ok=True)
        for case in cases():
            bench.measure(case, Link("disk"))
            check(master.spool, replica.spool)
            check(master.spool, Path(f"{bench.tools[1].replica}{master.spool}"))
    return [*bench.table(), "", f"{cyrus.version()} at both ends. The goal: {GOAL:g} times as fast."]


def check(spool: Path, copy: Path) -> None:
    """Stop when a replica has not the same messages."""
    here, there = messages(spool), messages(copy)
    if here != there:
        raise SystemExit(f"bench: {copy} differs from the source: {sorted(here ^ there)[:5]}")


def messages(spool: Path) -> set[tuple[str, int]]:
    """Return path and size of each message below."""
    found: set[tuple[str, int]] = set()
    for path, below, names in os.walk(spool):
        if Path(path) == spool:  # where Cyrus puts together what it has not delivered yet
            below[:] = [name for name in below if not name.endswith(".")]
        files = [os.path.join(path, name) for name in names if _MESSAGE.fullmatch(name)]
        found.update((os.path.relpath(file, spool), os.stat(file).st_size) for file in files)
    return found
