"""What a run costs that finds nothing to do, on a server of very many mailboxes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import samplespool
from benchlib.bench import Link
from benchlib.running import Sample, run, say
from benchlib.spools import index_tool, server_files

#: Seconds and megabytes that such a run may take.
GOAL_SECONDS, GOAL_MEGABYTES = 1.2, 80.0
#: Files that Cyrus keeps of each user, and one for the quota.
_FILES = ("user/{letter}/{user}.sub", "user/{letter}/{user}.seen", "user/{letter}/{user}.counters")
_QUOTA = "quota/{letter}/user.{user}"


@dataclass(frozen=True)
class Row:
    """What came out."""

    server: str
    samples: list[Sample]


def measure(cyrsync: list[str], messages: int, folders: int, size: int | None, runs: int, work: Path) -> list[str]:
    """Measure with the partition alone, and with the users' files; return the table."""
    spool = work / "spool"
    say(f"making {messages:,} messages in {folders:,} mailboxes in {work}")
    samplespool.make(spool, messages, folders, size=size)
    conf = server_files(work / "conf", spool)
    tool = index_tool(cyrsync, work, conf)
    tool.replica.mkdir()
    command = Link("disk").arguments(tool, spool)
    rows = [Row(f"{folders:,} mailboxes", _none(command, runs))]
    users, files = add_user_files(conf.parent, spool)
    rows.append(Row(f"the same, and {files:,} files of {users:,} users", _none(command, runs)))
    return list(table(rows))


def _none(command: list[str], runs: int) -> list[Sample]:
    """Bring the replica up to date, and measure runs that find nothing to do."""
    time.sleep(2.1)  # what was written just now is looked into once more
    for _ in range(2):
        run(command)
    samples = []
    for number in range(runs):
        say(f"none: {number + 1} of {runs}")
        samples.append(run(command))
    return samples


def add_user_files(configdirectory: Path, spool: Path) -> tuple[int, int]:
    """Write what Cyrus keeps beside the mailboxes of their users; return how many users and how many files."""
    users = sorted(path.name for path in spool.glob("?/user/*"))
    for number, user in enumerate(users):
        for pattern in (*_FILES, _QUOTA):
            file = configdirectory / pattern.format(letter=user[0], user=user)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"user.{user}\t{number}\n")
    return len(users), len(users) * (len(_FILES) + 1)


def table(rows: list[Row]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield "| server, no change | median | slowest | goal | peak memory | goal |"
    yield "|---|--:|--:|--:|--:|--:|"
    for row in rows:
        seconds = [sample.seconds for sample in row.samples]
        megabytes = max(sample.kibibytes for sample in row.samples) * 1024 / 1e6
        cells = [row.server, f"{statistics.median(seconds):.2f} s", f"{max(seconds):.2f} s", f"{GOAL_SECONDS} s"]
        cells += [f"{megabytes:.0f} MB", f"{GOAL_MEGABYTES:.0f} MB"]
        yield f"| {' | '.join(cells)} |"
