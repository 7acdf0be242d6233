"""The replica's host loses power: what a run reported as done is there, and the next run sees to the rest."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import samplespool
from support.daemon import RsyncDaemon
from support.meanwhile import COMMITS, launch
from support.power import Disk, Host
from support.servers import SampleServer, below
from support.tools import which, write_program
from support.tree import assert_same_tree, messages, sync


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Where the replica is."""
    with Disk(tmp_path) as disk:
        yield disk


@pytest.fixture
def server(tmp_path: Path) -> SampleServer:
    """The source."""
    return SampleServer(tmp_path / "server", messages=200, folder_count=8)


ENGINES = ("walk", "index", "drop-in")


def words(engine: str, server: SampleServer, disk: Disk) -> tuple[str, ...]:
    """The command that brings the replica up to date."""
    spool = str(below(disk.mount, server.spool))
    os.makedirs(os.path.dirname(spool), exist_ok=True)
    if engine == "index":
        return ("sync", "--json", "-C", str(server.conf), "--delete", "--max-delete=1000", str(disk.mount))
    if engine == "walk":
        return ("sync", "--json", "--delete", "--max-delete=1000", f"{server.spool}/", f"{spool}/")
    return ("rsync", "-a", "--delete", f"{server.spool}/", f"{spool}/")


def run(host: Host, *words: str, env: dict[str, str] | None = None) -> None:
    """Run to a good end."""
    done = host.run(*words, env=env)
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout}\n{done.stderr}"


def assert_whole(server: SampleServer, disk: Disk) -> None:
    """The replica is what the source is, and no message is empty."""
    replica = below(disk.mount, server.spool)
    assert [path for path, content in messages(replica).items() if not content] == []
    assert_same_tree(server.spool, replica)


def something_happens(server: SampleServer) -> None:
    samplespool.change(server.spool, new=0.2, expunged=0.1, flags=0.3)
    server.record()


@pytest.mark.parametrize("engine", ENGINES)
def test_what_was_reported_as_done_is_on_the_disk(
    engine: str, server: SampleServer, disk: Disk, tmp_path: Path
) -> None:
    host = Host(tmp_path)
    command = words(engine, server, disk)
    for _ in range(2):
        run(host, *command)
        disk.cut_power()
        host.boot()
        assert_whole(server, disk)
        something_happens(server)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_run_after_a_power_cut_trusts_no_name(
    engine: str, server: SampleServer, disk: Disk, tmp_path: Path
) -> None:
    """The power goes after each rsync, or between mailboxes of a stream: the next run makes up for what was lost."""
    host = Host(tmp_path)
    command = words(engine, server, disk)
    run(host, *command)
    programs = tmp_path / "bin"
    programs.mkdir()
    images = shlex.quote(str(tmp_path / "images"))
    copy = f"""\
n=$(ls {images} | grep -c cut-)
{disk.commit()}
cp --sparse=always {shlex.quote(str(disk.image))} {images}/cut-$n
cp -a "$CYRSYNC_STATE" {images}/../state-$n"""
    rsync = f'{shlex.quote(str(which("rsync")))} "$@"\ncode=$?\n'
    chosen = f'case " $* " in *" --files-from="*|*" --filter"*)\n{copy} ;;\nesac\nexit $code'
    write_program(programs / "rsync", rsync + chosen)
    something_happens(server)
    argv = None
    if engine == "index":
        script = f"import subprocess\nif number % 4 == 1: subprocess.run({copy!r}, shell=True, check=True)"
        argv = launch(script, *command, at=COMMITS)
    done = host.run(*command, env={"PATH": f"{programs}:{os.environ['PATH']}"}, argv=argv)
    assert done.returncode == 0, done
    cuts = sorted((tmp_path / "images").glob("cut-*"))
    assert cuts
    for number, cut in enumerate(cuts):
        disk.cut_power(cut)
        host.boot()
        run(host, *command, env={"CYRSYNC_STATE": str(tmp_path / f"state-{number}")})
        assert_whole(server, disk)


@pytest.mark.parametrize("refused", [False, True], ids=["known", "refused"])
def test_a_daemon_is_told_to_write_each_file_to_its_disk(
    daemon: RsyncDaemon, tmp_path: Path, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    samplespool.make(source, messages=20, folder_count=2)
    if refused:
        with open(daemon.root / "rsyncd.conf", "a") as file:
            file.write(f"[old]\npath = {daemon.directory('rw')}\nread only = no\nrefuse options = fsync\n")
    log = tmp_path / "log"
    programs = tmp_path / "bin"
    programs.mkdir()
    write_program(programs / "rsync", f'echo "$@" >>{shlex.quote(str(log))}\nexec {which("rsync")} "$@"')
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    sync(f"{source}/", daemon.url("old" if refused else "rw"))
    assert_same_tree(source, daemon.directory("rw"), whole_seconds=True)
    sent = [line.split() for line in log.read_text().splitlines() if "/entries" in line]
    assert sent
    assert {"--fsync" in words for words in sent} == {not refused}


def test_a_host_without_python_is_told_to_write_all_to_its_disks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The far end is a shell here, which finds a `sync` of ours."""
    source, replica, programs = tmp_path / "source", tmp_path / "replica", tmp_path / "bin"
    samplespool.make(source, messages=20, folder_count=2)
    programs.mkdir()
    write_program(programs / "sync", f"touch {shlex.quote(str(tmp_path / 'synced'))}")
    write_program(programs / "python3", "exit 1")
    write_program(programs / "rsh", f'shift\nPATH={shlex.quote(str(programs))}:$PATH\nexec sh -c "$*"')
    sync("-e", str(programs / "rsh"), f"{source}/", f"nas:{replica}/")
    assert_same_tree(source, replica)
    assert (tmp_path / "synced").exists()
