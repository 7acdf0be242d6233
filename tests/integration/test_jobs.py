"""Jobs of the configuration file, as they run."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

import samplespool
from support.servers import SampleServer
from support.tools import requires, requires_root
from support.tree import assert_same_tree, cyrsync_argv, plain_env, run_cyrsync, start_cyrsync

PROJECT = Path(__file__).resolve().parents[2]


class Place:
    """A spool, and a configuration file with jobs that copy it."""

    def __init__(self, root: Path) -> None:
        self.root, self.spool, self.config = root, root / "spool", root / "cyrsync.toml"
        samplespool.make(self.spool, 30, 4)

    def job(self, name: str, source: Path | None = None, more: str = "") -> str:
        return f'[{name}]\nsource = "{source or self.spool}"\ndestination = "{self.root / name}"\n{more}\n'

    def write(self, *parts: str) -> None:
        self.config.write_text("\n".join(parts), "utf-8")

    def run(
        self, *words: str | Path, code: int = 0, command: str = "run", **env: str
    ) -> subprocess.CompletedProcess[str]:
        done = run_cyrsync(command, "--config", self.config, *words, env=env or None)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_all_jobs_run_or_those_named(place: Place) -> None:
    place.write(place.job("one"), place.job("two"), place.job("three"))
    place.run("two")
    assert [path.name for path in (place.root / "one", place.root / "two") if path.exists()] == ["two"]
    done = place.run()
    assert (done.stdout, done.stderr) == ("", "")
    for name in ("one", "two", "three"):
        assert_same_tree(place.spool, place.root / name)


def test_options_are_those_of_the_table(place: Place) -> None:
    place.write(
        '[defaults]\ndelete = true\nrsync-options = ["--no-times"]\n',
        place.job("one", more="delete = false"),
        place.job("two"),
    )
    place.run()
    shutil.rmtree(next(path for path in samplespool.folders(place.spool) if path.name == "Sent"))
    place.run()
    assert list((place.root / "one").rglob("Sent"))
    assert not list((place.root / "two").rglob("Sent"))


def test_if_one_fails_the_others_run_and_the_gravest_code_is_returned(place: Place) -> None:
    place.write(
        place.job("empty", place.root / "nowhere"),
        place.job("good"),
        place.job("wrong", more='rsync-options = ["--checksum"]'),
    )
    done = place.run(code=3)
    assert (place.root / "good").exists()
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == ["empty", "wrong"]
    assert f"cyrsync: wrong: {place.config}: [wrong]: after --: " in done.stderr


def test_what_is_given_to_run_is_for_all_jobs(place: Place) -> None:
    place.write(place.job("one"), place.job("two"))
    done = place.run("--json", "--dry-run")
    shown = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["job"], one["dry_run"], one["destination"]) for one in shown] == [
        ("one", True, f"{place.root}/one"),
        ("two", True, f"{place.root}/two"),
    ]
    assert not (place.root / "one").exists()


def test_no_replica_is_overwritten_unless_its_job_is_named(place: Place) -> None:
    place.write(place.job("one"), place.job("two"))
    assert "name the job" in place.run("--overwrite-replica", code=2).stderr
    assert not (place.root / "one").exists()
    place.run("--overwrite-replica", "one")


def test_a_report_names_the_job(place: Place) -> None:
    place.write(place.job("one"))
    shown = place.run("-v", TERM="dumb").stdout
    assert shown.startswith("[one]\n")
    assert "\x1b" not in shown


def test_errors_are_told_as_json_with_the_job(place: Place) -> None:
    place.write(place.job("one", place.root / "nowhere"), place.job("two"))
    first, second = (json.loads(line) for line in place.run("--json", code=3).stdout.splitlines())
    assert (first["job"], first["exit"], second["job"], second["exit"]) == ("one", 3, "two", 0)
    place.write("[one]\nx = 1\n")
    [wrong] = (json.loads(line) for line in place.run("--json", code=3).stdout.splitlines())
    assert len(wrong["errors"]) == 3


def test_a_job_has_a_state_of_its_own_and_leaves_it_to_no_other(place: Place) -> None:
    state = place.root / "state of one"
    place.write(place.job("one", more=f'state = "{state}"'), place.job("two"))
    place.run()
    assert json.loads(place.run("--json", "@one", command="status").stdout)["destination"] == f"{place.root}/one"
    with_state = run_cyrsync("status", "--json", "--state", state)
    assert [json.loads(line)["destination"] for line in with_state.stdout.splitlines()] == [f"{place.root}/one"]


def test_whole_servers_are_jobs(tmp_path: Path) -> None:
    server = SampleServer(tmp_path / "server", messages=20, folder_count=4)
    (tmp_path / "replica").mkdir()
    config = tmp_path / "c.toml"
    config.write_text(f'[all]\nsource = "{server.conf}"\ndestination = "{tmp_path}/replica"\ndelete = true\n')
    assert run_cyrsync("run", "--config", config).returncode == 0
    done = run_cyrsync("verify", "--json", "--config", config, "@all")
    found = json.loads(done.stdout)
    assert (found["tree"], found["replica"]) == (str(server.spool), f"{tmp_path}/replica{server.spool}")
    assert (done.returncode, found["problems"]) == (0, [])
    checked = run_cyrsync("check", "--config", config, "@all", "--json")
    assert json.loads(checked.stdout)["destination"] == f"{tmp_path}/replica"
    found = run_cyrsync("history", "--config", config, "@all")
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout == run_cyrsync("history", "-C", server.conf, tmp_path / "replica").stdout != ""
    shown = run_cyrsync("config", "--config", config).stdout
    words = ["cyrsync", "sync", "-C", str(server.conf), "--delete", f"{tmp_path}/replica"]
    assert shown == f"all: {shlex.join(words)}\n"


def test_a_job_stands_for_source_and_destination(place: Place) -> None:
    place.write(place.job("one"))
    listed = place.run("@one", command="list").stdout
    assert "cyrus.index" in listed and "1." in listed
    place.run()
    assert "/1.\n" not in place.run("@one", command="list").stdout
    place.run("@one", command="verify")
    place.run(place.spool, "@one", command="verify")
    assert "no imapd.conf" in place.run("@one", command="check", code=2).stderr
    assert "the replica of a whole server" in place.run("@one", command="history", code=2).stderr
    assert "has no job on: did you mean one?" in place.run("@on", command="status", code=2).stderr


def test_the_line_overrides_the_job(place: Place) -> None:
    place.write(place.job("one", more='rsh = "false"'))
    done = place.run("-e", "true", "@one", command="verify", code=3)
    assert "no such directory" in done.stderr.lower()


def test_what_is_wrong_keeps_all_jobs_from_running(place: Place) -> None:
    place.write(place.job("one"), place.job("two", more="delte = true"))
    done = place.run(code=3)
    assert done.stderr == f"cyrsync: {place.config}:9: [two] delte: no such key: did you mean delete?\n"
    assert not (place.root / "one").exists()
    assert place.run(code=3, command="config").stderr == done.stderr


def test_a_file_that_others_can_write_runs_nothing(place: Place) -> None:
    place.write(place.job("one", more=f'on-success = "touch {place.root}/ran"'))
    place.config.chmod(0o666)
    assert "can write to it" in place.run(code=3).stderr
    assert not (place.root / "one").exists()
    assert not (place.root / "ran").exists()


def test_a_hook_of_a_job_runs(place: Place) -> None:
    command = f"cat >{shlex.quote(str(place.root))}/$$.json"
    place.write(f"[defaults]\non-success = {json.dumps(command)}\n", place.job("one"), place.job("two"))
    place.run()
    told = sorted(json.loads(path.read_text())["destination"] for path in place.root.glob("*.json"))
    assert told == [f"{place.root}/one", f"{place.root}/two"]


def test_hostile_values_are_shown_safely(place: Place) -> None:
    place.write('[one]\nsource = "/a"\ndestination = "/b"\n"\\u001b[31m\\n[bold]" = "\\u202e"\nlog = "\\u001b[0m"\n')
    stderr = place.run(code=3).stderr
    assert "\x1b" not in stderr and "\u202e" not in stderr
    assert len(stderr.splitlines()) == 2


def test_without_a_file_it_is_said_where_one_comes_from(tmp_path: Path) -> None:
    done = run_cyrsync("run", "--config", tmp_path / "none.toml")
    assert done.returncode == 3
    assert done.stderr == (
        f"cyrsync: {tmp_path}/none.toml: No such file: `cyrsync config --example` prints one to begin with\n"
    )
    example = run_cyrsync("config", "--example").stdout
    (tmp_path / "none.toml").write_text(example)
    assert run_cyrsync("config", "--config", tmp_path / "none.toml").returncode == 0


def test_a_signal_ends_all_jobs(place: Place) -> None:
    started = place.root / "started"
    command = json.dumps(f"touch {shlex.quote(str(started))}; sleep 60")
    place.write(place.job("one", more=f"on-success = {command}"), place.job("two"))
    with start_cyrsync("run", "--config", place.config) as run:
        for _ in range(600):
            if started.exists():
                break
            time.sleep(0.05)
        assert started.exists()
        os.kill(run.pid, signal.SIGTERM)
        done = run.complete(60)
    assert done.returncode == 20
    assert not (place.root / "two").exists()


def test_a_job_that_watches_is_run_once_among_others_and_goes_on_alone(tmp_path: Path) -> None:
    server = SampleServer(tmp_path / "server", messages=5, folder_count=2)
    config, replica = tmp_path / "c.toml", tmp_path / "replica"
    replica.mkdir()
    config.write_text(
        f'[defaults]\non-failure = "true"\n[one]\nsource = "{server.conf}"\ndestination = "{replica}"\n'
        'watch = true\non-failure = ""\n'
    )
    done = run_cyrsync("run", "--config", config)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(replica.rglob("cyrus.index"))
    with start_cyrsync("run", "--config", config, "one", "-v") as run:
        said = run.complete(60) if not _watches(run.pid) else None
        assert said is None, said
        # Another run of all leaves the pair to it.
        done = run_cyrsync("run", "--config", config, "-v")
        assert (done.returncode, "watch" in done.stdout) == (0, True)
        os.kill(run.pid, signal.SIGTERM)
        assert run.complete(60).returncode == 0


def _watches(pid: int) -> bool:
    """Wait for the file by which a watcher is known; False if it ends before."""
    state = Path(os.environ["CYRSYNC_STATE"])
    for _ in range(600):
        if list(state.glob("*.watch")):
            return True
        if not Path(f"/proc/{pid}").exists():
            return False
        time.sleep(0.05)
    return False


def test_in_an_empty_environment_as_crons(place: Place) -> None:
    place.write(place.job("one"))
    env = {name: value for name, value in plain_env().items() if name in ("PYTHONPATH", "CYRSYNC_STATE", "HOME")}
    done = subprocess.run(
        cyrsync_argv("run", "--config", place.config),
        env={**env, "PATH": "/usr/bin:/bin"},
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_finds_nothing_to_read_in_a_file_does_not_load_it() -> None:
    code = "import sys; import cyrsync.cli.commands; print(*(m for m in sys.modules if 'toml' in m))"
    # Who measures coverage in this process reads a file of its own.
    env = {name: value for name, value in plain_env().items() if not name.startswith("COV")}
    done = subprocess.run([cyrsync_argv()[0], "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_unit_runs_each_job(tmp_path: Path) -> None:
    requires("systemd-analyze")
    for name in ("cyrsync@.service", "cyrsync@.timer"):
        text = (PROJECT / "scripts" / name).read_text("utf-8")
        assert name.endswith(".timer") or "\nExecStart=cyrsync run %i\n" in text
        (tmp_path / name).write_text(text.replace("ExecStart=cyrsync", "ExecStart=/usr/bin/env"))
    units = [str(tmp_path / f"cyrsync@standby.{kind}") for kind in ("service", "timer")]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, env=plain_env(), check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_watcher_s_unit_is_understood(tmp_path: Path) -> None:
    requires("systemd-analyze")
    unit = tmp_path / "cyrsync-watch@.service"
    text = (PROJECT / "scripts" / unit.name).read_text("utf-8")
    assert "\nExecStart=cyrsync run %i\n" in text
    assert "\nRestartPreventExitStatus=2 3 4\n" in text
    unit.write_text(text.replace("ExecStart=cyrsync", "ExecStart=/usr/bin/env"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, env=plain_env(), check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["cyrsync@.service", "cyrsync-watch@.service"])
def test_the_services_have_few_rights(tmp_path: Path, name: str) -> None:
    requires("systemd-analyze")
    requires_root()
    service = tmp_path / name
    service.write_bytes((PROJECT / "scripts" / service.name).read_bytes())
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=30", str(service)],
        capture_output=True,
        text=True,
        env=plain_env(),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
