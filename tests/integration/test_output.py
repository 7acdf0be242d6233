"""What a run says, to whom, and with which exit code."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import samplespool
from cyrsync import __version__
from support.tools import requires, unprivileged
from support.tree import assert_same_tree, cyrsync_argv, plain_env, rsync, run_cyrsync, snapshot, sync

MAN_PAGE = Path(__file__).parents[2] / "man" / "cyrsync-json.5"
TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "boolean": bool,
    "number": (int, float),
    "integer": int,
    "array of strings": list,
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A spool."""
    samplespool.make(tmp_path / "source", messages=300, folder_count=20)
    return tmp_path / "source"


@pytest.fixture
def replica(tmp_path: Path, source: Path) -> Path:
    """Its replica, before a tenth of the messages was expunged, as many arrived, and flags were set."""
    rsync("-a", "-@-1", f"{source}/", tmp_path / "replica")
    samplespool.change(source, expunged=0.1, flags=0.3)
    samplespool.change(source, new=1 / 9)
    return tmp_path / "replica"


# --- In cron


def test_success_is_silent(source: Path, replica: Path) -> None:
    for _ in range(2):
        done = run_cyrsync("sync", "--delete", source, replica)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("option", [(), ("-q",), ("-v",), ("--json",)])
def test_errors_are_lines_on_stderr(source: Path, replica: Path, option: tuple[str, ...]) -> None:
    closed = [source / "j/user/joe/Sent", source / "j/user/joe/Trash"]
    for folder in closed:
        folder.chmod(0)
    done = run_cyrsync("sync", *option, source, replica, user=True)
    for folder in closed:
        folder.chmod(0o755)
    assert done.returncode == 23
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert all(re.match(r"cyrsync: j/user/joe/(Sent|Trash): .", line) for line in lines)
    assert ("cannot be read" in done.stdout) is (option == ("--json",))


@pytest.mark.parametrize("command", [("sync",), ("list",), ("rsync", "-a"), ("inspect",), ("verify",)])
def test_many_errors_with_one_reason_are_few_lines(source: Path, tmp_path: Path, command: tuple[str, ...]) -> None:
    """A wrong user: but of what cannot be read, all else is done."""
    folders = sorted(one for one in samplespool.folders(source) if not any(path.is_dir() for path in one.iterdir()))
    read = folders.pop()
    operands = [tmp_path / "copy"] if command[0] in ("sync", "rsync") else []
    for folder in folders:
        folder.chmod(0)
    what = [source] if command[0] != "inspect" else [*folders, read]
    done = run_cyrsync(*command, *what, *operands, user=True)
    for folder in folders:
        folder.chmod(0o755)
    assert (done.returncode, len(folders) > 6) == (1 if command[0] == "verify" else 23, True)
    assert read.name in done.stdout or (tmp_path / "copy").exists() or command[0] == "verify"
    if command[0] == "rsync":
        return  # rsync says it in its own words
    lines = done.stderr.splitlines()
    assert len(lines) == 6
    assert lines[5].startswith(f"cyrsync: ... and {len(folders) - 5} more: ")


def test_verbose_reports_every_folder_with_something_to_do(source: Path, replica: Path) -> None:
    changed = [
        folder for folder in samplespool.folders(source) if differs(folder, replica / folder.relative_to(source))
    ]
    done = run_cyrsync("sync", "-v", "--delete", source, replica, env={"COLUMNS": "200"})
    assert done.stderr == ""
    for folder in changed:
        assert str(folder.relative_to(source)).partition("/")[2].replace("&APw-", "ü") in done.stdout
    assert f"Source       {source}\nReplica      {replica}\n" in done.stdout
    assert "Messages     300 seen, 270 present, 30 " in done.stdout
    assert "\x1b" not in done.stdout


def differs(left: Path, right: Path) -> bool:
    return (left / "cyrus.index").read_bytes() != (right / "cyrus.index").read_bytes()


def test_quiet_says_nothing(source: Path, replica: Path) -> None:
    done = run_cyrsync("sync", "-qv", "--delete", source, replica)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# --- JSON


def documented() -> dict[str, str]:
    """The keys that the man page names, with their types."""
    section = MAN_PAGE.read_text().partition('\n.SH "SYNC AND RUN"\n')[2].partition("\n.SH ")[0]
    entries = re.findall(r'^\.BR (\S+) " \(([a-z ]+)\)"$', section, re.MULTILINE)
    return dict(entries)


def flat(record: dict[str, Any], above: str = "") -> dict[str, Any]:
    """An object's keys with dots."""
    found: dict[str, Any] = {}
    for key, value in record.items():
        found.update(flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value})
    return found


@pytest.mark.parametrize("arguments", [("--delete",), ("-n", "--delete"), ("--max-delete=0", "--delete")])
def test_json_is_as_the_man_page_has_it(source: Path, replica: Path, arguments: tuple[str, ...]) -> None:
    done = run_cyrsync("sync", "--json", *arguments, source, replica)
    assert done.stdout.count("\n") == 1
    record, types = flat(json.loads(done.stdout)), documented()
    assert list(record) == list(types)
    wrong = {key: value for key, value in record.items() if not is_a(value, types[key])}
    assert not wrong


def is_a(value: object, kind: str) -> bool:
    if isinstance(value, bool) and kind != "boolean":
        return False
    return isinstance(value, TYPES[kind]) and (kind != "array of strings" or all(isinstance(v, str) for v in value))  # type: ignore[attr-defined]


def test_json_of_a_run(source: Path, replica: Path) -> None:
    report = sync("--delete", source, replica)
    assert (report["source"], report["destination"]) == (str(source), str(replica))
    assert (report["engine"], report["dry_run"], report["exit"], report["errors"]) == ("walk", False, 0, [])
    assert abs(datetime.fromisoformat(report["started"]).timestamp() - datetime.now().timestamp()) < 60
    assert report["messages"] == {"seen": 300, "present": 270, "send": 30, "waiting": 0, "delete": 30, "linked": 0}
    assert report["metadata"]["seen"] == 3 * 20
    files = report["files"]
    assert files["planned"] == 30 + report["metadata"]["send"] == files["sent"]
    assert (files["vanished"], files["failed"], files["deleted"]) == (0, 0, 30)
    assert report["rsync_runs"] == 2
    assert report["bytes_sent"] > 30_000


def test_json_of_a_failed_run(tmp_path: Path) -> None:
    report = sync(tmp_path / "missing", tmp_path / "replica", expect=(3,))
    assert report["exit"] == 3
    assert len(report["errors"]) == 1
    assert flat(report).keys() == documented().keys()


# --- Dry runs


def test_a_dry_run_tells_and_changes_nothing(source: Path, replica: Path, state_dir: Path) -> None:
    samplespool.recreate_folder(source / "j/user/joe/Sent", 3)
    samplespool.delete_folder(source / "j/user/joe/Trash")
    samplespool.deliver(samplespool.create_folder(source, "user/ann/New"), 4)
    before = snapshot(replica)
    done = run_cyrsync("sync", "-n", "--delete", source, replica, env={"COLUMNS": "200"})
    assert (done.returncode, done.stderr) == (0, "")
    assert snapshot(replica) == before
    assert not list(state_dir.iterdir())

    report = sync("-n", "--delete", source, replica)
    for said in (
        f"Would send {report['messages']['send']} messages",
        f"delete {report['messages']['delete']} messages and 1 folder",
        f"Spared {2 * report['messages']['present']} stats",
        "New folders (1)\n  user/ann/New\n",
        "Recreated folders (1)\n  user/joe/Sent\n",
        "Gone folders (1)\n  user/joe/Trash\n",
    ):
        assert said in done.stdout
    assert re.search(r"^joe +\| +\d+ \| +\d+ \| +\d+$", done.stdout, re.MULTILINE)


def test_a_dry_run_foretells_the_run(source: Path, replica: Path) -> None:
    foretold, done = (sync(*option, "--delete", source, replica) for option in (("-n",), ()))
    for key in ("folders", "messages", "metadata", "other_files", "withheld"):
        assert foretold[key] == done[key]
    assert foretold["rsync_runs"] == 0


def test_a_dry_run_makes_no_replica(source: Path, tmp_path: Path) -> None:
    assert run_cyrsync("sync", "-n", source, tmp_path / "new").returncode == 0
    assert not (tmp_path / "new").exists()


# --- The command line


@pytest.mark.parametrize(
    "words",
    [
        ("sync",),
        ("sync", "a"),
        ("sync", "a", "b", "c"),
        ("sync", "--bogus", "a", "b"),
        ("sync", "host:a", "host:b"),
        ("sync", "", "b"),
        ("sync", "--max-delete=x", "a", "b"),
        ("sync", "--retries=-1", "a", "b"),
        ("sync", "--user=", "a", "b"),
        ("sync", "a", "b", "--", "--inplace"),
        ("sync", "a", "b", "--", "--delete"),
        ("sync", "--delete", "a", "b", "--", "--exclude=*"),
        ("list",),
        ("bogus",),
    ],
)
def test_wrong_usage(words: tuple[str, ...], tmp_path: Path) -> None:
    done = run_cyrsync(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sync", "--json", "--bogus", "a", "b"), "No such option: --bogus"),
        (("history", "--json"), "Missing argument"),
        (("status", "--json", "--max-age"), "--max-age"),
    ],
)
def test_wrong_usage_is_an_object_too(words: tuple[str, ...], said: str) -> None:
    done = run_cyrsync(*words)
    report = json.loads(done.stdout)
    assert (done.returncode, report["exit"]) == (2, 2)
    assert said in report["errors"][0]
    assert done.stderr == f"cyrsync: {report['errors'][0]}\n"


def test_version_tells_rsyncs_too() -> None:
    theirs = subprocess.run(["rsync", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    done = run_cyrsync("--version")
    assert (done.returncode, done.stdout) == (0, f"cyrsync {__version__} (rsync {theirs})\n")


@pytest.mark.parametrize("words", [("--help",), ("-h",), ("sync", "--help"), ("list", "-h")])
def test_help_names_the_exit_codes(words: tuple[str, ...]) -> None:
    done = run_cyrsync(*words)
    assert done.returncode == 0
    of_runs = "" if words[0] == "list" else "25 75 "
    for code in f"0 2 3 10 11 12 20 23 30 {of_runs}255".split():
        assert re.search(rf"\b{code}\b", done.stdout)


def test_without_rsync(source: Path, replica: Path, tmp_path: Path) -> None:
    done = run_cyrsync("sync", source, replica, env={"PATH": str(tmp_path)})
    assert done.returncode == 3
    assert re.fullmatch(r"cyrsync: rsync is not installed.*\n", done.stderr)


def test_the_console_command(source: Path, replica: Path) -> None:
    command = Path(sys.executable).with_name("cyrsync")
    done = subprocess.run([command, "sync", "--delete", source, replica], env=plain_env(), check=False)
    assert done.returncode == 0
    assert_same_tree(source, replica)


@pytest.mark.parametrize("command", [("sync", "--delete"), ("rsync", "-a", "--delete")])
def test_an_empty_environment(source: Path, replica: Path, tmp_path: Path, command: tuple[str, ...]) -> None:
    """As `env -i` has it: no home, no locale, no terminal."""
    # The lock would go to the machine's own directory otherwise.
    env = {"PATH": os.environ["PATH"], "CYRSYNC_STATE": str(tmp_path / "state")}
    argv = cyrsync_argv(*command, f"{source}/", f"{replica}/")
    done = subprocess.run(argv, env=env, cwd=Path(__file__).parents[2], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert_same_tree(source, replica)


def test_nobody_may_write_the_state(source: Path, replica: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o500)
    done = run_cyrsync("sync", source, replica, env={"CYRSYNC_STATE": str(state)}, user=True)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert str(state) in done.stderr


def test_output_that_nobody_reads(source: Path, replica: Path) -> None:
    script = '"$@" | true; echo "${PIPESTATUS[0]}"'
    argv = ["bash", "-c", script, "-", *cyrsync_argv("sync", "-v", "--delete", source, replica)]
    done = subprocess.run(argv, env=plain_env(), capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("141\n", "")
    assert_same_tree(source, replica)


# --- Errors


def on_terminal(words: tuple[str | Path, ...], stderr: Path | None = None) -> str:
    """What a run prints on a terminal, but for what goes to a file."""
    requires("script")
    line = shlex.join(unprivileged(cyrsync_argv(*words))) + (f" 2>{stderr}" if stderr else "")
    argv = ["timeout", "60", "script", "-qec", line, "/dev/null"]
    done = subprocess.run(argv, env=plain_env(), stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert done.returncode == 23, done
    return re.sub(r"\x1b\[[0-9;]*m|\r", "", done.stdout.decode())


@pytest.mark.parametrize("words", [(), ("-v",), ("-n",), ("-q",)])
def test_an_error_is_printed_once(source: Path, replica: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    """On a terminal as elsewhere: on standard error, and the report counts it."""
    unreadable = samplespool.folders(source)[3]
    unreadable.chmod(0)
    said = on_terminal(("sync", *words, source, replica))
    (line,) = (line for line in said.splitlines() if "cannot be read" in line)
    assert "Permission denied" in line
    assert ("1 problem: see standard error" in said.splitlines()) is (words != ("-q",))
    said = on_terminal(("sync", *words, source, replica), tmp_path / "errors")
    assert "cannot be read" not in said
    assert (tmp_path / "errors").read_text().count("cannot be read") == 1
    done = run_cyrsync("sync", *words, source, replica, user=True)
    assert (done.returncode, done.stderr.count("cannot be read"), done.stdout.count("cannot be read")) == (23, 1, 0)
    unreadable.chmod(0o700)


def test_errors_of_one_reason_are_summed_up(source: Path, replica: Path) -> None:
    """With -v every one is printed."""
    unreadable = [one for one in samplespool.folders(source) if not any(path.is_dir() for path in one.iterdir())]
    assert len(unreadable) > 6
    for folder in unreadable:
        folder.chmod(0)
    for words, lines in ((), 6), (("-v",), len(unreadable)):
        done = run_cyrsync("sync", *words, source, replica, user=True)
        assert (done.returncode, len(done.stderr.splitlines())) == (23, lines), done.stderr
    for folder in unreadable:
        folder.chmod(0o700)
