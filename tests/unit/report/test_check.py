"""A finding as a line: with marks and colors for people, with words for programs."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from cyrsync.report.check import show, summed
from cyrsync.standby.checked import Checked, Finding, Verdict


class Utf8(io.StringIO):
    encoding = "utf-8"


class Ascii(io.StringIO):
    encoding = "ascii"


def rendered(one: Finding, file: io.StringIO, **how: Any) -> str:
    show(one, Console(file=file, width=40, **how))
    return file.getvalue()


@pytest.mark.parametrize(
    ("verdict", "line", "mark"),
    [(Verdict.OK, "ok   ", "✓ "), (Verdict.NOTE, "note ", "! "), (Verdict.FAIL, "FAIL ", "✗ ")],
)
def test_lines(verdict: Verdict, line: str, mark: str) -> None:
    one = Finding(verdict, "spool", "/var/spool/imap: Permission denied", "run cyrsync as root")
    text = "spool: /var/spool/imap: Permission denied: run cyrsync as root\n"
    assert rendered(one, Utf8()) == line + text
    terminal = {"force_terminal": True, "color_system": None}
    assert rendered(one, Utf8(), **terminal) == mark + text
    assert rendered(one, Ascii(), **terminal) == line + text


def test_a_failure_is_red() -> None:
    red = rendered(Finding(Verdict.FAIL, "a", "b"), Utf8(), force_terminal=True, color_system="standard")
    assert red == "\x1b[1;31m✗\x1b[0m a: b\n"


def test_names_do_no_harm() -> None:
    assert rendered(Finding(Verdict.OK, "a", "\x1b[2J[red]x"), Utf8()) == "ok   a: \\x1b[2J[red]x\n"


def test_the_exit_code() -> None:
    result = Checked("/etc/imapd.conf", "standby:/")
    result.findings += [Finding(Verdict.OK, "a", "b"), Finding(Verdict.NOTE, "a", "b", "c")]
    assert result.exit == 0
    result.findings.append(Finding(Verdict.FAIL, "a", "b"))
    assert result.exit == 1
    assert result.to_json()["checks"][1] == {"verdict": "note", "check": "a", "found": "b", "advice": "c"}


def test_findings_of_one_check_with_one_reason_are_summed_up() -> None:
    alike = [Finding(Verdict.FAIL, "spool", f"/spool/{number}: Permission denied", "as root") for number in range(7)]
    others = [Finding(Verdict.OK, "spool", "40 mailboxes"), Finding(Verdict.NOTE, "locks", "/l: Permission denied")]
    more = Finding(Verdict.FAIL, "spool", "... and 2 more: Permission denied", "as root")
    assert list(summed([*alike, *others])) == [*alike[:5], others[0], more, others[1]]
    assert list(summed(alike[:5])) == alike[:5]
    found = summed(iter([alike[0], others[1]]))
    assert next(found) == alike[0]  # at once
