"""`cyrsync check` looks at the sync log: each thing that keeps a change from being told."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.servers import SampleServer
from support.tools import requires_root
from support.tree import run_cyrsync

ARRIVING = "sync_log_unsuppressable_channels: squatter cyrsync\n"


@pytest.fixture
def server(tmp_path: Path) -> SampleServer:
    return SampleServer(tmp_path / "mail")


def setting(server: SampleServer, channels: str, more: str = ARRIVING) -> None:
    server.conf.write_text(f"{server.conf.read_text()}sync_log: yes\nsync_log_channels: {channels}\n{more}")


def log(server: SampleServer, channel: str, data: bytes = b"MAILBOX user.joe\n", *, age: float = 0) -> Path:
    """What Cyrus has logged, so many seconds ago."""
    path = server.root / "conf/sync" / channel / "log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    for one in (path, path.parent):
        os.utime(one, (time.time() - age,) * 2)
    return path


def found(server: SampleServer, tmp_path: Path, *words: str | Path) -> list[tuple[str, str]]:
    """Verdicts and texts about the log."""
    (tmp_path / "replica").mkdir(exist_ok=True)
    done = run_cyrsync("check", "--json", *(words or ("-C", server.conf, tmp_path / "replica")))
    assert (done.returncode, done.stderr) == (0, "")
    checks = [one for one in json.loads(done.stdout)["checks"] if one["check"] == "sync_log"]
    return [(one["verdict"], f"{one['found']}: {one['advice']}") for one in checks]


def note(server: SampleServer, tmp_path: Path, *words: str | Path) -> str:
    """The one note there is."""
    (text,) = [text for verdict, text in found(server, tmp_path, *words) if verdict == "note"]
    return text


@contextmanager
def process(*words: str | Path) -> Iterator[int]:
    """A process that is called so."""
    pipe = subprocess.PIPE
    argv = [str(words[0]), "-c", "echo; read line", *map(str, words[1:])]
    with subprocess.Popen(argv, executable="/bin/bash", stdin=pipe, stdout=pipe) as running:
        assert running.stdout
        running.stdout.readline()
        yield running.pid
        running.communicate()


def test_it_is_off(server: SampleServer, tmp_path: Path) -> None:
    ((verdict, text),) = found(server, tmp_path)
    assert verdict == "ok"
    assert f"`sync_log: yes` and `sync_log_channels: cyrsync` into {server.conf}" in text


def test_all_is_well(server: SampleServer, tmp_path: Path) -> None:
    setting(server, "cyrsync")
    log(server, "cyrsync")
    assert {verdict for verdict, _ in found(server, tmp_path)} == {"ok"}


def test_another_channel_alone(server: SampleServer, tmp_path: Path) -> None:
    setting(server, '""')
    verdict, text = found(server, tmp_path)[0]
    assert (verdict, '`sync_log_channels: "" cyrsync`' in text) == ("ok", True)


def test_users_who_arrive_by_replication(server: SampleServer, tmp_path: Path) -> None:
    setting(server, "cyrsync", more="")
    assert "`sync_log_unsuppressable_channels: squatter cyrsync`" in note(server, tmp_path)


def test_a_channel_that_nobody_reads(server: SampleServer, tmp_path: Path) -> None:
    setting(server, '"" cyrsync')
    path = log(server, "", age=3600)
    text = note(server, tmp_path)
    assert f"nobody reads it, and it grows ({path}: 17 B)" in text
    assert f"put `sync_log_channels: cyrsync` into {server.conf} and delete the log" in text


def test_a_channel_that_is_read(server: SampleServer, tmp_path: Path) -> None:
    setting(server, '"" squatter cyrsync')
    log(server, "", age=3600)
    log(server, "squatter", age=3600)
    with process("sync_client", "-C", server.conf, "-r") as one, process("squatter", "-C", server.conf, "-R") as other:
        texts = [text for _, text in found(server, tmp_path)]
        notes = [verdict for verdict, _ in found(server, tmp_path) if verdict == "note"]
    assert any(f"read by sync_client (process {one})" in text for text in texts)
    assert any(f"read by squatter (process {other})" in text for text in texts)
    assert notes == []


def test_two_read_one_channel(server: SampleServer, tmp_path: Path) -> None:
    setting(server, "cyrsync")
    with process("sync_client", "-C", server.conf, "-r", "-n", "cyrsync"):
        assert "each reader needs its own" in note(server, tmp_path)


def test_lines_that_readers_drop(server: SampleServer, tmp_path: Path) -> None:
    setting(server, "cyrsync")
    log(server, "cyrsync", b"MAILBOX user.joe\nAPPEMAILBOX user.jane\nMAILBOX user.j")
    assert "APPEMAILBOX user.jane: an unknown word: was its disk full?" in note(server, tmp_path)


def test_a_log_that_cyrus_may_not_write_to(server: SampleServer, tmp_path: Path) -> None:
    requires_root()
    setting(server, "cyrsync")
    os.chown(server.database, 65534, -1)
    path = log(server, "cyrsync")
    os.chown(path.parent.parent, 65534, -1)
    assert f"{path.parent}: nobody may not write there: changes are not logged: `chown nobody" in note(server, tmp_path)


def test_processes_that_are_older_than_the_setting(server: SampleServer, tmp_path: Path) -> None:
    setting(server, "cyrsync")
    os.utime(server.conf, (time.time() + 100,) * 2)
    with (
        process("/usr/lib/cyrus/bin/master", "-C", server.conf),
        process("/usr/lib/cyrus/bin/imapd", "-C", server.conf) as pid,
    ):
        text = note(server, tmp_path)
    assert f"1 process is older than {server.conf}" in text
    assert f"(first {pid})" in text


def test_a_channel_that_bypasses_the_log(server: SampleServer, tmp_path: Path) -> None:
    setting(server, "cyrsync", more=f"{ARRIVING}sync_rightnow_channel: cyrsync\n")
    assert "sync_rightnow_channel" in note(server, tmp_path)


def test_a_job_with_another_channel(server: SampleServer, tmp_path: Path) -> None:
    config = tmp_path / "cyrsync.toml"
    config.write_text(f'[a]\nsource = "{server.conf}"\ndestination = "{tmp_path}/replica"\nchannel = "second"\n')
    words = ("--config", config, "@a")
    ((_, text),) = found(server, tmp_path, *words)
    assert "`sync_log_channels: second`" in text
    setting(server, "cyrsync")
    assert any("`sync_log_channels: cyrsync second`" in text for _, text in found(server, tmp_path, *words))
    text = server.conf.read_text()
    server.conf.write_text(text.replace("sync_log_channels: cyrsync", "sync_log_channels: cyrsync second"))
    assert "`sync_log_unsuppressable_channels: squatter cyrsync second`" in note(server, tmp_path, *words)
    replica = tmp_path / "replica"
    assert {verdict for verdict, _ in found(server, tmp_path, "-C", server.conf, "--channel", "cyrsync", replica)} == {
        "ok"
    }


def test_a_name_that_is_no_channel(server: SampleServer, tmp_path: Path) -> None:
    done = run_cyrsync("check", "--channel", "a/b", "-C", server.conf, tmp_path)
    assert done.returncode == 2
    assert "--channel a/b" in done.stderr
