"""What Prometheus is told, read as its own parser reads it."""

from __future__ import annotations

import os
import re

import pytest

from cyrsync.report import metrics
from cyrsync.state.history import Pair
from cyrsync.sync.phases import PhaseSeconds
from cyrsync.sync.result import FileCounts, FolderCounts, MessageCounts
from support.runs import record, result

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*)\} (\S+)')
LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|\Z)')
UNESCAPED = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


def parsed(text: str) -> dict[tuple[str, str], tuple[dict[str, str], float]]:
    """Samples by name and phase: labels and value. Every line must be HELP, TYPE or a sample of the metric above."""
    assert text.endswith("\n")
    found: dict[tuple[str, str], tuple[dict[str, str], float]] = {}
    helped, typed, current = set(), set(), ""
    for line in text[:-1].split("\n"):
        if line.startswith("#"):
            _, kind, name, rest = line.split(" ", 3)
            assert re.fullmatch(r"[a-z_]+", name)
            if kind == "HELP":
                assert name not in helped
                assert not re.search(r"\\(?![\\n])", rest)
                helped.add(name)
            else:
                assert (kind, rest) == ("TYPE", "gauge")
                assert name in helped and name not in typed
                typed.add(name)
                current = name
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        name, inside, value = match.groups()
        assert name == current
        labels = {key: re.sub(r"\\.", lambda found: UNESCAPED[found[0]], text) for key, text in LABEL.findall(inside)}
        at = (name.removeprefix("cyrsync_"), labels.pop("phase", ""))
        assert at not in found
        found[at] = labels, float(value)
    assert helped == typed == {f"cyrsync_{name}" for name, _ in found}
    return found


def values(text: str) -> dict[str, float]:
    return {f"{name}{phase and ':' + phase}": value for (name, phase), (_, value) in parsed(text).items()}


def test_everything_about_a_run_and_those_before() -> None:
    run = result(
        9,
        23,
        seconds=7.25,
        seconds_by_phase=PhaseSeconds(1.5, 2.25, 3),
        folders=FolderCounts(seen=100, unreadable=2, failed=3),
        messages=MessageCounts(send=40),
        files=FileCounts(sent=41, failed=5, deleted=6),
        bytes_sent=12345,
        withheld=7,
    )
    known = Pair((record(9, 23, run=run), record(8, 75), record(7, 75), record(6), record(5)))
    assert values(metrics.render(run, known)) == {
        "last_success_timestamp_seconds": 360,
        "last_attempt_timestamp_seconds": 540,
        "runs_skipped": 2,
        "run_exit_code": 23,
        "run_seconds": 7.25,
        "run_messages": 40,
        "run_bytes_sent": 12345,
        "run_files_sent": 41,
        "run_files_failed": 5,
        "run_files_deleted": 6,
        "run_files_withheld": 7,
        "folders": 100,
        "folders_behind": 5,
        "run_phase_seconds:scan": 1.5,
        "run_phase_seconds:transfer": 2.25,
        "run_phase_seconds:delete": 3,
    }


def test_a_run_that_the_lock_kept_out_is_no_attempt() -> None:
    run = result(9, 75)
    told = values(metrics.render(run, Pair((record(9, 75), record(8, 12)))))
    assert told["last_attempt_timestamp_seconds"] == 480
    assert told["last_success_timestamp_seconds"] == 0
    assert told["run_exit_code"] == 75


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ('a"b\\c', 'a"b\\c'),
        ("a\nb", "a\\x0ab"),
        ('x",y="z', 'x",y="z'),
        (os.fsdecode(b"\xff"), "\\udcff"),
        ("ü {} = ,", "ü {} = ,"),
    ],
)
def test_labels_hold_any_name(name: str, shown: str) -> None:
    run = result(source=name, destination=f"host:{name}")
    for labels, _ in parsed(metrics.render(run, Pair((record(),)))).values():
        assert labels == {"source": shown, "destination": f"host:{shown}"}
