"""The man page, the README and `--help` against the program that they describe."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from cyrsync.cli import jobs
from cyrsync.cli.app import app
from cyrsync.errors import CONNECTION_CODES, Exit
from cyrsync.far.finding import KINDS, Audited, Problem
from cyrsync.history.outcome import Outcome
from cyrsync.report.known import of_pair
from cyrsync.standby.checked import Checked, Finding, Verdict
from cyrsync.standby.commands import Step
from cyrsync.standby.promotion import Promotion
from cyrsync.state.history import Pair
from cyrsync.state.running import Holder
from cyrsync.sync.result import RunResult
from cyrsync.verify.result import AuditResult
from support.boxes import Box
from support.runs import record
from support.runs import result as past_run
from support.tools import requires
from support.tree import plain_env, run_cyrsync

PROJECT = Path(__file__).resolve().parents[2]
PAGE = PROJECT / "man" / "cyrsync.1"
FILE_PAGE = PROJECT / "man" / "cyrsync.toml.5"
CODES = {int(code) for code in (*Exit, *CONNECTION_CODES)}
#: How the page calls the types of JSON.
TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}


@cache
def rendered(page: Path = PAGE) -> str:
    """A page as a terminal of 80 columns shows it, without bold and underlined letters."""
    words = ["groff", "-man", "-Tutf8", "-P-cbou", "-rLL=78n", str(page)]
    return subprocess.run(words, capture_output=True, encoding="utf-8", check=True).stdout.replace(
        "\N{MINUS SIGN}", "-"
    )


def section(name: str, page: Path = PAGE) -> str:
    match = re.search(rf"^{name}\n(.*?)(?=^\S|\Z)", rendered(page), re.MULTILINE | re.DOTALL)
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


def keys(record: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """The keys of an object and of those within it, as the page writes them, with their types."""
    for key, value in record.items():
        if isinstance(value, dict):
            yield from keys(value, f"{above}{key}.")
        elif isinstance(value, list):
            yield f"{above}{key}", f"array of {_type(value[0])}s" if value else "array"
            if value and isinstance(value[0], dict):
                yield from keys(value[0], f"{above}{key}[].")
        else:
            yield f"{above}{key}", _type(value)


def _type(value: object) -> str:
    if value is None:
        return "null"
    return (
        "object" if isinstance(value, dict) else next(name for type_, name in TYPES.items() if isinstance(value, type_))
    )


def explained_keys(name: str) -> dict[str, str]:
    """The keys that a section explains, with their types."""
    return dict(re.findall(r"^([\w.\[\]]+) \(([^)]+)\)$", "\n".join(heads(name)), re.MULTILINE))


def assert_explained(name: str, record: Mapping[str, Any]) -> None:
    """The section explains just these keys, in this order, and each can have the type that it has here."""
    explained = explained_keys(name)
    assert list(explained) == [key for key, _ in keys(record)]
    for key, type_ in keys(record):
        assert type_ in explained[key].split(" or "), key


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
@pytest.mark.parametrize("page", [PAGE, FILE_PAGE], ids=lambda page: page.name)
def test_renders_without_warnings(command: list[str], page: Path) -> None:
    requires(command[0])
    done = subprocess.run([*command, page], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("page", [PAGE, FILE_PAGE], ids=lambda page: page.name)
def test_fits_80_columns_and_hyphenates_nothing(page: Path) -> None:
    lines = rendered(page).splitlines()
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


def test_explains_every_key_of_the_configuration_file_as_scripts_manpage_writes_it() -> None:
    done = subprocess.run([sys.executable, PROJECT / "scripts" / "manpage", "--check"], env=plain_env(), check=False)
    assert done.returncode == 0, "run scripts/manpage"
    explained = re.findall(r"^ {7}([\w-]+) = ", section("KEYS", FILE_PAGE), re.MULTILINE)
    assert explained == list(jobs.keys())
    of_sync = {max(p.opts, key=len).lstrip("-") for p in parameters()["sync"] if p.param_type_name == "option"}
    assert of_sync == {*explained, *jobs.ONE_RUN, "help"} - {"source", "destination", "rsync-options"}


def test_the_example_of_the_configuration_file_is_right(tmp_path: Path) -> None:
    page = FILE_PAGE.read_text("utf-8")
    _, _, example = page[page.index(".SH EXAMPLES") :].partition(".EX\n")
    path = tmp_path / "cyrsync.toml"
    path.write_text(example.partition(".EE")[0].replace("\\-", "-"), "utf-8")
    done = run_cyrsync("config", "--config", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "standby: cyrsync sync" in done.stdout


def test_explains_every_key_of_the_json_with_its_type() -> None:
    result = RunResult("", "", engine="walk", dry_run=False, started="", part=[""], warnings=[""], errors=[""])
    assert_explained("OUTPUT", result.to_json())


def test_explains_every_key_that_verify_prints() -> None:
    result = AuditResult(tree="", replica="", content=False, started="", warnings=["one"])
    result.add(Audited(b"", problems=(Problem("missing", (1,)),)))
    assert_explained("OUTPUT OF VERIFY", result.to_json())


def test_explains_every_key_that_check_prints() -> None:
    assert_explained("OUTPUT OF CHECK", Checked("", "", [Finding(Verdict.OK, "", "")]).to_json())


def test_explains_every_check(tmp_path: Path) -> None:
    """In the order in which they are made; the last but one is only made of a host."""
    done = run_cyrsync("check", "--json", "-C", Box("3.6.1-rich", tmp_path).conf, tmp_path)
    names = [one["check"] for one in json.loads(done.stdout)["checks"]]
    page = re.findall(r"^ {11}(\S[\w. ]*?) {2,}", section("OUTPUT OF CHECK"), re.MULTILINE)
    *others, last = dict.fromkeys(names)
    assert [*others, "far rsync", last] == page


def test_explains_every_key_that_promote_prints() -> None:
    audit = AuditResult(tree="", replica=None, content=False, started="")
    audit.add(Audited(b"", problems=(Problem("missing", (1,)),)))
    result = Promotion("", None, audit, roots=[b"/"], steps=[Step("", "")], warnings=[""], errors=[""])
    assert_explained("OUTPUT OF PROMOTE", result.to_json())


def test_explains_every_key_that_status_prints() -> None:
    failed = record(code=12, run=past_run(code=12, errors=["x"]), partitions="default", users="joe")
    now = datetime.now(timezone.utc)
    at_work = [Holder("one", 1, 1.0, watching=False, source="", destination="")]
    found = of_pair(Pair((failed, record())), now, host="mx", holders=at_work).to_json(now)
    assert_explained("OUTPUT OF STATUS", found)
    nothing = of_pair(Pair((record(code=75),)), now, host="mx").to_json(now)
    explained = explained_keys("OUTPUT OF STATUS")
    for key, type_ in keys(nothing):
        assert type_ in explained[key].split(" or ") or type_ == "array", key


def test_explains_every_key_that_inspect_prints(tmp_path: Path) -> None:
    box = Box("3.6.1-rich", tmp_path)
    done = run_cyrsync("inspect", "-C", box.conf, "--json", "--messages")
    shown = [json.loads(line) for line in done.stdout.splitlines()]
    full = [one for one in shown if any(message["flags"] for message in one["messages"][:1])]
    assert full
    for one in full:
        assert_explained("OUTPUT OF INSPECT", one)
    nothing = run_cyrsync("inspect", "--json", f"{tmp_path}/")
    explained = explained_keys("OUTPUT OF INSPECT")
    for key, type_ in keys(json.loads(nothing.stdout)):
        assert type_ in explained[key].split(" or "), key


def test_explains_every_key_that_history_prints(tmp_path: Path) -> None:
    root = Box("3.4.9-plain", tmp_path).root
    page = section("OUTPUT OF HISTORY")
    explained = re.findall(r"^ {7}(\w+) \(([^)]+)\)$", page, re.MULTILINE)
    half = [name for name, _ in explained].index("mailbox", 1)
    for words, rows in (((), explained[:half]), (("user/joe",), explained[half:])):
        done = run_cyrsync("history", root, "--json", *words)
        for line in done.stdout.splitlines():
            found = list(keys(json.loads(line)))
            assert [key for key, _ in found] == [key for key, _ in rows]
            assert all(type_ in types.split(" or ") for (_, type_), (_, types) in zip(found, rows, strict=True))


def test_explains_every_key_that_restore_prints() -> None:
    outcome = Outcome("", "", errors=[""], warnings=[""])
    outcome.begin("", 1)
    assert_explained("OUTPUT OF RESTORE", outcome.to_json())


def test_explains_every_kind_of_problem() -> None:
    page = re.sub(r" {2,}", "  ", section("OUTPUT OF VERIFY"))
    for kind, meaning in KINDS.items():
        assert f"  {kind}  {meaning}\n" in page


def test_explains_every_exit_code() -> None:
    words = re.findall(r"^ {7}(\d[\d, ]*?)(?:  .*)?$", section("EXIT STATUS"), re.MULTILINE)
    assert codes_in(words) == CODES


def test_the_readme_explains_every_exit_code() -> None:
    _, _, table = (PROJECT / "README.md").read_text("utf-8").partition("\n## Exit codes\n")
    assert codes_in(re.findall(r"^\| (\d[\d, ]*) \|", table, re.MULTILINE)) == CODES


@pytest.mark.parametrize(
    "command",
    [
        *([], ["sync"], ["run"], ["config"], ["list"], ["inspect"], ["verify"], ["check"], ["promote"], ["status"]),
        *(["history"], ["restore"]),
    ],
)
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
    assert rendered(FILE_PAGE).splitlines()[-1].startswith(f"cyrsync {version} ")
    assert f"\n## {version} " in (PROJECT / "CHANGELOG.md").read_text("utf-8")
