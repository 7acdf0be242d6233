"""A mail partition that is not mounted under indexes that lie elsewhere is no partition without mail."""

from __future__ import annotations

import json
import os
import pwd
import shutil
from grp import getgrgid
from pathlib import Path

import pytest

from cyrsync.cyrus.mailbox import records
from cyrsync.history.kept import excerpt
from support.boxes import Box
from support.servers import SampleServer, below, sync_server
from support.tree import run_cyrsync, snapshot


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box("3.6.1-rich", tmp_path)


def unmount(box: Box, kind: str = "", point: str = "empty") -> Path:
    """Leave the mount point of a partition whose metadata, and whose archived messages, have ones of their own."""
    root = root_of(box, kind)
    root.rename(root.with_name("away"))
    if point != "gone":
        root.mkdir()
    return root


def root_of(box: Box, kind: str = "") -> Path:
    lines = dict(line.split(": ", 1) for line in box.conf.read_text().splitlines() if ": " in line)
    name = next(key for key in lines if key.startswith("metapartition-")).removeprefix("meta")
    return Path(lines[kind + name])


@pytest.mark.parametrize("words", [(), ("--full",), ("-n",)])
@pytest.mark.parametrize("synced", [True, False])
@pytest.mark.parametrize("kind", ["", "archive"])
def test_a_mail_partition_that_is_not_mounted(
    box: Box, tmp_path: Path, state_dir: Path, words: tuple[str, ...], synced: bool, kind: str
) -> None:
    replica = tmp_path / "replica"
    replica.mkdir()
    if synced:
        sync_server(box.conf, "--delete", replica)
    root = unmount(box, kind)
    before = snapshot(replica)
    (error,) = sync_server(box.conf, "--delete", *words, replica, expect=(3,))["errors"]
    assert error.startswith(f"{root}: it is empty, but the indexes of partition ")
    assert error.endswith("is it mounted?")
    # What lies in other partitions was sent meanwhile.
    assert (kind and not synced) or snapshot(replica) == before
    shutil.rmtree(root)
    root.with_name("away").rename(root)
    sync_server(box.conf, "--delete", replica)


def test_an_archive_partition_that_got_empty(box: Box, tmp_path: Path, state_dir: Path) -> None:
    """All messages in it were expunged, or the mailboxes deleted: that is no disk that is away."""
    replica, root = tmp_path / "replica", root_of(box, "archive")
    replica.mkdir()
    sync_server(box.conf, "--delete", "--max-delete", "100%", replica)
    assert [path for path in below(replica, root).rglob("*.") if path.is_file()]
    for index in root_of(box, "meta").rglob("cyrus.index"):
        expunge_archived(index)
    shutil.rmtree(root)
    root.mkdir()
    sync_server(box.conf, "--delete", "--max-delete", "100%", replica)
    assert not [path for path in below(replica, root).rglob("*.") if path.is_file()]


def expunge_archived(path: Path) -> None:
    """Leave the records of archived messages out of an index."""
    index = records.read(path.read_bytes())
    if 1 in index.archived:
        area = path.read_bytes()[index.header.start_offset :]
        stay = [uid for uid, archived in zip(index.uids, index.archived, strict=True) if not archived]
        head = path.read_bytes()[: index.header.start_offset]
        path.write_bytes(excerpt.as_index(head + excerpt.of_uids(index.header, area, stay)))


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


@pytest.mark.parametrize("kind", ["", "archive"])
def test_check_says_so(box: Box, tmp_path: Path, kind: str) -> None:
    root, replica = unmount(box, kind), tmp_path / "replica"
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


@pytest.mark.parametrize("point", ["empty", "gone"])
@pytest.mark.parametrize("kind", ["", "meta", "archive"])
def test_verify_names_a_mail_partition_that_is_not_mounted(box: Box, kind: str, point: str) -> None:
    """Not thousands of messages that are missing."""
    verify_names_it(box.conf, unmount(box, kind, point))


def test_an_archive_partition_that_nothing_is_in_yet(box: Box, tmp_path: Path) -> None:
    root = root_of(box, "archive")
    for index in root_of(box, "meta").rglob("cyrus.index"):
        expunge_archived(index)
    shutil.rmtree(root)
    root.mkdir()
    done = run_cyrsync("verify", "-C", box.conf)
    assert "mounted" not in done.stderr
    replica = tmp_path / "replica"
    replica.mkdir()
    done = run_cyrsync("check", "-C", box.conf, replica)
    assert "mounted" not in done.stdout


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


@pytest.mark.parametrize("point", ["empty", "gone"])
@pytest.mark.parametrize("kind", ["", "meta", "archive"])
def test_promote_refuses_a_replica_whose_disk_is_not_mounted(box: Box, kind: str, point: str) -> None:
    root = unmount(box, kind, point)
    before = snapshot(box.root)
    done = run_cyrsync(
        "promote",
        "-C",
        box.conf,
        env={"CYRUS_USER": pwd.getpwuid(os.getuid()).pw_name, "CYRUS_GROUP": getgrgid(os.getgid()).gr_name},
    )
    (line,) = done.stderr.splitlines()
    assert (done.returncode, f"{root}: " in line, line.endswith("is it mounted?")) == (3, True, True)
    assert snapshot(box.root) == before


@pytest.mark.parametrize("point", ["empty", "gone"])
def test_inspect_names_it_and_shows_the_others(box: Box, point: str) -> None:
    root = unmount(box, "meta", point)
    done = run_cyrsync("inspect", "-C", box.conf, "--json")
    assert done.returncode == 23
    found = [json.loads(line) for line in done.stdout.splitlines()]
    wrong = {one["mailbox"]: one["error"] for one in found if one["error"]}
    assert set(wrong.values()) == {f"{root}: nothing of partition default is there: is it mounted?"}
    assert len(wrong) < len(found)
    assert done.stderr.splitlines()[-1].endswith(f"more: {next(iter(wrong.values()))}")
