"""What a message says to do, where a line was nearly right."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer

import samplespool
from cyrsync.cli.commands import app
from support.daemon import RsyncDaemon
from support.servers import SampleServer
from support.sshd import Sshd
from support.tree import run_cyrsync

BEHIND = "options for rsync go behind --, whole rsync lines behind `cyrsync rsync`"


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    samplespool.make(tmp_path / "spool", 5, 2)
    return tmp_path / "spool"


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("-a", f"sync -a: that is -a already; {BEHIND}"),
        ("-avz", f"sync -a: that is -a already; {BEHIND}"),
        ("--archive", f"sync --archive: that is -a already; {BEHIND}"),
        ("-H", f"sync -H: {BEHIND}"),
        ("--hard-links", f"sync --hard-links: {BEHIND}"),
    ],
)
def test_options_of_rsync(option: str, hint: str) -> None:
    done = run_cyrsync("sync", option, "/a", "/b")
    assert done.returncode == 2
    assert done.stderr == f"cyrsync: {hint}\n"


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (("sync", "--xyzzy", "/a", "/b"), "No such option: --xyzzy. See: cyrsync sync -h"),
        (("list", "-a", "/a"), "No such option: -a. See: cyrsync list -h"),
        (("snc", "/a", "/b"), "No such command 'snc'. Did you mean 'sync', 'rsync'? See: cyrsync -h"),
        (("check",), "Missing argument 'DEST|@JOB'. See: cyrsync check -h"),
        (("sync", "/a", "/b", "-C"), "Option '-C' requires an argument. See: cyrsync sync -h"),
        (("sync",), "give SRC and DEST, or -C IMAPD_CONF and DEST"),
        (("sync", "-C", "/x"), "give DEST, where the replica is to be: sync -C /x DEST"),
        (("sync", "-C", "/x", "/a", "/b"), "-C names the source: give DEST alone"),
        (("list", "--json", "/a"), "No such option: --json. See: cyrsync list -h"),
    ],
)
def test_what_cannot_be_read_is_one_line(words: tuple[str, ...], refusal: str) -> None:
    done = run_cyrsync(*words)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"cyrsync: {refusal}\n")


@pytest.mark.parametrize(
    "words", [("sync", "/a", "--json", "--nope"), ("verify", "--json", "--conf"), ("prune", "--json")]
)
def test_what_cannot_be_read_is_an_object_for_a_program(words: tuple[str, ...]) -> None:
    done = run_cyrsync(*words)
    [error] = json.loads(done.stdout)["errors"]
    assert done.stdout == json.dumps({"errors": [error], "exit": 2}) + "\n"
    assert (done.returncode, done.stderr) == (2, f"cyrsync: {error}\n")


def test_the_callback_of_a_list_returns_one() -> None:
    """The oldest typer that is allowed counts what it returns."""
    group: Any = typer.main.get_command(app)
    lists = [one for command in group.commands.values() for one in command.params if getattr(one, "multiple", False)]
    called = [one.callback(typer.Context(group), one, []) for one in lists if one.callback]
    assert called and None not in called


def test_no_words_are_answered_by_the_help() -> None:
    done = run_cyrsync()
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout.count("cyrsync [OPTIONS] COMMAND") == 1


def test_an_imapd_conf_for_a_spool(tmp_path: Path) -> None:
    conf = tmp_path / "imapd.conf"
    conf.write_text("configdirectory: /x\n")
    done = run_cyrsync("sync", conf, "standby:/")
    assert done.returncode == 2
    assert done.stderr == (
        f"cyrsync: {conf} is no spool: a server's imapd.conf is given by -C: sync -C {conf} standby:/\n"
    )
    assert "given by -C" in run_cyrsync("sync", "imapd.conf", "standby:/", cwd=tmp_path).stderr
    assert "given by -C" not in run_cyrsync("sync", "127.0.0.1:/imapd.conf", tmp_path, "-e", "false").stderr


def test_a_replica_that_is_not_there(tmp_path: Path, sshd: Sshd) -> None:
    server = SampleServer(tmp_path / "server", messages=5, folder_count=2)
    replica = tmp_path / "new replica"
    done = run_cyrsync("sync", "-C", server.conf, replica)
    assert done.returncode == 3
    _, _, command = done.stderr.rstrip("\n").partition("For a first copy make it: ")
    assert command == f"mkdir -p '{replica}'"
    subprocess.run(["sh", "-c", command], check=True)
    assert run_cyrsync("sync", "-C", server.conf, replica).returncode == 0
    done = run_cyrsync("sync", "-C", server.conf, "-e", sshd.rsh, f"{sshd.host}:{tmp_path}/other")
    assert done.stderr.endswith(f"make it: ssh {sshd.host} 'mkdir -p {tmp_path}/other'\n")


def test_a_changed_host_key_is_told_from_an_unknown_one(sshd: Sshd, spool: Path, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.touch()
    rsh = sshd.rsh.replace("StrictHostKeyChecking=no", "StrictHostKeyChecking=yes").replace(
        f"{sshd.root}/known_hosts", str(known)
    )
    words = ("sync", "--retries", "0", "-e", rsh, f"{spool}/", sshd.at(tmp_path / "replica"))
    done = run_cyrsync(*words)
    assert (done.returncode, done.stderr.count("\n")) == (255, 1)
    assert "The host is not known: log in there once" in done.stderr
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    kind, key, *_ = (tmp_path / "other.pub").read_text().split()
    known.write_text(f"[{sshd.host}]:{sshd.port} {kind} {key}\n")
    done = run_cyrsync(*words)
    assert (done.returncode, done.stderr.count("\n")) == (255, 1)
    assert f"The host's key has CHANGED from the one in {known}:1: " in done.stderr


def test_a_daemon_that_wants_a_password(daemon: RsyncDaemon, spool: Path) -> None:
    words = ("--retries", "0", f"{spool}/", daemon.url("secret", user="alice"))
    done = run_cyrsync("sync", *words)
    assert done.returncode == 3
    assert (
        "secret/: @ERROR: auth failed on module secret: set RSYNC_PASSWORD, or give rsync --password-file"
        in done.stderr
    )
    assert run_cyrsync("sync", *words, env={"RSYNC_PASSWORD": "wrong"}).stderr == done.stderr
    assert run_cyrsync("sync", *words, "--", f"--password-file={daemon.password_file}").returncode == 0
    assert run_cyrsync("sync", *words, env={"RSYNC_PASSWORD": daemon.password}).returncode == 0
