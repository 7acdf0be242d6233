"""What is kept of runs, who is told of them, and what `cyrsync status` makes of it."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

import samplespool
from cyrsync.state import history
from cyrsync.state.history import Record
from cyrsync.state.lock import state_path
from support.servers import SampleServer
from support.tools import wait_for
from support.tree import cyrsync_argv, messages, plain_env, run_cyrsync, sync


@pytest.fixture
def source(tmp_path: Path) -> Path:
    samplespool.make(tmp_path / "source", messages=60, folder_count=5)
    return tmp_path / "source"


@pytest.fixture
def replica(tmp_path: Path) -> Path:
    return tmp_path / "replica"


def runs() -> list[Record]:
    """All runs of the one pair that is known, the first one first."""
    (pair,) = history.pairs(state_path())
    return list(reversed(pair.runs))


def status(*words: str | Path, expect: int = 0) -> list[dict[str, Any]]:
    done = run_cyrsync("status", "--json", *words)
    assert done.returncode == expect, done
    return [json.loads(line) for line in done.stdout.splitlines()]


@contextmanager
def slow_run(source: Path, replica: Path, *words: str, **how: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A run that has sent something, and is not at its end."""
    argv = cyrsync_argv("sync", *words, source, replica, "--", "--bwlimit=10")
    with subprocess.Popen(argv, env=plain_env(), stdin=subprocess.DEVNULL, **how) as process:
        wait_for(lambda: process.poll() is not None or bool(messages(replica)) if replica.exists() else False)
        try:
            yield process
        finally:
            process.kill()


# --- The record


def test_a_run_is_kept_with_its_result(source: Path, replica: Path) -> None:
    report = sync("--delete", source, replica)
    (run,) = runs()
    assert (run.source, run.destination, run.engine, run.exit) == (str(source), str(replica), "walk", 0)
    assert run.result == {**report, "roots": {str(replica): os.path.realpath(replica)}}
    assert run.began.timestamp() == pytest.approx(datetime.now(timezone.utc).timestamp(), abs=300)
    assert report["seconds_by_phase"]["scan"] > 0
    assert report["seconds_by_phase"]["transfer"] > 0


def test_of_a_server_with_its_partitions(tmp_path: Path) -> None:
    server = SampleServer(tmp_path, messages=40, folder_count=4, partitions="default other")
    (tmp_path / "replica").mkdir()
    done = run_cyrsync("sync", "-C", server.conf, tmp_path / "replica")
    assert done.returncode == 0, done
    (run,) = runs()
    assert (run.engine, run.partitions.split(), run.source) == ("index", ["default", "other"], str(server.conf))


def test_a_run_that_failed_is_kept_too(tmp_path: Path, replica: Path) -> None:
    sync(tmp_path / "none", replica, expect=(3,))
    (run,) = runs()
    assert run.exit == 3
    assert "no such directory" in run.result["errors"][0]


def test_and_one_that_could_not_read_imapd_conf(tmp_path: Path, replica: Path) -> None:
    done = run_cyrsync("sync", "-C", tmp_path / "none", "--json", "--on-failure", "cat", replica)
    assert done.returncode == 3
    assert json.loads(done.stdout) == json.loads(done.stderr.splitlines()[0])
    assert runs()[0].engine == "index"


def test_an_interrupted_run_is_kept(source: Path, replica: Path) -> None:
    with slow_run(source, replica, stderr=subprocess.PIPE) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 20
    (run,) = runs()
    assert run.exit == 20
    assert "SIGTERM" in run.result["errors"][0]


def test_a_run_that_found_the_lock_held(source: Path, replica: Path, tmp_path: Path) -> None:
    sync(source, replica)
    samplespool.change(source, new=1)
    hooks = ("--on-failure", "echo failed", "--on-success", "echo good")
    before = set(messages(replica))
    argv = cyrsync_argv("sync", source, replica, "--", "--bwlimit=10")
    with subprocess.Popen(argv, env=plain_env(), stdin=subprocess.DEVNULL) as process:
        wait_for(lambda: process.poll() is not None or set(messages(replica)) != before, seconds=60)
        done = run_cyrsync("sync", "--metrics", tmp_path / "m.prom", *hooks, source, replica)
        process.kill()
    assert (done.returncode, done.stdout, done.stderr) == (75, "", "")
    assert [run.exit for run in runs()] == [0, 75]
    (told,) = status()
    assert (told["skipped"], told["exit"]) == (1, 0)
    assert re.search(r"^cyrsync_run_exit_code\{.*\} 75$", (tmp_path / "m.prom").read_text(), re.MULTILINE)
    assert re.search(r"^cyrsync_runs_skipped\{.*\} 1$", (tmp_path / "m.prom").read_text(), re.MULTILINE)


def test_a_dry_run_leaves_no_trace(source: Path, replica: Path, tmp_path: Path, state_dir: Path) -> None:
    told = ("--metrics", tmp_path / "m", "--log", tmp_path / "log", "--on-success", "echo x", "--on-failure", "echo x")
    done = run_cyrsync("sync", "-nq", *told, source, replica)
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(state_dir.iterdir())
    assert not (tmp_path / "m").exists()
    assert not (tmp_path / "log").exists()


def test_the_drop_in_keeps_its_runs_and_not_rsyncs(source: Path, replica: Path) -> None:
    assert run_cyrsync("rsync", "-a", "--delete", f"{source}/", f"{replica}/").returncode == 0
    assert run_cyrsync("rsync", "-a", "-c", "--delete", f"{source}/", f"{replica}/").returncode == 0  # rsync itself
    assert run_cyrsync("rsync", "-an", "--delete", f"{source}/", f"{replica}/").returncode == 0
    sync(source, replica)
    assert [run.exit for run in runs()] == [0, 0]  # of one pair, however it was asked for


def test_a_record_that_cannot_be_kept_changes_nothing(source: Path, replica: Path, state_dir: Path) -> None:
    (state_dir / "runs.sqlite").mkdir()
    done = run_cyrsync("sync", "--metrics", replica.parent / "m", source, replica)
    assert done.returncode == 0
    assert re.fullmatch(r"cyrsync: not recorded: .*runs\.sqlite.*\n", done.stderr)
    assert messages(replica) == messages(source)
    assert re.search(r"^cyrsync_last_success_timestamp_seconds\{.*\} [1-9]", (replica.parent / "m").read_text(), re.M)


def test_a_damaged_record_is_begun_anew(source: Path, replica: Path, state_dir: Path) -> None:
    (state_dir / "runs.sqlite").write_bytes(b"x" * 5000)
    done = run_cyrsync("sync", source, replica)
    assert done.returncode == 0
    assert re.fullmatch(r"cyrsync: .*runs\.sqlite: .* set aside as runs\.sqlite\.2.*\n", done.stderr)
    assert [run.exit for run in runs()] == [0]


# --- Metrics, logs and hooks


def test_all_are_told_of_a_failure(source: Path, replica: Path, tmp_path: Path) -> None:
    folder = samplespool.folders(source)[-1]
    folder.chmod(0)
    told = ("--metrics", tmp_path / "m", "--log", tmp_path / "log")
    done = run_cyrsync("sync", "--json", *told, "--on-failure", f"cat >{tmp_path}/hook", source, replica, user=True)
    folder.chmod(0o755)
    assert done.returncode == 23
    assert (tmp_path / "hook").read_text() == done.stdout
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line.split()[2] for line in lines] == ["error", "run"]
    assert " exit=23 " in lines[1] and " behind=1 " in lines[1]
    metrics = (tmp_path / "m").read_text()
    assert re.search(r"^cyrsync_folders_behind\{.*\} 1$", metrics, re.MULTILINE)
    assert re.search(r"^cyrsync_last_success_timestamp_seconds\{.*\} 0.0$", metrics, re.MULTILINE)


def test_a_folder_that_could_not_be_sent_whole_is_behind(source: Path, replica: Path) -> None:
    folder = samplespool.folders(source)[-1]
    for message in list(folder.glob("*."))[:2]:
        message.chmod(0)
    done = run_cyrsync("sync", "--json", source, replica, user=True)
    assert done.returncode == 23
    report = json.loads(done.stdout)
    assert (report["folders"]["failed"], report["folders"]["unreadable"]) == (1, 0)
    assert report["files"]["failed"] > 1


def test_hooks_follow_the_exit_code(source: Path, replica: Path) -> None:
    hooks = ("--on-success", "echo good", "--on-failure", "echo bad")
    done = run_cyrsync("sync", "--json", *hooks, source, replica)
    assert (done.returncode, done.stderr) == (0, "good\n")
    assert json.loads(done.stdout)["exit"] == 0
    done = run_cyrsync("sync", "--delete", "--max-delete=0", *hooks, samplespool.folders(source)[0], replica)
    assert done.returncode == 25
    assert done.stderr.startswith("bad\n")


@pytest.mark.parametrize("hook", ["cat >/dev/null; exit 3", "kill -9 $$", "/nonexistent/command", "exec <&-; exit 3"])
def test_a_hook_that_fails_is_a_warning(source: Path, replica: Path, hook: str) -> None:
    done = run_cyrsync("sync", "--on-success", hook, source, replica)
    assert done.returncode == 0
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"cyrsync: --on-success: {hook}: ")
    assert re.search(r": (exit 3|signal 9|exit 127)\Z", last)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_hook_can_be_ended_after_an_interrupted_run(
    source: Path, replica: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """We are deaf to signals by then; what we start must not be."""
    hook = f"kill -{int(number)} $$; echo deaf >{tmp_path}/hook"
    with slow_run(source, replica, "--on-failure", hook, stderr=subprocess.PIPE) as process:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 20
    assert b": signal %d\n" % number in errors
    assert not (tmp_path / "hook").exists()


def test_nobody_there_to_be_told(source: Path, replica: Path, tmp_path: Path) -> None:
    told = ("--metrics", tmp_path / "no/m", "--log", tmp_path / "no/log")
    done = run_cyrsync("sync", "--json", *told, source, replica)
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        f"cyrsync: {what}: {tmp_path}/no/{name}: No such file or directory"
        for what, name in (("--metrics", "m"), ("--log", "log"))
    ]
    assert len(json.loads(done.stdout)["warnings"]) == 2


# --- status


def test_status_tells_of_every_pair(source: Path, replica: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for destination in (replica, other):
        sync(source, destination)
    assert [found["destination"] for found in status()] == sorted(map(str, (replica, other)))
    for spelled in (other, f"{other}/", os.path.relpath(other), f"{tmp_path}/x/../other/."):
        assert [found["destination"] for found in status(spelled)] == [str(other)]
    done = run_cyrsync("status")
    assert (done.returncode, done.stderr) == (0, "")
    heads, _, *lines = done.stdout.replace("|", " ").splitlines()
    assert heads.split() == ["Replica", "Last", "success", "Behind", "Running", "since", "Problem"]
    assert [line.split()[0] for line in lines] == sorted(map(str, (replica, other)))
    done = run_cyrsync("status", replica, env={"COLUMNS": "200"})
    assert (done.returncode, done.stderr) == (0, "")
    for shown in (f"Source        {source}\n", f"Replica       {replica}\n", "\nBehind        ", "\nStarted  "):
        assert shown in done.stdout
    assert "\x1b" not in done.stdout


def test_status_shows_who_is_at_work(source: Path, replica: Path) -> None:
    """Also at the first copy, when nothing is on record yet."""
    with slow_run(source, replica) as process:
        assert [one["pid"] for one in status()[0]["running"]] == [process.pid]
        assert status(replica)[0]["last_success"] is None
        status(replica.parent / "other", expect=3)
        shown = run_cyrsync("status").stdout
        assert re.search(rf"^Replica +{replica}$", shown, re.MULTILINE)
        assert re.search(rf"^Running +process {process.pid} since 2\d", shown, re.MULTILINE)
    status(expect=3)
    sync(source, replica)
    assert status()[0]["running"] == []
    samplespool.change(source, new=1)
    with slow_run(source, replica) as process:
        wait_for(lambda: bool(status()[0]["running"]))
        (found,) = status()
        assert [(one["pid"], one["watching"]) for one in found["running"]] == [(process.pid, False)]
        assert found["problem"] is None


def test_a_page(source: Path, replica: Path, tmp_path: Path) -> None:
    sync(source, replica)
    sync(tmp_path / "none", replica, expect=(3,))
    page = tmp_path / "status.html"
    page.write_text("old")
    done = run_cyrsync("status", "--html", page)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert page.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert page.stat().st_mode & 0o777 == 0o644
    done = run_cyrsync("status", "--html", page, "--max-age", "0s", replica)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no such directory" in page.read_text("utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["replica", "source", "status.html"]


def test_a_page_that_cannot_be_written(source: Path, replica: Path, tmp_path: Path) -> None:
    sync(source, replica)
    done = run_cyrsync("status", "--html", tmp_path / "none" / "status.html")
    assert (done.returncode, done.stdout) == (11, "")
    assert done.stderr == f"cyrsync: {tmp_path}/none/status.html: No such file or directory\n"
    assert run_cyrsync("status", "--html", "x", "--json").returncode == 2
    assert run_cyrsync("status", "--forget", "--from", "x", replica).returncode == 2


def test_a_mail(source: Path, replica: Path) -> None:
    sync(source, replica)
    done = run_cyrsync("status", "--mail-report", env={"LC_ALL": "C"})
    assert (done.returncode, done.stderr) == (0, "")
    first, _, second, *_ = done.stdout.splitlines()
    assert first.startswith("cyrsync, 2") and first.endswith(": 1 replica, no problem")
    assert second == f"OK: {replica}"


def test_what_other_machines_have_reported(source: Path, replica: Path, tmp_path: Path) -> None:
    sync(source, replica)
    (found,) = status("-v")
    reports = tmp_path / "reports"
    reports.mkdir()
    for host in ("mx1", "mx2"):
        (reports / f"{host}.json").write_text(json.dumps({**found, "host": host}) + "\n")
    assert [one["host"] for one in status("--from", reports, "--state", tmp_path / "no state")] == ["mx1", "mx2"]
    assert len(status("--from", reports / "mx1.json", "--from", reports / "mx2.json", replica)) == 2
    status("--from", reports, "elsewhere:/", expect=3)
    assert [line.split()[0] for line in run_cyrsync("status", "--from", reports).stdout.splitlines()[2:]] == [
        "mx1",
        "mx2",
    ]
    done = run_cyrsync("status", "--from", reports, "--html", tmp_path / "page.html")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "2 replicas, no problem" in (tmp_path / "page.html").read_text("utf-8")
    (reports / "mx3.json").write_text('{"errors": ["no run is known"], "exit": 3}\n')
    done = run_cyrsync("status", "--from", reports, "--html", tmp_path / "page.html")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"cyrsync: {reports}/mx3.json: line 1: source: no line of `cyrsync status --json`\n"


def test_max_age(source: Path, replica: Path, tmp_path: Path) -> None:
    sync(source, replica)
    for age in ("3600", "90m", "2h", "1d", "1.5h"):
        assert run_cyrsync("status", "--max-age", age).returncode == 0
    done = run_cyrsync("status", "--max-age", "0s", replica)
    assert done.returncode == 1
    assert re.fullmatch(rf"cyrsync: {replica}: the last success is .* old\n", done.stderr)
    sync(tmp_path / "none", tmp_path / "never", expect=(3,))
    assert run_cyrsync("status", "--max-age", "1h", replica).returncode == 0
    done = run_cyrsync("status", "--max-age", "1h", tmp_path / "never")
    assert (done.returncode, done.stderr) == (1, f"cyrsync: {tmp_path}/never: no run has succeeded\n")
    assert run_cyrsync("status").returncode == 0


def test_what_was_mistyped_once_is_no_replica(source: Path, replica: Path, tmp_path: Path) -> None:
    sync(tmp_path / "sorce", replica, expect=(3,))
    done = run_cyrsync("status", "--max-age", "1h")
    assert (done.returncode, done.stdout) == (3, "")
    assert "no run has succeeded yet" in done.stderr
    sync(source, replica)
    done = run_cyrsync("status", "--json", "--max-age", "1h")
    assert done.returncode == 0
    assert [json.loads(line)["source"] for line in done.stdout.splitlines()] == [str(source)]
    assert len(status(replica)) == 2


def test_a_replica_is_forgotten(source: Path, replica: Path, tmp_path: Path) -> None:
    sync(source, replica)
    sync(source, tmp_path / "wrong")
    assert run_cyrsync("status", "--forget").returncode == 2
    done = run_cyrsync("status", "--forget", tmp_path / "wrong")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [pair["destination"] for pair in status()] == [str(replica)]
    done = run_cyrsync("status", "--forget", tmp_path / "wrong")
    assert done.returncode == 3


def test_paths_are_kept_absolute(source: Path, replica: Path) -> None:
    done = run_cyrsync("sync", source.name + "/", replica.name, cwd=source.parent)
    assert done.returncode == 0, done.stderr
    (pair,) = status()
    assert (pair["source"], pair["destination"]) == (f"{source}/", str(replica))
    assert len(status(replica)) == 1


@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "", "LANG": "POSIX"},
        {"LC_ALL": ""},  # cron has none
        {"PYTHONIOENCODING": "ascii"},
    ],
)
def test_ascii(source: Path, replica: Path, locale: dict[str, str]) -> None:
    for _ in range(3):
        sync(source, replica)
    done = run_cyrsync("status", env=locale)
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert "Took" in done.stdout


@pytest.mark.parametrize("word", ["jounral", "sylog", "cyrsync.log"])
def test_a_log_that_is_misspelled(source: Path, replica: Path, tmp_path: Path, word: str) -> None:
    done = run_cyrsync("sync", "--log", word, source, replica, cwd=tmp_path)
    assert done.returncode == 2
    assert {"jounral": "did you mean journal?", "sylog": "did you mean syslog?"}.get(word, f"./{word}") in done.stderr
    assert not replica.exists()


@pytest.mark.parametrize("rate", ["lots", "5x", "", "-1", "1 m"])
def test_a_rate_that_is_none(source: Path, replica: Path, rate: str) -> None:
    done = run_cyrsync("sync", f"--bwlimit={rate}", source, replica)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"cyrsync: --bwlimit {rate}: ")
    assert not replica.exists()


@pytest.mark.parametrize("rate", ["0", "500", "5m", "1.5MB", "900KiB", "1g-1"])
def test_rates_that_rsync_reads(source: Path, replica: Path, rate: str) -> None:
    sync(f"--bwlimit={rate}", source, replica)


@pytest.mark.parametrize(
    "words", [("verify", "/nowhere"), ("verify", "/nowhere", "/there"), ("inspect", "user.none"), ("status", "x:/")]
)
def test_json_of_an_error(words: tuple[str, ...]) -> None:
    done = run_cyrsync(*words, "--json")
    found = json.loads(done.stdout)
    assert found == {"errors": [done.stderr.removeprefix("cyrsync: ").rstrip()], "exit": done.returncode}
    assert done.returncode == 3


@pytest.mark.parametrize("age", ["", "x", "-1", "3 h", "1w", "h"])
def test_an_age_that_is_none(age: str) -> None:
    done = run_cyrsync("status", f"--max-age={age}")
    assert done.returncode == 2


def test_no_run_is_known(source: Path, replica: Path) -> None:
    done = run_cyrsync("status")
    assert (done.returncode, done.stderr, done.stdout) == (3, "cyrsync: no run is known\n", "")
    sync(source, replica)
    done = run_cyrsync("status", "elsewhere:/")
    assert (done.returncode, done.stderr) == (3, "cyrsync: no run is known of elsewhere:/\n")


def test_status_finds_the_state_that_sync_was_given(source: Path, replica: Path, tmp_path: Path) -> None:
    sync("--state", tmp_path / "state", source, replica)
    assert len(status("--state", tmp_path / "state")) == 1
    status(expect=3)


def test_a_command_of_the_users_finds_it_too(source: Path, replica: Path, tmp_path: Path) -> None:
    cyrsync = shlex.join(map(str, cyrsync_argv("status", replica)))
    command = f"{cyrsync} >{shlex.quote(str(tmp_path / 'seen'))}"
    sync("--state", tmp_path / "state", "--on-success", command, source, replica)
    assert "last success" in (tmp_path / "seen").read_text().lower()


def test_names_that_are_no_text(source: Path, tmp_path: Path) -> None:
    replica = os.fsencode(tmp_path) + b"/r\xff\n[red]"
    done = run_cyrsync("sync", "--metrics", tmp_path / "m", "--log", tmp_path / "log", source, replica)
    assert (done.returncode, done.stderr) == (0, "")
    for words in ((), (replica,)):
        done = run_cyrsync("status", *words, env={"COLUMNS": "200"})
        assert done.returncode == 0
        assert "/r\\udcff\\x0a[red]\n" in done.stdout
    assert (tmp_path / "m").read_text().count("\n[red]") == 0
    assert len((tmp_path / "log").read_text().splitlines()) == 1
