"""docs/hot-spare.md against the program: its command lines, options, exit codes and messages are those of cyrsync."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from cyrsync.cli.app import app
from cyrsync.errors import CONNECTION_CODES, Exit
from cyrsync.report import watching
from cyrsync.rolling.plain import Counts, Status
from support.tree import run_cyrsync

PROJECT = Path(__file__).resolve().parents[2]
PAGE = (PROJECT / "docs" / "hot-spare.md").read_text("utf-8")
CODES = {int(code) for code in (*Exit, *CONNECTION_CODES)}
#: What ends a command for a shell, and what redirects it.
ENDS, REDIRECTIONS = re.compile(r"[|&;()]+"), re.compile(r"[<>&]*[<>][<>&]*")


def blocks() -> Iterator[list[str]]:
    """The page's blocks of code, without their indentation."""
    lines: list[str] = []
    for line in [*PAGE.splitlines(), "end"]:
        if re.match(r" {4}", line) and not re.match(r" {4,5}(?! )[*-] ", line):
            lines.append(line.strip())
        elif lines and line:
            yield lines
            lines = []


def commands() -> Iterator[list[str]]:
    """The words of each `cyrsync ...` in the blocks, whatever else is in its line.

    Where a block shows output, its commands stand behind a prompt.
    """
    for lines in blocks():
        shows_output = any(line.startswith("# cyrsync ") for line in lines)
        text = ""
        for line in lines:
            if shows_output and not text and not line.startswith("# cyrsync "):
                continue
            text += line.removeprefix("# ") + "\n"
            words = shell_words(text)
            if words is not None:
                yield from cyrsyncs(words)
                text = ""
        assert not text


def shell_words(text: str) -> list[str] | None:
    """Words and operators as a shell has them; None where a quote is open still."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        return list(lexer)
    except ValueError:
        return None


def cyrsyncs(words: list[str]) -> Iterator[list[str]]:
    """The commands of cyrsync among these words, without their redirections."""
    while "cyrsync" in words:
        words = words[words.index("cyrsync") + 1 :]
        command: list[str] = []
        for number, word in enumerate(words):
            if ENDS.fullmatch(word):
                break
            if REDIRECTIONS.fullmatch(word):
                if command and command[-1].isdigit():
                    command.pop()
            elif not (number and REDIRECTIONS.fullmatch(words[number - 1])):
                command.append(word)
        if command:
            yield command


def text() -> str:
    """The page without its blocks of code."""
    return "\n".join(line for line in PAGE.splitlines() if not line.startswith("    "))


def code_spans() -> list[str]:
    """What the text, wrapped as it is, sets as code."""
    return re.findall(r"`([^`]+)`", " ".join(text().split()))


def rows() -> list[list[str]]:
    """Exit code, message and advice, of the table of what it says."""
    _, _, rest = PAGE.partition("\n## What it says, and what to do\n")
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in re.findall(r"^\| \d.*$", rest, re.MULTILINE)]


COMMANDS = list(commands())


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


def test_every_option_exists() -> None:
    group: Any = typer.main.get_command(app)
    known = {opt for command in group.commands.values() for param in command.params for opt in param.opts}
    named = {word for span in code_spans() for word in span.split() if re.fullmatch(r"--?[a-z][\w-]*", word)}
    assert {"--delete", "--overwrite-replica", "--max-delete", "--full"} <= named
    # Those of other programs stand behind their names.
    others = {word for span in code_spans() if span.startswith(("ssh ", "systemctl ")) for word in span.split()}
    assert named - others <= known


def test_every_command_named_in_the_text_exists() -> None:
    group: Any = typer.main.get_command(app)
    named = {span.split()[1] for span in code_spans() if span.startswith("cyrsync ")}
    assert named <= group.commands.keys()


def test_every_exit_code_exists() -> None:
    said = [int(code) for code in re.findall(r"\bexits? (?:with )?(\d+)", text())]
    assert {int(row[0]) for row in rows()} | set(said) <= CODES
    assert {3, 4, 25, 75} <= {int(row[0]) for row in rows()}


def test_every_message_is_one_of_the_programs() -> None:
    files = sorted((PROJECT / "cyrsync").rglob("*.py"))
    sources = re.sub(r'"\n\s*f?"', "", "\n".join(file.read_text("utf-8") for file in files))
    quoted = [message.strip("`") for _, message, _ in rows()]
    quoted += re.findall(r"A warning, `([^`]+)`", text())
    of_others = {"No space left on device"}
    for message in set(quoted) - of_others:
        for part in message.split(" ... "):
            assert part in sources, message


def test_links_lead_somewhere() -> None:
    heads = re.findall(r"^#+ (.*)$", text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", head).replace(" ", "-").lower() for head in heads}
    readme = (PROJECT / "README.md").read_text("utf-8")
    linked = {*re.findall(r"\]\(#([\w-]+)\)", PAGE), *re.findall(r"hot-spare\.md#([\w-]+)\)", readme)}
    assert linked
    assert linked <= anchors
    for path in re.findall(r"\]\((?!#)([^)#]+)", PAGE):
        assert (PROJECT / "docs" / path).exists()


def test_files_of_the_project_that_it_names_exist() -> None:
    named = {span for span in code_spans() if span.startswith("scripts/")}
    assert named
    for path in named:
        assert (PROJECT / path).exists()


def test_it_has_the_lines_of_the_cron_file() -> None:
    lines = (PROJECT / "scripts" / "cyrsync.cron").read_text("utf-8").splitlines()
    wanted = [line for line in lines if re.match(r"[*\d].* cyrsync ", line)]
    assert wanted
    assert [line for lines in blocks() for line in lines if re.match(r"[*\d]\S* .* root ", line)] == wanted


def test_the_metrics_in_the_rules_exist(tmp_path: Path) -> None:
    metrics = tmp_path / "cyrsync.prom"
    run_cyrsync("sync", "-C", tmp_path / "nowhere.conf", "--metrics", metrics, tmp_path)
    rules = set(re.findall(r"\bcyrsync_\w+_seconds\b", PAGE))
    assert rules
    status = Status(1, 0.0, 0.0, "cyrsync", True, 0.0, "", 0.0, 0, [], 0.0, 0, Counts())
    text = metrics.read_text("utf-8") + watching.render_metrics(status, "source", "destination")
    assert rules <= set(re.findall(r"^\w+", text, re.MULTILINE))
