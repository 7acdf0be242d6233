"""The man page, the README and `--help` against the program that they describe."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from cyrsync.cli.app import app
from cyrsync.errors import CONNECTION_CODES, Exit
from cyrsync.report.result import RunResult
from support.tools import requires
from support.tree import run_cyrsync

PROJECT = Path(__file__).resolve().parents[2]
PAGE = PROJECT / "man" / "cyrsync.1"
CODES = {int(code) for code in (*Exit, *CONNECTION_CODES)}
#: How the page calls the types of JSON.
TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array of strings"}


@cache
def rendered() -> str:
    """The page as a terminal of 80 columns shows it, without bold and underlined letters."""
    words = ["groff", "-man", "-Tutf8", "-P-cbou", "-rLL=78n", str(PAGE)]
    return subprocess.run(words, capture_output=True, encoding="utf-8", check=True).stdout.replace(
        "\N{MINUS SIGN}", "-"
    )


def section(name: str) -> str:
    match = re.search(rf"^{name}\n(.*?)(?=^\S|\Z)", rendered(), re.MULTILINE | re.DOTALL)
    assert match, name
    return match[1]


def heads(name: str) -> list[str]:
    """What a section explains one by one: its lines that are not indented further than the section."""
    return re.findall(r"^ {7}(\S.*)$", section(name), re.MULTILINE)


def parameters() -> dict[str, list[Any]]:
    """The parameters of each command; those of the program itself are under ""."""
    group: Any = typer.main.get_command(app)
    commands = {"": group, **group.commands}
    context = group.make_context("cyrsync", ["sync"], resilient_parsing=True)
    return {name: command.get_params(type(context)(command, parent=context)) for name, command in commands.items()}


def options() -> set[str]:
    """Every spelling of every option of every command."""
    return {opt for params in parameters().values() for p in params if p.param_type_name == "option" for opt in p.opts}


def keys(record: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """The keys of an object and of those within it, as the page writes them with their types."""
    for key, value in record.items():
        if isinstance(value, dict):
            yield from keys(value, f"{above}{key}.")
        else:
            yield f"{above}{key} ({TYPES[type(value)]})"


def codes_in(words: list[str]) -> set[int]:
    """The exit codes in rows that begin with them: `3`, `10, 12, 30`."""
    return {int(code) for word in words for code in word.split(",")}


@pytest.fixture(autouse=True)
def groff() -> None:
    requires("groff")


@pytest.mark.parametrize(
    "command",
    [
        ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"],
        ["groff", "-man", "-ww", "-z"],
        ["groff", "-man", "-ww", "-z", "-rLL=58n"],
    ],
)
def test_renders_without_warnings(command: list[str]) -> None:
    requires(command[0])
    done = subprocess.run([*command, PAGE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_fits_80_columns_and_hyphenates_nothing() -> None:
    lines = rendered().splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert [line for line in lines if line.endswith(("-", "\N{HYPHEN}"))] == []


def test_explains_every_option_and_no_other() -> None:
    explained = {word for head in heads("OPTIONS") for word in re.findall(r"(?<!\S)--?[\w-]+", head)}
    assert explained == options()
    assert {"--dry-run", "-n", "--from0", "--version", "--install-completion", "--help", "-h"} <= explained


def test_names_what_options_take() -> None:
    explained = heads("OPTIONS")
    for params in parameters().values():
        for param in params:
            if param.param_type_name == "option" and param.metavar:
                assert any(f"{param.opts[-1]} {param.metavar}" == head.split(", ")[-1] for head in explained)


def test_shows_every_command() -> None:
    for name, params in parameters().items():
        operands = [p.metavar for p in params if p.param_type_name == "argument"]
        synopsis = [
            line.strip() for line in section("SYNOPSIS").splitlines() if line.startswith(f"       cyrsync {name}")
        ]
        assert synopsis
        assert synopsis[0].endswith(" ".join(operands))


def test_explains_every_key_of_the_json_with_its_type() -> None:
    result = RunResult(source="", destination="", engine="walk", dry_run=False, started="")
    assert [head for head in heads("OUTPUT") if re.match(r"[\w.]+ \(", head)] == list(keys(result.to_json()))


def test_explains_every_exit_code() -> None:
    words = re.findall(r"^ {7}(\d[\d, ]*?)(?:  .*)?$", section("EXIT STATUS"), re.MULTILINE)
    assert codes_in(words) == CODES


def test_the_readme_explains_every_exit_code() -> None:
    _, _, table = (PROJECT / "README.md").read_text("utf-8").partition("\n## Exit codes\n")
    assert codes_in(re.findall(r"^\| (\d[\d, ]*) \|", table, re.MULTILINE)) == CODES


@pytest.mark.parametrize("command", [[], ["sync"], ["list"]])
def test_help_explains_the_exit_codes(command: list[str]) -> None:
    done = run_cyrsync(*command, "--help", env={"COLUMNS": "100"})
    assert done.returncode == 0
    _, heading, epilogue = done.stdout.partition("Exit codes:")
    assert heading
    # 24 is for those who know it from rsync.
    assert CODES - {Exit.VANISHED} <= {int(number) for number in re.findall(r"\d+", epilogue)}


def test_the_version_is_that_of_the_program() -> None:
    version = run_cyrsync("--version").stdout.split()[1]
    assert rendered().splitlines()[-1].startswith(f"cyrsync {version} ")
    assert f"\n## {version} " in (PROJECT / "CHANGELOG.md").read_text("utf-8")
