"""Over a real rsync daemon on loopback."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

import samplespool
from support.daemon import RsyncDaemon
from support.spool import everything_happens
from support.tree import assert_same_tree, run_cyrsync, sync


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small spool."""
    samplespool.make(tmp_path / "source", messages=300, folder_count=8)
    return tmp_path / "source"


@pytest.mark.parametrize("path", ["", "below the/module"])
def test_push_with_delete(daemon: RsyncDaemon, source: Path, path: str) -> None:
    replica = daemon.directory("rw") / path
    replica.parent.mkdir(exist_ok=True)
    arguments = ("--delete", f"{source}/", daemon.url("rw", f"{path}/"))
    assert sync(*arguments)["messages"]["send"] == 300
    assert_same_tree(source, replica, whole_seconds=True)

    everything_happens(source)
    sync(*arguments)
    assert_same_tree(source, replica, whole_seconds=True)

    delivered, *_ = samplespool.change(source, new=0.02)
    assert sync(*arguments)["messages"]["send"] == delivered
    assert_same_tree(source, replica, whole_seconds=True)


def test_without_delete_nothing_goes(daemon: RsyncDaemon, source: Path) -> None:
    arguments = (f"{source}/", daemon.url("rw"))
    sync(*arguments)
    before = {path.relative_to(source) for path in source.rglob("*")}
    everything_happens(source)
    sync(*arguments)
    assert before <= {path.relative_to(daemon.directory("rw")) for path in daemon.directory("rw").rglob("*")}


@pytest.mark.parametrize("path", ["", "below the/module", "below/./the//module/."])
def test_pull(daemon: RsyncDaemon, tmp_path: Path, path: str) -> None:
    source, replica = daemon.directory("ro") / path, tmp_path / "replica"
    samplespool.make(source, messages=300, folder_count=8)
    arguments = ("--delete", daemon.url("ro", f"{path}/"), f"{replica}/")
    assert sync(*arguments)["messages"]["send"] == 300
    assert_same_tree(source, replica, whole_seconds=True)

    everything_happens(source)
    sync(*arguments)
    assert_same_tree(source, replica, whole_seconds=True)


def test_an_index_of_the_same_size_and_second(daemon: RsyncDaemon, source: Path) -> None:
    """Seen by its mode only: rsync at a daemon looks at whole seconds, and would set the mode alone."""
    sync(f"{source}/", daemon.url("rw"))
    index = next(source.rglob("cyrus.index"))
    status = index.stat()
    content = index.read_bytes()
    index.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    index.chmod(0o640)
    os.utime(index, ns=(status.st_atime_ns, status.st_mtime_ns))
    sync(f"{source}/", daemon.url("rw"))
    assert_same_tree(source, daemon.directory("rw"), whole_seconds=True)


TIME = 1_700_000_000


def ends(daemon: RsyncDaemon, tmp_path: Path, *, pulls: bool) -> tuple[Path, Path, list[str]]:
    """A source, its replica, and what to call both; one of them is behind the daemon."""
    source = daemon.directory("ro") if pulls else tmp_path / "source"
    replica = tmp_path / "replica" if pulls else daemon.directory("rw")
    return source, replica, [daemon.url("ro"), f"{replica}/"] if pulls else [f"{source}/", daemon.url("rw")]


def within_a_second(path: Path, change: Callable[[], object]) -> None:
    """Have a file change that keeps its size, so that its time has other nanoseconds alone."""
    before = path.stat()
    change()
    after = path.stat()
    os.utime(path, ns=(after.st_atime_ns, before.st_mtime_ns // 10**9 * 10**9 + 900_000_000))
    assert after.st_size == before.st_size


@pytest.mark.parametrize("words", [("sync", "--delete"), ("rsync", "-a", "--delete")])
@pytest.mark.parametrize("pulls", [False, True])
def test_metadata_changed_in_the_second_of_its_copy(
    daemon: RsyncDaemon, tmp_path: Path, pulls: bool, words: tuple[str, ...]
) -> None:
    """A listing has whole seconds: flags of .9 look as those of .3, which were sent."""
    source, replica, arguments = ends(daemon, tmp_path, pulls=pulls)
    samplespool.make(source, messages=60, folder_count=6)
    flagged, named, *_ = samplespool.folders(source)
    index, header = flagged / "cyrus.index", named / "cyrus.header"
    for path in index, header:
        os.utime(path, ns=(TIME * 10**9, TIME * 10**9 + 300_000_000))
    sync("--delete", *arguments)
    within_a_second(index, lambda: samplespool.set_flags(flagged, rng=random.Random(1)))
    within_a_second(header, lambda: header.write_bytes(header.read_bytes()[:-1] + b"x"))
    asked = run_cyrsync("verify", *arguments)
    said = asked.stderr
    assert (asked.returncode, "cyrus.index" in said, "cyrus.header" in said, said.count("\n")) == (1, True, True, 2)
    assert sync("--dry-run", *arguments)["folders"]["changed"] == 2
    done = run_cyrsync(*words, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert_same_tree(source, replica, whole_seconds=True)
    assert run_cyrsync("verify", *arguments).returncode == 0
    report = sync("--delete", *arguments)
    assert (report["folders"]["changed"], report["rsync_runs"]) == (0, 0), report


@pytest.mark.parametrize("pulls", [False, True])
def test_metadata_that_is_the_same_in_another_nanosecond(daemon: RsyncDaemon, tmp_path: Path, pulls: bool) -> None:
    """Daemons before 3.1 do not send them. What has the same bytes is not sent again."""
    source, replica, arguments = ends(daemon, tmp_path, pulls=pulls)
    samplespool.make(source, messages=60, folder_count=6)
    sync("--delete", *arguments)
    for index in replica.rglob("cyrus.*"):
        os.utime(index, ns=(TIME, index.stat().st_mtime_ns // 10**9 * 10**9))
    report = sync("--delete", *arguments)
    assert (report["folders"]["changed"], report["rsync_runs"]) == (0, 0), report
    assert run_cyrsync("verify", *arguments).returncode == 0


def test_a_daemon_without_nanoseconds(daemon: RsyncDaemon, tmp_path: Path) -> None:
    """What is pulled from one before 3.1 has whole seconds on both sides: contents alone tell."""
    source, replica, arguments = ends(daemon, tmp_path, pulls=True)
    samplespool.make(source, messages=60, folder_count=6)
    for path in source.rglob("cyrus.*"):
        os.utime(path, (TIME, TIME))
    sync("--delete", *arguments)
    index = samplespool.folders(source)[0] / "cyrus.index"
    samplespool.set_flags(index.parent, rng=random.Random(1))
    os.utime(index, (TIME, TIME))
    assert sync("--delete", *arguments)["folders"]["changed"] == 1
    assert_same_tree(source, replica, whole_seconds=True)
    assert sync("--delete", *arguments)["rsync_runs"] == 0


def test_a_password_for_the_daemon(daemon: RsyncDaemon, source: Path) -> None:
    url = daemon.url("secret", user="alice")
    sync("--delete", f"{source}/", url, "--", f"--password-file={daemon.password_file}")
    assert_same_tree(source, daemon.directory("secret"), whole_seconds=True)


def test_a_wrong_password(daemon: RsyncDaemon, source: Path) -> None:
    daemon.password_file.write_text("wrong\n")
    url = daemon.url("secret", user="alice")
    done = run_cyrsync("sync", f"{source}/", url, "--", f"--password-file={daemon.password_file}")
    assert done.returncode in (3, 5)
    assert "auth" in done.stderr
    assert not list(daemon.directory("secret").iterdir())


def test_a_module_that_cannot_be_written(daemon: RsyncDaemon, source: Path) -> None:
    done = run_cyrsync("sync", "--delete", f"{source}/", daemon.url("ro"))
    assert done.returncode != 0
    assert "read only" in done.stderr
    assert not list(daemon.directory("ro").iterdir())


def test_a_daemon_that_is_down(daemon: RsyncDaemon, source: Path) -> None:
    daemon.stop()
    done = run_cyrsync("sync", "--retries", "0", f"{source}/", daemon.url("rw"))
    assert done.returncode in (10, 12, 30, 255)
    assert done.stderr.strip()
