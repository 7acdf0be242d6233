"""What a configuration file says, and all that is wrong with it, each with its line."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.cli import jobs
from cyrsync.errors import ConfigurationError, UsageError
from cyrsync.jobs import file, toml
from cyrsync.jobs.example import render
from cyrsync.jobs.file import Jobs
from support import campaign

KEYS = jobs.keys()
ONE = '[one]\nsource = "/spool"\ndestination = "host:/r"\n'


def parsed(text: str) -> Jobs:
    return file.parse("/etc/c.toml", text, KEYS, jobs.ONE_RUN)


def wrong(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        parsed(text)
    assert raised.value.code == 3
    lines = list(raised.value.lines)
    assert all(line.startswith("/etc/c.toml:") for line in lines)
    return [line.removeprefix("/etc/c.toml:") for line in lines]


def test_a_table_is_a_job_in_the_order_of_the_file() -> None:
    found = parsed('[b]\nsource = "/a"\ndestination = "/r"\n' + ONE).jobs
    assert list(found) == ["b", "one"]
    assert (found["one"].source, found["one"].conf, found["one"].destination) == ("/spool", None, "host:/r")


def test_defaults_are_for_all_jobs_that_do_not_say_otherwise() -> None:
    text = '[defaults]\ndelete = true\nuser = ["a", "b"]\njobs = 2\n' + ONE + 'delete = false\nuser = ["c"]\n'
    values = parsed(text).jobs["one"].values
    assert (values["delete"], values["user"], values["jobs"]) == (False, ["c"], 2)
    assert parsed(ONE + "[defaults]\ndelete = true\n").jobs["one"].values["delete"] is True


def test_a_source_that_is_an_imapd_conf_is_a_server(tmp_path: Path) -> None:
    conf = tmp_path / "mail.config"
    conf.touch()
    directory = tmp_path / "spool.conf"
    directory.mkdir()
    for source, server in ((conf, True), ("/nowhere/imapd.conf", True), (directory, False), ("host:/x.conf", False)):
        job = parsed(f'[one]\nsource = "{source}"\ndestination = "/r"\n').jobs["one"]
        assert (job.conf, job.source) == ((str(source), None) if server else (None, str(source)))


#: Levels of tables in each other; the tomli that Python 3.10 needs reads less.
DEEP = 3000 if sys.version_info >= (3, 11) else 20


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("max_delete = 3", "max_delete: no such key: did you mean max-delete?"),
        ("max-deletes = 3", "max-deletes: no such key: did you mean max-delete?"),
        ("Delete = true", "Delete: no such key: did you mean delete?"),
        ('delete = "yes"', 'delete = "yes": give true or false'),
        ("delete = 1", "delete = 1: give true or false"),
        ("jobs = 65", "jobs = 65: give a whole number from 1 to 64"),
        ("jobs = true", "jobs = true: give a whole number from 1 to 64"),
        ("jobs = 2.0", "jobs = 2.0: give a whole number from 1 to 64"),
        ("retries = -1", "retries = -1: give a whole number from 0"),
        (f"retries = {'9' * 400}", "999...: no number has more than 64 bits"),
        (f"timeout = -{'9' * 400}", "999...: no number has more than 64 bits"),
        (f"max-delete = 0x{'f' * 5000}", "max-delete = ...: no number has more than 64 bits"),
        (f"delete = {'9' * 400}", "no number has more than 64 bits"),
        (f"user = [0x{'f' * 5000}]", 'user = ...: give a list of texts: ["NAME"]'),
        (f"delete{'.a' * DEEP} = 1", f"{'delete = ' * (DEEP == 3000)}...: give true or false"),
        ("timeout = nan", "timeout = NaN: give a number from 0"),
        ("wait = inf", "wait = Infinity: give a number from 0"),
        ('bwlimit = "fast"', 'bwlimit = "fast": give a rate as rsync reads it: 500 (KiB a second), 5m, 1.5MB'),
        ('max-delete = "101%"', 'max-delete = "101%": give a number, or a percentage as 10%'),
        ("max-delete = true", 'max-delete = true: give a number or a text in quotes: "N|N%"'),
        ('log = "sylog"', "did you mean syslog?"),
        ('metrics = "m.prom"', 'metrics = "m.prom": give the whole path, from / on'),
        ('user = "joe"', 'user = "joe": give a list of texts: ["NAME"]'),
        ('user = ["joe", 1]', 'give a list of texts: ["NAME"]'),
        ("rsh = 2026-11-28", 'rsh = "2026-11-28": give a text in quotes: "COMMAND"'),
        ('rsh = "a\\u0000"', "no text can have a NUL in it"),
        ("json = true", "json: this is for one run, not for all: give --json to `cyrsync run`"),
        ("overwrite-replica = true", "this is for one run"),
        ("below.delete = true", "below: no such key"),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_what_is_allowed(line: str, says: str) -> None:
    [found] = wrong(f"# comment\n{ONE}\n{line}\n")
    assert found.startswith("6: [one] ")
    assert says in found


def test_a_key_that_is_like_no_other_is_told_all_of_them() -> None:
    [found] = wrong(f"{ONE}frobnicate = 1\n")
    assert found == f"4: [one] frobnicate: no such key; there are {', '.join(KEYS)}"


@pytest.mark.parametrize("source", ["spool", "", "rsync://", "-x:/y"])
def test_a_place_is_whole(source: str) -> None:
    [found] = wrong(f'[one]\ndestination = "/r"\nsource = {json.dumps(source)}\n')
    assert found.startswith("3: [one] source = ")


def test_all_errors_are_told_at_once_in_the_order_of_their_lines() -> None:
    text = (
        'delete = true\n[defaults]\nwait = "x"\n[one]\njobs = 0\nuser = [\n  "a",\n  3,\n]\nxyz = 1\n[two]\n["a b"]\n'
    )
    found = wrong(text)
    assert [int(line.partition(":")[0]) for line in found] == [1, 3, 4, 4, 5, 6, 10, 11, 11, 12, 12, 12]
    assert "[two] has no source" in "\n".join(found)
    assert "letters, digits" in "\n".join(found)


def test_what_is_wrong_is_not_missing_as_well() -> None:
    assert len(wrong('[one]\nsource = "spool"\ndestination = "r"\n')) == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[one\n", "1: "),
        ("[one]\na = 1\na = 2\n", "3: "),
        ('[one]\nsource = "', " Unterminated string"),
        (f"a = {'[' * 3000}", ""),
        (f"{ONE}user = [ # {'9' * 5000}\n]\nretries = {'9' * 5000}\n", "6: a number has more digits"),
        (f"{ONE}retries = {'9' * 5000}", "4: a number has more digits"),
    ],
)
def test_what_is_no_toml_is_named_with_its_line(text: str, says: str) -> None:
    [found] = wrong(text)
    assert found.startswith(says)


def test_two_replicas_do_not_share_a_file_of_metrics() -> None:
    text = '[defaults]\nmetrics = "/m"\n' + ONE + '[two]\nsource = "/spool"\ndestination = "/other"\n'
    assert wrong(text) == ['2: [two] metrics = "/m": [one] writes the same file; give each its own']
    parsed('[defaults]\nmetrics = "/m"\n' + ONE + ONE.replace("one", "full") + "full = true\n")


def test_an_imapd_conf_is_given_once() -> None:
    text = '[one]\nsource = "/etc/imapd.conf"\nconf = "/etc/imapd.conf"\ndestination = "/r"\n'
    assert wrong(text) == ["3: [one] has source and conf: leave out one"]
    assert "leave out one" in wrong(ONE + 'conf = "/etc/imapd.conf"\n')[0]
    job = parsed('[one]\nconf = "/etc/imapd.conf"\ndestination = "/r"\n').jobs["one"]
    assert (job.source, job.conf) == (None, "/etc/imapd.conf")


def test_jobs_are_selected_by_name_each_once() -> None:
    found = parsed(ONE + ONE.replace("one", "two"))
    assert [job.name for job in found.select([])] == ["one", "two"]
    assert [job.name for job in found.select(["two", "@one", "two"])] == ["two", "one"]
    with pytest.raises(UsageError, match=r"has no job tow: did you mean two\? \(jobs: one, two\)"):
        found.select(["tow"])


def test_the_example_is_right_also_without_its_comment_signs() -> None:
    text = render(KEYS.values())
    assert list(parsed(text).jobs) == ["standby"]
    shown = [line[1:] for line in text.splitlines() if line.startswith("#") and not line.startswith("# ")]
    assert [line.partition(" = ")[0] for line in shown] == [key for key in KEYS if key not in ("source", "destination")]
    for line in shown:
        toml.parse(line)
    defaults = "\n".join(line for line in shown if '"' not in line)
    values = parsed(f"[defaults]\n{defaults}\n{ONE}").jobs["one"].values
    assert {"delete", "jobs", "retries", "wait"} <= values.keys()


def test_keys_are_the_options_of_sync() -> None:
    assert {"source", "destination", "rsync-options", "delete", "max-delete", "on-failure", "metrics"} <= KEYS.keys()
    assert KEYS["jobs"].takes == "a whole number from 1 to 64"
    assert KEYS["jobs"].default == 1


SCALARS = (
    st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.dates()
    | st.datetimes()
)
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text("abc", min_size=1), SCALARS, max_size=2)


def as_toml(value: Any) -> str:
    """A value as TOML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value).replace("\x7f", "\\u007f") if value.isascii() else basic(value)
    if isinstance(value, list):
        return f"[{', '.join(map(as_toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {as_toml(one)}" for key, one in value.items()) + "}"
    return str(value.isoformat())


def basic(text: str) -> str:
    return '"' + "".join(f"\\U{ord(char):08x}" for char in text) + '"'


@given(st.sampled_from([*KEYS, *jobs.ONE_RUN, "other"]), VALUES)
def test_whatever_a_key_is_given_it_is_taken_or_refused_in_one_line(key: str, value: Any) -> None:
    rest = "".join(f'{name} = "/{name}"\n' for name in ("source", "destination") if name != key)
    text = f"[one]\n{rest}{key} = {as_toml(value)}\n"
    number = text.count("\n", 0, text.index(f"\n{key} = ") + 1) + 1
    try:
        job = parsed(text).jobs["one"]
    except ConfigurationError as error:
        job, lines = None, list(error.lines)
    if job is None:
        assert len(lines) == 1
        assert lines[0].startswith(f"/etc/c.toml:{number}: [one] ")
        assert len(lines[0]) < 600
        return
    assert job.values[key] == (str(value) if isinstance(job.values[key], str) else value)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    lines: list[str] = []
    try:
        parsed(text)
    except ConfigurationError as error:
        lines = list(error.lines) or ["nothing is said"]
    assert all(line.startswith("/etc/c.toml") for line in lines)


@campaign.slow()
@given(st.dictionaries(st.text("ab-_", min_size=1, max_size=3), st.dictionaries(st.text("xy", min_size=1), VALUES)))
def test_the_line_of_each_key_is_known(tables: dict[str, dict[str, Any]]) -> None:
    text, expected = "", {}
    for table, values in tables.items():
        text += f"\n# [x]\n[{table}] # y\n"
        expected[(table,)] = text.count("\n")
        for key, value in values.items():
            multi = '"""\n[no]\nx = 1\n"""' if value == "" else as_toml(value)
            expected[(table, key)] = text.count("\n") + 1
            text += f"{key} = {multi}\n"
    assert toml.parse(text).keys() == tables.keys()
    assert toml.lines_of(text) == expected


def parses_of(text: str, monkeypatch: pytest.MonkeyPatch) -> tuple[toml.Lines, int]:
    """The lines of a text's keys, and how many characters were parsed for them."""
    given: list[int] = []
    loads = toml.tomllib.loads

    def counted(some: str) -> dict[str, Any]:
        given.append(len(some))
        return loads(some)

    monkeypatch.setattr(toml.tomllib, "loads", counted)
    return toml.lines_of(text), sum(given)


@pytest.mark.parametrize("value", ["[\n{}]", "[ # [ \" '\n{}]", '"""\n{}"""', "'''\n{}'''"])
def test_a_long_value_is_not_parsed_once_for_each_of_its_lines(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "[one]\nlong = " + value.format('  "x", # [\n' * 2000 if value[0] == "[" else "x = [\n" * 2000) + "\nnext = 1\n"
    )
    lines, parsed_characters = parses_of(text, monkeypatch)
    assert lines[("one", "next")] == text.count("\n")
    assert parsed_characters < 3 * len(text)


def test_names_are_shown_as_they_can_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        file.parse(os.fsdecode(bytes(tmp_path) + b"/\xff.toml"), "a = 1", KEYS)
    assert "\\xff.toml:1: " in str(raised.value)
