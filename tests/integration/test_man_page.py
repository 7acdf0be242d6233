"""The man pages, the table of exit codes in docs/ and `--help` against the program that they describe."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

import json_keys
from cyrsync.cli import exit_codes, jobs
from cyrsync.cli.commands import app
from cyrsync.errors import CONNECTION_CODES, Exit
from cyrsync.far.finding import KINDS
from cyrsync.rsync.option_table import LONG
from support.boxes import Box
from support.tools import requires
from support.tree import plain_env, run_cyrsync

PROJECT = Path(__file__).resolve().parents[2]
PAGES = sorted((PROJECT / "man").iterdir())
FILE_PAGE, JSON_PAGE = PROJECT / "man" / "cyrsync.toml.5", PROJECT / "man" / "cyrsync-json.5"
CODES = {int(code) for code in (*Exit, *CONNECTION_CODES)}


def page_of(command: str) -> Path:
    """The page of a command, or of the program itself for ""."""
    return PROJECT / "man" / f"cyrsync{'-' * bool(command)}{command}.1"


@cache
def rendered(page: Path) -> str:
    """A page as a terminal of 80 columns shows it, without bold and underlined letters."""
    words = ["groff", "-man", "-Tutf8", "-P-cbou", "-rLL=78n", str(page)]
    return subprocess.run(words, capture_output=True, encoding="utf-8", check=True).stdout.replace(
        "\N{MINUS SIGN}", "-"
    )


def section(name: str, page: Path) -> str:
    match = re.search(rf"^{name}\n(.*?)(?=^\S|\Z)", rendered(page), re.MULTILINE | re.DOTALL)
    assert match, name
    return match[1]


def heads(name: str, page: Path) -> list[str]:
    """What a section explains one by one: its lines that are not indented further than the section."""
    return re.findall(r"^ {7}(\S.*)$", section(name, page), re.MULTILINE)


@cache
def parameters() -> dict[str, list[Any]]:
    """The parameters of each command; those of the program itself are under ""."""
    group: Any = typer.main.get_command(app)
    commands = {"": group, **group.commands}
    context = group.make_context("cyrsync", ["sync"], resilient_parsing=True)
    return {name: command.get_params(type(context)(command, parent=context)) for name, command in commands.items()}


def options(command: str) -> list[Any]:
    """The options of a command; `--help` is explained for all of them together."""
    found = [one for one in parameters()[command] if one.param_type_name == "option"]
    return [one for one in found if not command or "--help" not in one.opts]


def assert_explained(name: str, record: Mapping[str, Any]) -> None:
    """The section explains these keys, in this order, with types that they can have; others are of empty arrays."""
    rows = re.findall(r"^([\w.\[\]]+) \(([^)]+)\)$", "\n".join(heads(name, JSON_PAGE)), re.MULTILINE)
    explained, found = dict(rows), dict(json_keys.keys(record))
    assert [key for key in explained if key in found] == list(found)
    assert all("[]" in key or types.startswith("array") for key, types in rows if key not in found)
    assert all(type_ in explained[key].split(" or ") for key, type_ in found.items())


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
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_renders_without_warnings(command: list[str], page: Path) -> None:
    requires(command[0])
    done = subprocess.run([*command, page], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_fits_80_columns_and_hyphenates_nothing(page: Path) -> None:
    lines = rendered(page).splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert [line for line in lines if line.endswith(("-", "\N{HYPHEN}"))] == []


def test_the_pages_are_those_of_the_commands() -> None:
    assert {page.name for page in PAGES} == {
        *(page_of(command).name for command in parameters()),
        *("cyrsync.toml.5", "cyrsync-json.5"),
    }


def test_what_the_code_defines_is_as_scripts_manpage_writes_it() -> None:
    done = subprocess.run([sys.executable, PROJECT / "scripts" / "manpage", "--check"], env=plain_env(), check=False)
    assert done.returncode == 0, "run scripts/manpage"


@pytest.mark.parametrize("command", sorted(parameters()))
def test_explains_every_option_and_no_other(command: str) -> None:
    if not options(command):
        return
    explained = heads("OPTIONS", page_of(command))
    words = {word for head in explained for word in re.findall(r"(?<!\S)--?[\w-]+", head)}
    assert words == {spelling for one in options(command) for spelling in one.opts}
    for one in options(command):
        if one.metavar:  # it may be followed by the explanation
            assert any(f"{max(one.opts, key=len)} {one.metavar}" in head for head in explained)


def test_options_are_explained_at_all() -> None:
    assert {"--dry-run", "-n", "--watch"} <= {word for one in options("sync") for word in one.opts}
    assert {"--version", "--install-completion", "--help", "-h"} <= {w for one in options("") for w in one.opts}


@pytest.mark.parametrize("command", sorted({*parameters()} - {""}))
def test_shows_every_command(command: str) -> None:
    operands = [p.metavar for p in parameters()[command] if p.param_type_name == "argument"]
    for page in (page_of(command), page_of("")):
        lines = section("SYNOPSIS", page).splitlines()
        [line] = [line for line in lines if line.startswith(f"       cyrsync {command}")]
        assert line.endswith(" ".join(operands))
    assert f"cyrsync-{command}(1)" in heads("COMMANDS", page_of(""))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_refer_to_pages_that_exist(page: Path) -> None:
    named = set(re.findall(r"\b(cyrsync[\w.-]*)\((\d)\)", rendered(page)))
    assert {f"{name}.{number}" for name, number in named} <= {page.name for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_that_are_named_exist(page: Path) -> None:
    """Bold words that look like options are some command's, or rsync's."""
    known = {word for command in parameters() for one in parameters()[command] for word in one.opts}
    page_words = page.read_text("utf-8").replace("\\-", "-")
    named = set(re.findall(r"\\fB(--[a-z][a-z0-9-]*)", page_words))
    assert {word for word in named if word.removeprefix("--") not in LONG} <= known | {"--help"}


def test_explains_every_key_of_the_configuration_file() -> None:
    explained = re.findall(r"^ {7}([\w-]+) = ", section("KEYS", FILE_PAGE), re.MULTILINE)
    assert explained == list(jobs.keys())
    words = {
        command: {max(p.opts, key=len).lstrip("-") for p in parameters()[command] if p.param_type_name == "option"}
        for command in ("sync", "prune")
    }
    of_prune = {key for key in words["prune"] if key.startswith("keep-") or key == "grace"}
    assert words["sync"] | of_prune == {*explained, *jobs.ONE_RUN, "help"} - {"source", "destination", "rsync-options"}


def test_the_example_of_the_configuration_file_is_right(tmp_path: Path) -> None:
    page = FILE_PAGE.read_text("utf-8")
    _, _, example = page[page.index(".SH EXAMPLES") :].partition(".EX\n")
    path = tmp_path / "cyrsync.toml"
    path.write_text(example.partition(".EE")[0].replace("\\-", "-"), "utf-8")
    done = run_cyrsync("config", "--config", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "standby: cyrsync sync" in done.stdout


def test_explains_every_key_of_the_json_with_its_type(tmp_path: Path) -> None:
    """What commands print has these keys."""
    box = Box("3.6.1-rich", tmp_path)
    for name, words in {
        "SYNC AND RUN": ("sync", box.root / "spool", tmp_path / "replica"),
        "VERIFY": ("verify", "-C", box.conf),
        "CHECK": ("check", "-C", box.conf, tmp_path),
        "INSPECT": ("inspect", "-C", box.conf, "--messages"),
        "HISTORY: MAILBOXES": ("history", box.root),
        "HISTORY: MESSAGES": ("history", box.root, "--message", "e"),
        "RESTORE": ("restore", box.root, "--to", tmp_path / "to"),
        "STATUS": ("status",),
    }.items():
        lines = run_cyrsync(*words, "--json").stdout.splitlines()
        assert lines, name
        for line in lines:
            assert_explained(name, json.loads(line))


def test_explains_every_check(tmp_path: Path) -> None:
    """In the order in which they are made; the last but one is only made of a host."""
    done = run_cyrsync("check", "--json", "-C", Box("3.6.1-rich", tmp_path).conf, tmp_path)
    names = [one["check"] for one in json.loads(done.stdout)["checks"]]
    page = re.findall(r"^ {11}(\S[\w. ]*?) {2,}", section("DESCRIPTION", page_of("check")), re.MULTILINE)
    *others, last = dict.fromkeys(names)
    assert [*others, "far rsync", last] == page


def test_explains_every_kind_of_problem() -> None:
    page = re.sub(r" {2,}", "  ", section("DESCRIPTION", page_of("verify")))
    for kind, meaning in KINDS.items():
        assert f"  {kind}  {meaning}\n" in page


@pytest.mark.parametrize("command", sorted(parameters()))
def test_explains_every_exit_code(command: str) -> None:
    words = re.findall(r"^ {7}(\d[\d, ]*?)(?:  .*)?$", section("EXIT STATUS", page_of(command)), re.MULTILINE)
    assert codes_in(words) == (exit_codes.codes_of(command) or CODES)


def test_the_documents_explain_every_exit_code() -> None:
    _, _, table = (PROJECT / "docs" / "monitoring.md").read_text("utf-8").partition("\n## Exit codes\n")
    assert codes_in(re.findall(r"^\| (\d[\d, ]*) \|", table, re.MULTILINE)) == CODES


@pytest.mark.parametrize("command", sorted({name for name in parameters() if name != "rsync"}))
def test_help_explains_the_exit_codes_that_a_command_can_end_with(command: str) -> None:
    done = run_cyrsync(*command.split(), "--help", env={"COLUMNS": "200"})
    assert done.returncode == 0
    _, _, epilogue = done.stdout.partition("Exit codes:")
    rows = dict(re.findall(r"^ ([\d, ]+|others): (\S.*?) *$", epilogue, re.MULTILINE))
    assert list(rows.items()) == exit_codes.rows(command)
    assert codes_in([codes for codes in rows if codes != "others"]) == (exit_codes.codes_of(command) or CODES)


def test_every_exit_code_and_command_is_in_the_table() -> None:
    assert {int(code) for one in exit_codes.TABLE for code in one.codes} == CODES
    assert {name for one in exit_codes.TABLE for name in one.commands} == {*parameters()} - {""}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_version_is_that_of_the_program(page: Path) -> None:
    version = run_cyrsync("--version").stdout.split()[1]
    assert rendered(page).splitlines()[-1].startswith(f"cyrsync {version} ")
    assert f"\n## {version} " in (PROJECT / "CHANGELOG.md").read_text("utf-8")
