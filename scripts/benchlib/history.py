"""What it costs to keep what a replica loses, beside Debian's restic and borg on the same spool."""

from __future__ import annotations

import os
import shutil
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import samplespool
from benchlib.running import Sample, run, say
from benchlib.spools import server_files


@dataclass(frozen=True)
class Tool:
    """One way to keep the past: how it begins, and how it goes on."""

    name: str
    command: list[str]
    begin: list[str] | None = None


def measure(cyrsync: list[str], messages: int, folders: int, size: int | None, runs: int, work: Path) -> list[str]:
    """Measure every tool on the same changes; return the table."""
    spool = work / "spool"
    say(f"making {messages:,} messages in {folders:,} mailboxes in {work}")
    samplespool.make(spool, messages, folders, size=size)
    found = tools(cyrsync, spool, work)
    for tool in found:
        if tool.begin:
            run(tool.begin)

    def change(seed: int) -> None:
        samplespool.change(spool, new=0.01, expunged=0.01, seed=seed, size=size)

    cases: list[tuple[str, Callable[[int], object] | None, int]] = [
        ("first", None, 1),
        ("none", None, runs),
        ("1 % new, 1 % expunged", change, min(runs, 3)),
    ]
    lines = ["| change | " + " | ".join(tool.name for tool in found) + " |", "|---|" + "--:|" * len(found)]
    for name, make, times in cases:
        samples: list[list[Sample]] = [[] for _ in found]
        for number in range(times):
            if make:
                make(number)
            os.sync()
            for tool, some in zip(found, samples, strict=True):
                say(f"{name}: {tool.name}, {number + 1} of {times}")
                some.append(run(tool.command))
        lines.append(f"| {name} | " + " | ".join(map(_cell, samples)) + " |")
    return lines


def tools(cyrsync: list[str], spool: Path, work: Path) -> list[Tool]:
    """Return what is compared: -C with and without --history, and what of restic and borg is installed."""
    conf = server_files(work / "conf", spool)
    found: list[Tool] = []
    for name, words in (("-C", list[str]()), ("-C --history", ["--history"])):
        replica = work / f"replica{len(found)}"
        replica.mkdir()
        state = ["--state", str(work / f"state{len(found)}")]
        found.append(Tool(name, [*cyrsync, "sync", "-C", str(conf), *state, "--delete", *words, str(replica)]))
    if shutil.which("restic"):
        (work / "password").write_text("bench\n")
        restic = ["restic", "--repo", str(work / "restic"), "--password-file", str(work / "password")]
        restic += ["--cache-dir", str(work / "restic-cache"), "--quiet"]
        found.append(Tool("restic", [*restic, "backup", str(spool)], [*restic, "init"]))
    if shutil.which("borg"):
        repository = str(work / "borg")
        env = ["env", f"BORG_BASE_DIR={work / 'borg-base'}", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes", "borg"]
        create = [*env, "create", f"{repository}::{{now:%Y-%m-%dT%H:%M:%S.%f}}", str(spool)]
        found.append(Tool("borg", create, [*env, "init", "--encryption", "none", repository]))
    return found


def _cell(samples: list[Sample]) -> str:
    seconds = statistics.median(sample.seconds for sample in samples)
    return f"{seconds:.2f} s, {statistics.median(sample.cpu for sample in samples):.2f} s CPU"
