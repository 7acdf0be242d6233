"""FIFOs, devices, links and giants in place of Cyrus's files: an error of that mailbox or file, and of no other."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import samplespool
from cyrsync.cyrus.server.conf_files import ConfFile, ConfFiles
from support.inside import sync_server_here
from support.servers import SampleServer, below
from support.spool import leaves
from support.tools import requires_root
from support.tree import messages, start_cyrsync

#: Of address space: enough for a run, and not for a giant.
ENOUGH = 700 << 20
GIANT = 3 << 30
WHAT = ("FIFO", "device", "sparse", "giant")


def replace(file: Path, what: str) -> None:
    """Put something else in a file's place; whoever opens it as a file waits for ever, or runs out of memory."""
    start = file.read_bytes() if file.exists() else b""
    file.unlink(missing_ok=True)
    if what == "FIFO":
        os.mkfifo(file)
    elif what == "device":
        requires_root()
        os.mknod(file, stat.S_IFCHR | 0o644, os.makedev(1, 5))
    else:
        file.write_bytes(start)
        os.truncate(file, GIANT if what == "sparse" else 1 << 43)


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({ENOUGH}, {ENOUGH}))"
    with start_cyrsync(*words, first=limit) as running:
        return running.complete(60)


@pytest.fixture
def server(open_dir: Path) -> SampleServer:
    """Somewhere where a sparse file may be as large as one likes."""
    return SampleServer(open_dir / "server", messages=40, folder_count=4)


@pytest.fixture
def replica(tmp_path: Path) -> Path:
    (tmp_path / "replica").mkdir()
    return tmp_path / "replica"


@pytest.mark.parametrize("what", WHAT)
@pytest.mark.parametrize("name", ["cyrus.header", "cyrus.index", "cyrus.annotations"])
def test_metadata_of_one_mailbox(server: SampleServer, replica: Path, name: str, what: str) -> None:
    first, second = leaves(server.spool)[:2]
    replace(first / name, what)
    done = run("sync", "-C", server.conf, replica)
    assert done.returncode == 23, done.stderr
    assert "Traceback" not in done.stderr
    assert all(str(first.relative_to(server.spool)) in line for line in done.stderr.splitlines()), done.stderr
    assert messages(below(replica, second)) == messages(second)
    assert not (below(replica, first) / name).exists()


@pytest.mark.parametrize("what", ["sparse", "giant"])
def test_metadata_of_one_mailbox_by_the_walk(server: SampleServer, replica: Path, what: str) -> None:
    first, second = leaves(server.spool)[:2]
    replace(first / "cyrus.index", what)
    done = run("sync", f"{server.spool}/", f"{replica}/")
    assert done.returncode == 23, done.stderr
    assert all(str(first.relative_to(server.spool)) in line for line in done.stderr.splitlines()), done.stderr
    there = replica / second.relative_to(server.spool)
    assert messages(there) == messages(second)
    assert (there / "cyrus.index").exists()


def test_what_rsync_copies_as_it_is(server: SampleServer, replica: Path) -> None:
    """A FIFO, as `rsync -a` does."""
    first = leaves(server.spool)[0]
    replace(first / "cyrus.index", "FIFO")
    for _ in range(2):
        done = run("sync", f"{server.spool}/", f"{replica}/")
        assert done.returncode == 0, done.stderr
        assert (replica / first.relative_to(server.spool) / "cyrus.index").is_fifo()


@pytest.mark.parametrize("what", WHAT)
def test_verify_and_inspect(server: SampleServer, what: str) -> None:
    first, second, third = leaves(server.spool)[:3]
    replace(first / "cyrus.index", what)
    replace(second / "cyrus.header", what)
    message = min(messages(third)).decode()
    replace(third / message, what)
    for words in (["-C", server.conf], [server.spool]):
        done = run("verify", "--content", "--json", *words)
        assert done.returncode == 1, done.stderr
        found = json.loads(done.stdout)["problems"]
        paths = {one["folder"].removeprefix(f"{server.spool}/"): one["kind"] for one in found}
        assert paths == {
            str(first.relative_to(server.spool)): "unreadable",
            str(second.relative_to(server.spool)): "unreadable",
            str(third.relative_to(server.spool)): "size" if what in ("sparse", "giant") else "unreadable",
        }
    done = run("inspect", "-C", server.conf)
    assert "Traceback" not in done.stderr
    assert done.returncode == 23, (done.stdout, done.stderr)


@pytest.mark.parametrize("what", WHAT)
def test_mailboxes_db(server: SampleServer, replica: Path, what: str) -> None:
    replace(server.database, what)
    for words in (["sync", "-C", server.conf, replica], ["verify", "-C", server.conf], ["inspect", "-C", server.conf]):
        done = run(*words)
        assert (done.returncode, len(done.stderr.splitlines())) == (3, 1), done.stderr
        assert "mailboxes.db" in done.stderr
    done = run("check", "-C", server.conf, replica)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("what", WHAT)
@pytest.mark.parametrize("included", [False, True])
def test_imapd_conf(server: SampleServer, replica: Path, what: str, included: bool) -> None:
    other = server.root / "more.conf"
    server.conf.write_text(f"{server.conf.read_text()}@include: {other}\n")
    replace(other if included else server.conf, what)
    done = run("sync", "-C", server.conf, replica)
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 1), done.stderr
    assert "can't read" in done.stderr


@pytest.mark.parametrize("what", ["sparse", "giant"])
def test_one_users_file(server: SampleServer, replica: Path, what: str) -> None:
    home = server.root / "conf/user/j"
    home.mkdir(parents=True)
    (home / "joe.seen").write_text("read")
    (home / "jane.seen").write_text("read")
    replace(home / "joe.seen", what)
    done = run("sync", "-C", server.conf, replica)
    assert done.returncode == 23, done.stderr
    assert all("joe.seen" in line for line in done.stderr.splitlines()), done.stderr
    assert below(replica, home / "jane.seen").read_text() == "read"


@pytest.mark.parametrize("what", WHAT)
def test_the_imapd_conf_of_a_replica(server: SampleServer, replica: Path, what: str) -> None:
    """It is compared with the source's: that it cannot be is a warning."""
    there = below(replica, server.conf)
    there.parent.mkdir(parents=True)
    there.touch()
    replace(there, what)
    done = run("sync", "-C", server.conf, replica)
    assert (done.returncode, "cannot be compared" in done.stderr) == (0, True), done.stderr


@pytest.mark.parametrize("what", WHAT)
@pytest.mark.parametrize("name", ["cyrus.header", "cyrus.index"])
def test_on_the_replica(server: SampleServer, replica: Path, name: str, what: str) -> None:
    first = leaves(server.spool)[0]
    for words in (["-C", server.conf, replica], [f"{server.spool}/", f"{replica / 'walk'}/"]):
        assert run("sync", *words).returncode == 0
        there = replica / "walk" / first.relative_to(server.spool) if "-C" not in words else below(replica, first)
        replace(there / name, what)
        os.utime(there / name, (1, 1))  # else Cyrus might have been started there
        samplespool.deliver(first, 1)
        assert run("sync", "--full", *words).returncode == 0
        assert (there / name).read_bytes() == (first / name).read_bytes()


@pytest.mark.parametrize("what", ["FIFO", "device"])
@pytest.mark.parametrize("name", ["lock", "sqlite", "runs.sqlite"])
def test_in_the_state(server: SampleServer, replica: Path, state_dir: Path, name: str, what: str) -> None:
    assert run("sync", "-C", server.conf, replica).returncode == 0
    (file,) = [
        path
        for path in state_dir.iterdir()
        if path.name in (name, f"{path.stem}.{name}") and len(path.stem) == (4 if "." in name else 20)
    ]
    replace(file, what)
    done = run("sync", "-C", server.conf, replica)
    assert "Traceback" not in done.stderr
    assert "no regular file" in done.stderr, done.stderr
    assert done.returncode == {"lock": 3, "sqlite": 11, "runs.sqlite": 0}[name]


def test_a_log_that_nobody_reads(server: SampleServer, replica: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    done = run("sync", "-C", server.conf, "--log", tmp_path / "log", replica)
    assert (done.returncode, "--log" in done.stderr) == (0, True), done.stderr


def test_a_link_in_place_of_a_users_directory(
    server: SampleServer, replica: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Put there between the look at its files and their copying."""
    home, secret = server.root / "conf/user/j", tmp_path / "secret"
    for directory in (home, secret):
        directory.mkdir(parents=True)
        (directory / "joe.seen").write_text(directory.name)
    listed = ConfFiles.listed

    def swapped(files: ConfFiles, unreadable: dict[bytes, OSError], *more: Any) -> Iterator[ConfFile]:
        found = list(listed(files, unreadable, *more))
        home.rename(home.with_name("away"))
        home.symlink_to(secret)
        yield from found

    monkeypatch.setattr(ConfFiles, "listed", swapped)
    report = sync_server_here(server.conf, replica, expect=(23,))
    assert any("joe.seen" in error for error in report["errors"])
    assert not below(replica, home / "joe.seen").exists()
