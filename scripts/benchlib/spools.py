"""What is measured on a sample spool: replicas kept by rsync and cyrsync, and what looks at the spool alone."""

from __future__ import annotations

import argparse
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import samplespool
from benchlib.bench import Bench, Case, Link, Tool


def cases(spool: Path, size: int, first_copies: int) -> list[Case]:
    """Return what is measured, in order."""

    def changed(**shares: float) -> Callable[[int], object]:
        return lambda seed: samplespool.change(spool, **shares, seed=seed, size=size)

    first = Case("first copy", most_runs=first_copies, cold=False, count=False, from_nothing=True)
    return [
        *([first] if first_copies else []),
        Case("none"),
        Case("0.1 % new messages", changed(new=0.001)),
        Case("flags in 1 % of folders", changed(flags=0.01)),
        Case("1 % expunged", changed(expunged=0.01)),
        Case("5 % new messages", changed(new=0.05), most_runs=3, cold=False, count=False),
    ]


def sync_tools(cyrsync: list[str], work: Path) -> list[Tool]:
    """Return rsync and cyrsync, each with a replica of its own."""
    return [
        Tool("rsync", work / "old", lambda src, dst, rsh: ["rsync", "-a", "--delete", *rsh, f"{src}/", f"{dst}/"]),
        Tool("cyrsync", work / "new", lambda src, dst, rsh: [*cyrsync, "sync", "--delete", *rsh, f"{src}", dst]),
    ]


def index_tools(cyrsync: list[str], work: Path, spool: Path) -> list[Tool]:
    """Return rsync and cyrsync's index engine."""
    return [sync_tools(cyrsync, work)[0], index_tool(cyrsync, work, server_files(work / "conf", spool))]


def index_tool(cyrsync: list[str], work: Path, conf: Path) -> Tool:
    """Return cyrsync's index engine; what it remembers lies in its replica, and goes with it."""

    def command(_: Path, dst: str, rsh: list[str]) -> list[str]:
        state = f"{dst.rpartition(':')[2]}/.state"
        return [*cyrsync, "sync", "-C", str(conf), "--state", state, "--delete", *rsh, dst]

    return Tool("cyrsync -C", work / "standby", command)


def server_files(directory: Path, spool: Path) -> Path:
    """Write the imapd.conf and the mailboxes.db of a server with this spool; return the path of the former."""
    directory.mkdir()
    names = sorted(".".join(folder.relative_to(spool).parts[1:]) for folder in samplespool.folders(spool))
    (directory / "mailboxes.db").write_text("".join(f"{name}\t0 default anyone\tlrs\t\n" for name in names))
    conf = directory / "imapd.conf"
    conf.write_text(
        f"configdirectory: {directory}\npartition-default: {spool}\nhashimapspool: yes\nmboxlist_db: flat\n"
    )
    return conf


def verify_tools(cyrsync: list[str], spool: Path) -> list[Tool]:
    """Return what counts the files of the spool, and what checks it against its indexes; neither reads a message."""
    counting = ["sh", "-c", 'find "$1" -type f | wc -l', "sh"]
    return [
        Tool("find", spool, lambda _, tree, __: [*counting, tree]),
        Tool("cyrsync verify", spool, lambda _, tree, rsh: [*cyrsync, "verify", *rsh, tree]),
    ]


def check_replica(spool: Path, replica: Path) -> None:
    """Stop when plain rsync would still find something to do."""
    owner_file = "--exclude=/.cyrsync-*"  # cyrsync's own
    check = ["rsync", "-aniO", "--delete", owner_file, f"{spool}/", f"{replica}/"]
    left = subprocess.run(check, capture_output=True, text=True, check=True).stdout.splitlines()
    if left:
        raise SystemExit(f"bench: the replicas differ from the source: {left[:5]}")


def measure_sync(
    options: argparse.Namespace, spool: Path, work: Path, links: list[Link], tools: list[Tool]
) -> list[str]:
    """Measure what keeps a replica, and return the table."""
    bench = Bench(spool, tools, options.runs, work)
    for tool in bench.tools:
        tool.replica.mkdir(exist_ok=True)
    copy = bench.tools[1].replica
    for link in links:
        for case in cases(spool, options.size, options.first_copies):
            bench.measure(case, link)
            prefixed = Path(f"{copy}{spool}")
            check_replica(spool, prefixed if prefixed.exists() else copy)
    return bench.table()


def measure_verify(options: argparse.Namespace, spool: Path, work: Path) -> list[str]:
    """Measure what looks at the spool alone, and return the table."""
    bench = Bench(spool, verify_tools(shlex.split(options.cyrsync), spool), options.runs, work)
    bench.measure(Case("none"), Link("disk"))
    return bench.table()
