"""docs/hot-spare.md against the program: its command lines, options, exit codes and messages are those of cyrsync."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from cyrsync.cli.commands import app
from cyrsync.errors import CONNECTION_CODES, Exit
from cyrsync.report import watching
from cyrsync.rolling.plain import Counts, Status
from support import pages
from support.tree import run_cyrsync

PROJECT = Path(__file__).resolve().parents[2]
PAGE = pages.text_of("docs/hot-spare.md")
CODES = {int(code) for code in (*Exit, *CONNECTION_CODES)}


def rows() -> list[list[str]]:
    """Exit code, message and advice, of the table of what it says."""
    _, _, rest = PAGE.partition("\n## What it says, and what to do\n")
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in re.findall(r"^\| \d.*$", rest, re.MULTILINE)]


COMMANDS = [
    words for block in pages.blocks(PAGE) for line in pages.commands(block) for words in pages.cyrsyncs(line.text)
]


def test_there_are_commands_to_be_tested() -> None:
    assert {words[0] for words in COMMANDS} == {
        *("check", "sync", "run", "status", "verify", "promote", "inspect", "rsync")
    }
    assert ["run"] in COMMANDS
    assert ["status", "--max-age", "30m", "standby:/"] in COMMANDS


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_can_be_given(words: list[str]) -> None:
    group: Any = typer.main.get_command(app)
    if words[0] == "rsync":
        return  # its words are rsync's
    context = group.make_context("cyrsync", list(words))
    name, command, rest = group.resolve_command(context, list(words))
    with command.make_context(name, rest, parent=context) as parsed:
        assert parsed.params.get("conf") in (None, "/etc/imapd.conf", "/srv/rehearsal/imapd.conf")


def test_every_exit_code_exists() -> None:
    said = [int(code) for code in re.findall(r"\bexits? (?:with )?(\d+)", pages.prose(PAGE))]
    assert {int(row[0]) for row in rows()} | set(said) <= CODES
    assert {3, 4, 25, 75} <= {int(row[0]) for row in rows()}


def test_every_message_is_one_of_the_programs() -> None:
    files = sorted((PROJECT / "cyrsync").rglob("*.py"))
    sources = re.sub(r'"\n\s*f?"', "", "\n".join(file.read_text("utf-8") for file in files))
    quoted = [message.strip("`") for _, message, _ in rows()]
    quoted += re.findall(r"A warning, `([^`]+)`", pages.prose(PAGE))
    of_others = {"No space left on device"}
    for message in set(quoted) - of_others:
        for part in message.split(" ... "):
            assert part in sources, message


def test_it_has_the_lines_of_the_cron_file() -> None:
    lines = (PROJECT / "scripts" / "cyrsync.cron").read_text("utf-8").splitlines()
    wanted = [line for line in lines if re.match(r"[*\d].* cyrsync ", line)]
    assert wanted
    assert [line for lines in pages.blocks(PAGE) for line in lines if re.match(r"[*\d]\S* .* root ", line)] == wanted


def test_the_metrics_in_the_rules_exist(tmp_path: Path) -> None:
    metrics = tmp_path / "cyrsync.prom"
    run_cyrsync("sync", "-C", tmp_path / "nowhere.conf", "--metrics", metrics, tmp_path)
    rules = set(re.findall(r"\bcyrsync_\w+_seconds\b", PAGE))
    assert rules
    status = Status(1, 0.0, 0.0, "cyrsync", True, 0.0, "", 0.0, 0, [], 0.0, 0, Counts())
    text = metrics.read_text("utf-8") + watching.render_metrics(status, "source", "destination")
    assert rules <= set(re.findall(r"^\w+", text, re.MULTILINE))
