"""The replica's host loses power: what a run reported as done is there, and the next run sees to the rest."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import samplespool
from cyrsync.far import owner_file
from support.daemon import RsyncDaemon
from support.meanwhile import COMMITS, launch
from support.power import Disk, Host
from support.servers import SampleServer, below
from support.tools import which, write_program
from support.tree import assert_same_tree, messages, plain_env, sync


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Where the replica is."""
    with Disk(tmp_path) as disk:
        yield disk


@pytest.fixture
def server(tmp_path: Path) -> SampleServer:
    """The source."""
    return SampleServer(tmp_path / "server", messages=200, folder_count=8)


CUT_OFF = "a power cut or a failing disk ended a run that was writing there"
ENGINES = ("walk", "index", "drop-in")


def words(engine: str, server: SampleServer, disk: Disk) -> tuple[str, ...]:
    """The command that brings the replica up to date."""
    spool = str(below(disk.mount, server.spool))
    os.makedirs(os.path.dirname(spool), exist_ok=True)
    if engine == "index":
        return ("sync", "--json", "-C", str(server.conf), "--delete", "--max-delete=1000", str(disk.mount))
    if engine == "walk":
        return ("sync", "--json", "--delete", "--max-delete=1000", f"{server.spool}/", f"{spool}/")
    handed_over = ("--checksum",) if engine == "handed over" else ()
    return ("rsync", "-a", "--delete", *handed_over, f"{server.spool}/", f"{spool}/")


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


@pytest.mark.parametrize("engine", [*ENGINES, "handed over"])
def test_what_was_reported_as_done_is_on_the_disk(
    engine: str, server: SampleServer, disk: Disk, tmp_path: Path
) -> None:
    host = Host(tmp_path)
    command = words(engine, server, disk)
    if engine == "handed over":
        run(host, *words("drop-in", server, disk))
        something_happens(server)
    for _ in range(2):
        if engine == "handed over":
            time.sleep(1.01)  # rsync leaves a directory that was written in the second of its original's time as it is
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


#: Right before a run has the disks synced at its end.
SYNCS = ("cyrsync.server.ownership", "Ownership", "_to_disk")
#: Where messages are compared that the replica may have.
COMPARES = ("cyrsync.server.reading", "MailboxReader", "entries")


def renew_cache(folder: Path) -> None:
    """Write a cache anew: of one that has only grown the end is sent, and for its sake the disks are synced at once."""
    cache = bytearray((folder / "cyrus.cache").read_bytes())
    cache[0] ^= 1
    (folder / "cyrus.cache").write_bytes(cache)


@pytest.mark.parametrize("state", ["known", "lost"])
@pytest.mark.parametrize("names", [True, False], ids=["names on the disk", "nothing on the disk"])
def test_only_what_was_under_way_is_compared(
    server: SampleServer, disk: Disk, tmp_path: Path, names: bool, state: str
) -> None:
    """Sent, deleted, made again or made anew; files of the configdirectory, too. Without a state all is compared."""
    host = Host(tmp_path)
    command = words("index", server, disk)
    users = server.root / "conf/user/j"
    users.mkdir(parents=True)
    (users / "joe.sub").write_text("one\n")
    (users / "joe.seen").write_text("one\n")
    run(host, *command)
    changed, expunged, flagged, gone, again, *rest = server.folders()
    assert rest
    samplespool.deliver(changed, 3)
    samplespool.expunge(expunged, 2)
    samplespool.set_flags(flagged)
    samplespool.recreate_folder(again, 4)
    new = samplespool.create_folder(server.spool, "user/zoe/New")
    samplespool.deliver(new, 3)
    (users / "joe.sub").write_text("two\ntwo\n")
    (users / "joe.seen").unlink()
    server.delete(gone)
    for folder in (changed, again, new):
        renew_cache(folder)
    image, kept = tmp_path / "images/cut", tmp_path / "state"
    commit = disk.commit() if names else "true"
    copy = f"{commit}; cp --sparse=always {shlex.quote(str(disk.image))} {image}; cp -a $CYRSYNC_STATE {kept}"
    script = f"import subprocess\nsubprocess.run({copy!r}, shell=True, check=True)"
    done = host.run(argv=launch(script, *command, at=SYNCS))
    assert (done.returncode, image.exists()) == (0, True), done.stderr
    disk.cut_power(image)
    host.boot()
    if state == "lost":
        for path in kept.glob("*.sqlite*"):
            path.unlink()
    log = tmp_path / "compared"
    log.touch()
    script = f"import os\nwith open({str(log)!r}, 'a') as file: file.write(os.fsdecode(calls[-1][1]) + chr(10))"
    done = host.run(argv=launch(script, *command, at=COMPARES), env={"CYRSYNC_STATE": str(kept)})
    assert done.returncode == 0, done.stderr
    compared = {server.spool / path for path in log.read_text().splitlines()}
    if state == "known":
        (warning,) = json.loads(done.stdout)["warnings"]
        assert warning.endswith(f": {CUT_OFF}: what was under way then is compared")
        assert compared <= {changed, expunged, flagged, again, new}
        assert compared >= {changed, expunged}
    else:
        assert compared >= {changed, expunged, *rest}
    assert_whole(server, disk)
    assert_same_tree(users, below(disk.mount, users))
    done = host.run(*command, env={"CYRSYNC_STATE": str(kept)})
    report = json.loads(done.stdout)
    assert (done.returncode, report["warnings"], report["files"]["deleted"]) == (0, [], 0)
    found = owner_file.read(os.fsencode(below(disk.mount, server.spool)))
    assert found and not found.writing and not found.doubtful


#: Before a walk that has written says that it is over.
WALK_ENDS = ("cyrsync.sync.ownership", "WalkOwnership", "end")


@pytest.mark.parametrize(("state", "names"), [("known", True), ("lost", False), ("of another run", True)])
def test_a_walk_compares_only_what_was_under_way(
    server: SampleServer, disk: Disk, tmp_path: Path, state: str, names: bool
) -> None:
    """Its own last run knows what that was; where another one has written since, nobody does."""
    host = Host(tmp_path)
    command = words("walk", server, disk)
    run(host, *command)
    changed, expunged, flagged, gone, again, *rest = server.folders()
    samplespool.deliver(changed, 3)
    samplespool.expunge(expunged, 2)
    samplespool.set_flags(flagged)
    samplespool.recreate_folder(again, 4)
    samplespool.deliver(samplespool.create_folder(server.spool, "user/zoe/New"), 3)
    server.delete(gone)
    image, kept = tmp_path / "images/cut", tmp_path / "state"
    commit = disk.commit() if names else "true"
    copy = f"{commit}; cp --sparse=always {shlex.quote(str(disk.image))} {image}; cp -a $CYRSYNC_STATE {kept}"
    script = f"import subprocess\nsubprocess.run({copy!r}, shell=True, check=True)"
    if state == "of another run":
        killed = host.run(argv=["setsid", "-w", *launch("import os\nos.kill(0, 9)", *command, at=WALK_ENDS)])
        assert killed.returncode != 0
        samplespool.deliver(changed, 1)
        script = script.replace("$CYRSYNC_STATE", shlex.quote(plain_env()["CYRSYNC_STATE"]))
        done = host.run(argv=launch(script, *command, "--state", str(tmp_path / "another"), at=WALK_ENDS))
    else:
        done = host.run(argv=launch(script, *command, at=WALK_ENDS))
    assert (done.returncode, image.exists()) == (0, True), done.stderr
    disk.cut_power(image)
    host.boot()
    (note,) = kept.glob("*.writing")
    if state == "lost":
        note.unlink()
    harmed = min(below(disk.mount, rest[0]).glob("[0-9]*."))
    os.truncate(harmed, 0)
    report = host.sync(*command[2:], env={"CYRSYNC_STATE": str(kept)})
    (warning,) = report["warnings"]
    what = "what was under way then is" if state == "known" else "all messages are"
    assert warning.endswith(f": {CUT_OFF}: {what} compared")
    assert (harmed.stat().st_size == 0) is (state == "known")
    if state == "known":
        harmed.unlink()
        host.sync(*command[2:], env={"CYRSYNC_STATE": str(kept)})
    assert_whole(server, disk)
    report = host.sync(*command[2:], env={"CYRSYNC_STATE": str(kept)})
    assert (report["warnings"], report["files"]["planned"]) == ([], 0)
    assert not list(kept.glob("*.writing"))


def test_what_was_under_way_is_not_forgotten(server: SampleServer, disk: Disk, tmp_path: Path) -> None:
    """Not by a run that cannot read it on the source, nor when the power fails again."""
    host = Host(tmp_path)
    command = words("index", server, disk)
    run(host, *command)
    folder = server.folders()[0]
    samplespool.deliver(folder, 3)
    renew_cache(folder)
    script = "import os, signal\nos.kill(0, signal.SIGKILL)"
    for _ in range(2):
        done = host.run(argv=["setsid", "-w", *launch(script, *command, at=SYNCS)])
        assert done.returncode != 0
        subprocess.run(disk.commit(), shell=True, check=True)  # noqa: S602
        disk.cut_power()
        host.boot()
        assert [path.name for path in below(disk.mount, folder).glob("[0-9]*.") if not path.stat().st_size]
    (folder / "cyrus.header").rename(folder / "header")
    done = host.run(*command)
    assert done.returncode == 23, done
    (folder / "header").rename(folder / "cyrus.header")
    run(host, *command)
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
