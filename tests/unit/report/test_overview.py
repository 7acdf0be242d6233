"""Many replicas: a line each, what needs attention, and a mail."""

from __future__ import annotations

import io
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from rich.console import Console

from cyrsync.report import overview
from cyrsync.report.known import Known, Running, of_pair
from cyrsync.state.history import Pair, Record
from cyrsync.sync.result import MessageCounts
from support.runs import record, result

NOW = datetime.fromtimestamp(3600 * 10, timezone.utc)


def known(*runs: Record, **more: Any) -> Known:
    """A replica with these runs, from the first to the last."""
    return of_pair(Pair(tuple(reversed(runs))), NOW, host="mx", **more)


def bare(**more: Any) -> Known:
    return Known("/etc/imapd.conf", "host:/", "mx", NOW, **more)


def watcher(**more: Any) -> dict[str, Any]:
    return {"connected": True, "blind": "", "failed": 0, "waiting": [], **more}


LATE = [{"name": "user/joe", "reason": "gone\x1b", "since": 1, "tries": 1}]
FAILED = record(599, 23, run=result(599, 23, errors=["folder: cannot be read"]))


@pytest.mark.parametrize(
    ("found", "limit", "problem"),
    [
        (known(record(599)), 60, ""),
        (known(record(500)), None, ""),
        (known(record(500)), 60, "the last success is 1 h 40 min old"),
        (known(record(500), FAILED), 60, "folder: cannot be read"),
        (known(FAILED, record(599)), 60, ""),
        (known(FAILED), None, "no run has succeeded: folder: cannot be read"),
        (known(record(599, 75)), None, "no run has succeeded"),
        (known(record(599), record(599, 75)), None, "1 run skipped since: another run held the lock"),
        (bare(running=(Running(1, NOW, False),)), None, ""),
        (bare(running=(Running(1, NOW, False),)), 60, "no run has succeeded"),
        (bare(plain_rsync="--link-dest"), 60, "plain rsync: --link-dest"),
        (known(record(599), watcher=watcher(connected=False)), 60, "the watcher is not connected"),
        (known(record(599), watcher=watcher(blind="torn\n")), 60, "torn\\x0a"),
        (known(record(599), watcher=watcher(failed=3, waiting=LATE * 3)), 60, "user/joe: gone\\x1b (and 2 more)"),
    ],
)
def test_what_needs_attention_next(found: Known, limit: float | None, problem: str) -> None:
    assert found.problem(NOW, limit) == problem


def test_a_skipped_run_while_another_is_at_work_is_no_problem() -> None:
    found = of_pair(Pair((record(599, 75), record(598))), NOW, host="mx")
    assert found.problem(NOW)
    assert not Known(**{**_fields(found), "running": (Running(1, NOW, False),)}).problem(NOW)


def _fields(found: Known) -> dict[str, Any]:
    return {name: getattr(found, name) for name in found.__dataclass_fields__}


# --- The table


def rendered(*found: Known, width: int = 100, **how: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=width, **how)
    overview.render(found, console, now=NOW, limit=60)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_a_line_each() -> None:
    since = NOW - timedelta(minutes=1)
    heads, _, *lines = rendered(
        known(record(599, run=result(599, seconds=1))),
        bare(running=(Running(4711, since, False), Running(1, None, True))),
    )
    assert heads.split("  ")[0] == "Source"
    assert lines[0].split("  ")[0] == "/spool"
    assert "host:/one" in lines[0] and "1 min 00 s" in lines[0]
    assert f"{since.astimezone():%H:%M:%S} (4711), watching (1)" in lines[1]
    assert len(lines) == 2


def test_only_what_tells_replicas_apart_has_a_column() -> None:
    assert overview.columns([bare(), bare()])[0] == "Replica"
    others = [bare(), Known("/etc/imapd.conf", "x:/", "mx2", NOW)]
    assert overview.columns(others)[:2] == ["Machine", "Source"]
    assert overview.columns([bare(), Known("/spool", "x:/", "mx", NOW)])[:2] == ["Source", "Replica"]


@pytest.mark.parametrize("width", [20, 80])
def test_names_are_never_cut_off(width: int) -> None:
    long = Known("/etc/imapd.conf", f"{'x' * 80}:/", "mx", NOW, last_success=NOW)
    assert any(f"{'x' * 80}:/" in line for line in rendered(long, bare(), width=width))


def test_names_cannot_speak() -> None:
    hostile = Known("[red]x[/]", ":smile:", "[b]", NOW, last_error="[link=x]y[/]", last_error_at=NOW)
    text = "\n".join(rendered(hostile, bare(), width=200, force_terminal=True, color_system=None))
    for name in ("[red]x[/]", ":smile:", "[link=x]y[/]"):
        assert name in text


# --- The mail


def test_a_mail_begins_with_what_is_wrong() -> None:
    good = known(record(598), record(599, run=result(599, messages=MessageCounts(send=7), bytes_sent=2048)))
    old = [record(-60 * 24), record(598), FAILED, record(599, 75)]
    lines = list(overview.mail_lines([good, known(*old)], NOW, 60))
    assert lines[0].startswith("cyrsync, ") and lines[0].endswith(": 2 replicas, 1 with a problem")
    heads = [line for line in lines if not line.startswith(" ") and line]
    assert [head.split(":")[0] for head in heads[1:]] == ["PROBLEM", "OK"]
    assert "  Problem       folder: cannot be read" in lines
    sums = [line.split("  ")[-1].strip() for line in lines if line.startswith("  In 24 hours")]
    assert sums == ["2 runs, 1 failed; 0 messages, 0 B sent", "2 runs, 0 failed; 7 messages, 2.0 KiB sent"]
    assert all(line.isascii() for line in lines)


def test_a_mail_without_a_problem_and_of_several_machines() -> None:
    lines = list(overview.mail_lines([known(record(599)), Known("/s", "x:/", "mx2", NOW, last_success=NOW)], NOW, None))
    assert lines[0].endswith(": 2 replicas, no problem")
    assert "OK: x:/ (mx2)" in lines
