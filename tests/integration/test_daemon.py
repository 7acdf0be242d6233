"""Over a real rsync daemon on loopback."""

from __future__ import annotations

import os
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
