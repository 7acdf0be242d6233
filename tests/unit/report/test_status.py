"""How up to date a replica is, for people and for programs."""

from __future__ import annotations

import io
import re
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from rich.console import Console

from cyrsync.report import status
from cyrsync.report.known import Known, of_pair
from cyrsync.rolling.plain import Counts, Late, Status
from cyrsync.state.history import Pair, Record
from cyrsync.sync.result import FileCounts, MessageCounts
from support.runs import record, result

NOW = datetime.fromtimestamp(3600 * 10, timezone.utc)
WAITING = [
    Late("user/joe", 35880.0, 2, "locked"),
    Late("user/ann", 35990.0, 0, ""),
    Late("all mailboxes", 35999.0, 0, "mailboxes renamed or deleted"),
]
DELAYS = [60, 39, *[0] * 10, 1]
COUNTS = Counts(1200, 3 << 20, 4, passes=7, log_missed=5, log_doubts=1, connections_lost=2, sent=100, delays=DELAYS)
STATUS = Status(1, 36000.0, 600.0, "cyrsync", True, 1200.0, "", 35880.0, 20, WAITING, 1800.0, 23, COUNTS)
WATCHER = STATUS.to_json(36000.0)


def pair(*runs: Record) -> Pair:
    """These runs, given from the first to the last."""
    return Pair(tuple(reversed(runs)))


def known(found: Pair, **more: Any) -> Known:
    return of_pair(found, NOW, host="mx", **more)


def rendered(found: Pair, *, every: bool = False, limit: float | None = None, width: int = 100, **how: Any) -> str:
    console = Console(file=io.StringIO(), width=width, **how)
    status.render(known(found), console, every=every, now=NOW, limit=limit)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def facts(text: str) -> dict[str, str]:
    head = text.partition("\n\n")[0]
    return {line[: status.MARGIN].strip(): line[status.MARGIN :] for line in head.splitlines()}


def local(minute: int) -> str:
    return datetime.fromtimestamp(60 * minute).strftime("%Y-%m-%d %H:%M:%S")


# --- How far behind


def test_behind_is_what_came_since_the_last_success_began() -> None:
    assert known(pair(record(60), record(120), record(180, 23), record(240, 75))).behind(NOW) == 8 * 3600
    assert known(pair(record(60, 12))).behind(NOW) is None


def test_a_clock_that_was_set_back() -> None:
    assert known(pair(record(60 * 10 + 1))).behind(NOW) == 0


# --- For people


def test_all_is_well() -> None:
    text = rendered(pair(record(500), record(598, partitions="default archive")))
    assert facts(text) == {
        "Source": "/spool (default archive)",
        "Replica": "host:/one",
        "Behind": "2 min 00 s",
        "Last success": f"{local(598)}, took 1.5 s",
    }


def test_all_that_can_be_wrong() -> None:
    bad = result(580, 25, withheld=1234, errors=["nothing is deleted: too many", "another"], seconds=3)
    text = rendered(pair(record(60), record(580, run=bad), record(585, 75), record(590, 75)))
    assert facts(text) == {
        "Source": "/spool",
        "Replica": "host:/one",
        "Behind": "9 h 00 min",
        "Last success": f"{local(60)}, took 1.5 s",
        "Last attempt": f"{local(580)}, took 3.0 s, exit 25",
        "Skipped": "2 since, as another run held the lock",
        "Withheld": "1,234 deletions",
        "Last error": f"{local(580)}: nothing is deleted: too many (and 1 more)",
    }


def test_no_success_and_no_attempt() -> None:
    assert facts(rendered(pair(record(1, 75))))["Behind"] == "no run has succeeded"
    assert facts(rendered(pair(record(1, 12))))["Last error"] == f"{local(1)}: exit 12"


def test_an_error_of_long_ago_is_told_and_not_alarming() -> None:
    old = record(1, 12, run=result(1, 12, errors=["connection lost"]))
    text = rendered(pair(old, record(2)), force_terminal=True, color_system="standard")
    assert "connection lost" in text
    head = text.partition("\n\n")[0]
    assert "\x1b[1;31m" not in head
    assert "\x1b[1;31m" in rendered(pair(record(2), old), force_terminal=True, color_system="standard")


def test_too_old_is_red() -> None:
    found = pair(record(1))
    how = {"force_terminal": True, "color_system": "standard"}
    assert "\x1b[1;31m" not in rendered(found, **how)
    assert "\x1b[1;31m9 h 59 min\x1b[0m" in rendered(found, limit=60, **how)


def test_the_runs_are_a_table() -> None:
    run = result(
        590, messages=MessageCounts(send=1234), files=FileCounts(deleted=56, failed=7), bytes_sent=2048, seconds=65
    )
    table = rendered(pair(record(580, 23), record(590, run=run))).partition("\n\n")[2]
    heads, _, *rows = [re.split(r" {2,}", line.strip()) for line in table.splitlines()[:4]]
    assert heads == ["Started", "Took", "Exit", "Messages", "Bytes", "Deleted", "Failed"]
    assert rows == [
        [local(590), "1 min 05 s", "0", "1,234", "2.0 KiB", "56", "7"],
        [local(580), "1.5 s", "23", "0", "0 B", "0", "0"],
    ]


def test_runs_of_some_users_say_whose() -> None:
    text = rendered(pair(record(1), record(2, users="joe ann")))
    assert "Users" in text
    assert re.search(rf"^{local(2)} .* joe ann *$", text, re.MULTILINE)


@pytest.mark.parametrize("every", [False, True])
def test_few_runs_of_many(every: bool) -> None:
    text = rendered(pair(*(record(minute) for minute in range(25))), every=every)
    shown = re.findall(r"^\d{4}-.*$", text, re.MULTILINE)
    assert len(shown) == (25 if every else status.FEW)
    assert shown[0].startswith(local(24))
    assert ("and 15 more" in text) != every


def test_names_cannot_speak() -> None:
    hostile = "[red]x[/]\n:smile:\x1b[31m"
    failure = record(1, 12, run=result(1, 12, errors=[hostile]))
    text = rendered(pair(failure), force_terminal=True, color_system=None)
    assert "[red]x[/]\\x0a:smile:\\x1b[31m" in text
    assert "\x1b" not in text


def test_a_watcher() -> None:
    console = Console(file=io.StringIO(), width=200)
    status.render(known(pair(record(500)), watcher=WATCHER), console, every=False, now=NOW)
    found = console.file.getvalue()  # type: ignore[attr-defined]
    shown = found[found.index("Watcher") : found.index("\n\n")].splitlines()
    assert [line[: status.MARGIN].strip() for line in shown] == [
        *("Watcher", "Lag", "Connection", "Log", "Not logged", "Last pass", "Sent", "Delay", "Waits", "Waits", "Waits"),
        "",
    ]
    assert [line[status.MARGIN :] for line in shown] == [
        "process 1, channel cyrsync",
        "2 min 00 s, 20 pending, 1 failed",
        f"connected since {local(20)}, lost 2 times",
        "believed",
        "5 changed mailboxes; 1 logs were not believed",
        f"{local(30)}, exit 23; 7 in all",
        f"1,200 messages, 3.0 MiB, 100 mailboxes; 4 files deleted, since {local(10)}",
        "50% within 0.01 s, 99% within 0.025 s, 100% in more than 300 s",
        f"user/joe: since {local(598)}, 2 tries: locked",
        f"user/ann: since {local(599)[:-2]}50, not tried yet",
        f"all mailboxes: since {local(599)[:-2]}59, not tried yet: mailboxes renamed or deleted",
        "... and 10 more",
    ]


# --- The plot


def test_a_plot_goes_from_nothing_to_the_highest() -> None:
    assert status.plot([0, 24, 12, 1, 8]) == [" █   ", " █▄  ", " ██▁█"]


def test_what_is_more_than_nothing_shows() -> None:
    assert status.plot([0, 0.001, 1000])[-1] == " ▁█"


def test_the_latest_runs_are_drawn_as_far_as_there_is_room() -> None:
    runs = [record(minute, run=result(minute, seconds=minute + 1, code=75 * (minute == 7))) for minute in range(200)]
    text = rendered(pair(*runs), width=60)
    rows = re.search(r"^Took {10}(.*)\nto 3 min 20 s(.*)\n {14}(.*)$", text, re.MULTILINE)
    assert rows
    assert len(rows[1]) == len(rows[2].strip()) == 60 - status.MARGIN
    assert rows[1].endswith("█")
    assert "\nMessages  " not in text.partition("more")[2]  # there were none


def test_runs_that_were_kept_out_are_not_drawn() -> None:
    runs = [record(1), record(2, 75), record(3)]
    text = rendered(pair(*runs))
    assert re.search(r"^Took +██$", text, re.MULTILINE)
    assert "Took  " not in rendered(pair(*runs[:2])).partition("Started")[2].partition("\n\n")[2]


def test_a_terminal_without_blocks() -> None:
    class Ascii(io.StringIO):
        encoding = "ascii"

    console = Console(file=Ascii(), width=100)
    status.render(known(pair(record(1), record(2))), console, every=False, now=NOW)
    assert console.file.getvalue().isascii()  # type: ignore[attr-defined]


# --- For programs


def test_json() -> None:
    bad = result(580, 25, withheld=4, errors=["nothing is deleted", "x"], files=FileCounts(deleted=1, failed=2))
    runs = record(60, partitions="default"), record(580, run=bad), record(590, 75, partitions="default archive")
    found = known(pair(*runs), watcher=WATCHER).to_json(NOW + timedelta(seconds=1))
    runs = found.pop("runs")
    assert found == {
        "source": "/spool",
        "destination": "host:/one",
        "host": "mx",
        "reported": "1970-01-01T10:00:00+00:00",
        "engine": "walk",
        "partitions": ["default", "archive"],
        "behind_seconds": 9 * 3600 + 1,
        "last_success": "1970-01-01T01:00:00+00:00",
        "last_attempt": "1970-01-01T09:40:00+00:00",
        "seconds": 1.5,
        "exit": 25,
        "withheld": 4,
        "skipped": 1,
        "last_error": "nothing is deleted (and 1 more)",
        "last_error_at": "1970-01-01T09:40:00+00:00",
        "problem": "nothing is deleted (and 1 more)",
        "running": [],
        "watcher": WATCHER,
    }
    assert [run["exit"] for run in runs] == [75, 25, 0]
    assert runs[1] == {
        "started": "1970-01-01T09:40:00+00:00",
        "seconds": 1.5,
        "exit": 25,
        "users": [],
        "part": [],
        "messages": 0,
        "bytes_sent": 0,
        "deleted": 1,
        "withheld": 4,
        "failed": 2,
    }


def test_json_of_runs_that_were_all_kept_out() -> None:
    found = known(pair(*(record(minute, 75) for minute in range(30)))).to_json(NOW, runs=status.FEW)
    for key in ("behind_seconds", "last_success", "last_attempt", "seconds", "exit", "last_error", "last_error_at"):
        assert found[key] is None
    assert (found["skipped"], found["withheld"], len(found["runs"])) == (30, 0, status.FEW)
