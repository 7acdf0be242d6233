"""A mail partition that is not mounted under indexes that lie elsewhere is no partition without mail."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.boxes import Box
from support.servers import SampleServer, below, sync_server
from support.tree import run_cyrsync, snapshot


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box("3.6.1-rich", tmp_path)


def unmount(box: Box) -> Path:
    """Leave the mount point of a partition whose metadata has one of its own."""
    lines = dict(line.split(": ", 1) for line in box.conf.read_text().splitlines() if ": " in line)
    name = next(key for key in lines if key.startswith("metapartition-")).removeprefix("meta")
    root = Path(lines[name])
    root.rename(root.with_name("away"))
    root.mkdir()
    return root


@pytest.mark.parametrize("words", [(), ("--full",), ("-n",)])
@pytest.mark.parametrize("synced", [True, False])
def test_a_mail_partition_that_is_not_mounted(
    box: Box, tmp_path: Path, state_dir: Path, words: tuple[str, ...], synced: bool
) -> None:
    replica = tmp_path / "replica"
    replica.mkdir()
    if synced:
        sync_server(box.conf, "--delete", replica)
    root = unmount(box)
    before = snapshot(replica)
    (error,) = sync_server(box.conf, "--delete", *words, replica, expect=(3,))["errors"]
    assert error.startswith(f"{root}: it is empty, but the indexes of partition ")
    assert error.endswith("is it mounted?")
    assert snapshot(replica) == before
    shutil.rmtree(root)
    root.with_name("away").rename(root)
    sync_server(box.conf, "--delete", replica)


@pytest.mark.parametrize("name", ["configdirectory", "partition-default"])
def test_check_sees_that_the_replicas_disk_is_not_mounted(tmp_path: Path, state_dir: Path, name: str) -> None:
    """Though nothing has changed on the source, and a run would not look at the replica for that."""
    server, replica = SampleServer(tmp_path / "server", messages=5, folder_count=1), tmp_path / "replica"
    replica.mkdir()
    sync_server(server.conf, replica)
    lines = dict(line.split(": ", 1) for line in server.conf.read_text().splitlines() if ": " in line)
    root = below(replica, Path(lines[name]))
    assert run_cyrsync("check", "-C", server.conf, replica).returncode == 0
    shutil.rmtree(root)
    root.mkdir()
    done = run_cyrsync("check", "-C", server.conf, replica)
    assert (done.returncode, f"{root}: nothing of the replica is there any more" in done.stdout) == (1, True)


def test_check_says_so(box: Box, tmp_path: Path) -> None:
    root, replica = unmount(box), tmp_path / "replica"
    replica.mkdir()
    done = run_cyrsync("check", "-C", box.conf, replica, "--json")
    assert done.returncode == 1
    assert f"{root}: it is empty, but the indexes of partition" in done.stdout


def verify_names_it(conf: Path, root: Path) -> None:
    """One line, exit 3."""
    done = run_cyrsync("verify", "-C", conf)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (3, "")
    assert f"{root}: " in line
    assert line.endswith("is it mounted?")


def test_verify_names_a_mail_partition_that_is_not_mounted(box: Box) -> None:
    """Not thousands of messages that are missing."""
    verify_names_it(box.conf, unmount(box))


@pytest.mark.parametrize("point", ["empty", "lost+found", "gone"])
def test_verify_names_a_partition_that_is_not_mounted(tmp_path: Path, point: str) -> None:
    server = SampleServer(tmp_path / "server", messages=20, folder_count=4, partitions="default other")
    root = server.spools["other"]
    shutil.rmtree(root)
    if point != "gone":
        root.mkdir()
    if point == "lost+found":
        (root / point).mkdir()
    verify_names_it(server.conf, root)


def test_verify_of_a_partition_without_mailboxes(tmp_path: Path) -> None:
    """It may be empty: it is new."""
    server = SampleServer(tmp_path / "server", messages=20, folder_count=4)
    new = tmp_path / "new"
    new.mkdir()
    server.conf.write_text(f"{server.conf.read_text()}partition-new: {new}\n")
    assert run_cyrsync("verify", "-C", server.conf).returncode == 0
