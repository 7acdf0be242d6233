"""What it costs to find and to restore mail, beside what one would do without a tool that knows the spool."""

from __future__ import annotations

import hashlib
import shutil
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import samplespool
from benchlib.running import Sample, run, say
from benchlib.spools import server_files


@dataclass(frozen=True)
class Case:
    """One question: how it would be answered by hand, how by cyrsync, and the seconds that this may take."""

    name: str
    by_hand: list[str]
    command: list[str]
    goal: float


@dataclass(frozen=True)
class Row:
    """What came out."""

    case: Case
    by_hand: Sample
    samples: list[Sample]


def measure(cyrsync: list[str], messages: int, folders: int, size: int | None, runs: int, work: Path) -> list[str]:
    """Measure every case on a spool; return the table."""
    spool, out = work / "spool", work / "out"
    say(f"making {messages:,} messages in {folders:,} mailboxes in {work}")
    samplespool.make(spool, messages, folders, size=size)
    conf = server_files(work / "conf", spool)
    return list(table([_measured(case, runs, out) for case in cases(cyrsync, conf, spool, out)]))


def _measured(case: Case, runs: int, out: Path) -> Row:
    samples = []
    say(f"{case.name}: by hand")
    by_hand = _anew(case.by_hand, out)
    for number in range(runs):
        say(f"{case.name}: {number + 1} of {runs}")
        samples.append(_anew(case.command, out))
    return Row(case, by_hand, samples)


def _anew(command: list[str], out: Path) -> Sample:
    shutil.rmtree(out, ignore_errors=True)
    return run(command)


def cases(cyrsync: list[str], conf: Path, spool: Path, out: Path) -> list[Case]:
    """Return what is measured: one message of all, one of a folder, a folder, and what a user has removed."""
    folder = max(samplespool.folders(spool), key=lambda one: (one / "cyrus.index").stat().st_size)
    message = max(folder.glob("[0-9]*."), key=lambda path: int(path.name[:-1]))
    content = message.read_bytes()
    guid, text = hashlib.sha1(content).hexdigest(), content.decode("utf-8", "replace")
    ident = next(line for line in text.splitlines() if line.startswith("Message-ID: "))
    name = ".".join(folder.relative_to(spool).parts[1:])
    count = sum(1 for _ in folder.glob("[0-9]*."))
    restore = [*cyrsync, "restore", "/", "-C", str(conf), "--to", str(out)]
    history = [*cyrsync, "history", "/", "-C", str(conf), "--json"]
    by_user = ["sh", "-c", 'grep -rlF "$1" "$2" >"$3"', "sh", ident, str(spool), str(out.with_suffix(".found"))]
    return [
        Case("one message of all, by GUID", by_user, [*restore, "--message", guid], 2),
        Case(
            "one message of a folder",
            ["cp", str(message), str(out.with_suffix(".eml"))],
            [*restore, name, "--message", message.name[:-1]],
            2,
        ),
        Case(
            f"a folder of {count:,}", ["cp", "-r", str(folder), str(out)], [*restore, name], 10 * max(count / 1000, 1)
        ),
        Case("what a user has removed", ["true"], [*history, "--user", name.split(".")[1], "--deleted"], 1),
    ]


def table(rows: list[Row]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield "| to find or restore | by hand (grep, cp) | median | computing time | slowest | goal | peak memory |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for row in rows:
        seconds = [sample.seconds for sample in row.samples]
        megabytes = max(sample.kibibytes for sample in row.samples) * 1024 / 1e6
        hand = f"{row.by_hand.seconds:.2f} s" if row.case.by_hand != ["true"] else "-"
        computing = statistics.median(sample.cpu for sample in row.samples)
        times = (statistics.median(seconds), computing, max(seconds))
        cells = [row.case.name, hand, *(f"{one:.2f} s" for one in times)]
        cells += [f"{row.case.goal:g} s", f"{megabytes:.0f} MB"]
        yield f"| {' | '.join(cells)} |"
