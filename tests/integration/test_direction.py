"""A replica is no source, and one that was promoted no destination, by whatever way it is reached."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import samplespool
from cyrsync.far import owner_file
from cyrsync.far.owner_file import OwnerFile
from support.servers import SampleServer
from support.tree import run_cyrsync, snapshot, sync

REFUSED, UNUSABLE = 4, 3
REPLICA = OwnerFile("abc", "master:/etc/imapd.conf", 7, 1e9, 1e9, 1e9)
PROMOTED = REPLICA._replace(promoted="2026-01-01T00:00:00+00:00")


class Far:
    """A spool, and the words that lead to it."""

    def __init__(self, tree: Path, *words: str) -> None:
        self.tree = tree
        self.words = words


@pytest.fixture(params=["here", "sshd", "sshd_without_python", "daemon"])
def far(request: pytest.FixtureRequest, tmp_path: Path) -> Far:
    if request.param == "here":
        found = Far(tmp_path / "far", f"{tmp_path}/far/")
    elif request.param == "daemon":
        server = request.getfixturevalue("daemon")
        found = Far(server.directory("rw") / "far", server.url("rw", "far/"))
    else:
        server = request.getfixturevalue(request.param)
        found = Far(tmp_path / "far", "-e", server.rsh, server.at(f"{tmp_path}/far/"))
    samplespool.make(found.tree, messages=30, folder_count=4)
    return found


def test_a_replica_as_a_source(far: Far, tmp_path: Path) -> None:
    *rsh, source = far.words
    replica = tmp_path / "replica"
    owner_file.write(os.fsencode(far.tree), REPLICA)
    for line in (("sync", *rsh, source, replica), ("rsync", "-a", *rsh, source, replica)):
        done = run_cyrsync(*line)
        assert done.returncode == REFUSED, done.stderr
        assert "it is the replica of master:/etc/imapd.conf, and was not promoted" in done.stderr
        assert not replica.exists()
    sync("--from-replica", *rsh, source, replica)
    assert len(list(replica.rglob("*."))) == 30
    owner_file.write(os.fsencode(far.tree), PROMOTED)  # a server like any other
    sync(*rsh, source, replica)


@pytest.mark.parametrize("number", [0, 1])
def test_a_replica_as_a_server(tmp_path: Path, number: int) -> None:
    """Whichever of its directories says so: nothing of it is sent."""
    server, replica = SampleServer(tmp_path / "server", messages=30, folder_count=4), tmp_path / "replica"
    replica.mkdir()
    root = (server.spool, server.root / "conf")[number]
    owner_file.write(bytes(root), REPLICA)
    done = run_cyrsync("sync", "-C", server.conf, replica)
    assert done.returncode == REFUSED, done.stderr
    assert "it is the replica of master:/etc/imapd.conf, and was not promoted" in done.stderr
    assert not list(replica.iterdir())
    sync("-C", server.conf, "--from-replica", replica)
    assert len(list(replica.rglob("[0-9]*."))) == 30
    owner_file.write(bytes(root), PROMOTED)
    sync("-C", server.conf, "--full", replica)


def test_a_promoted_replica_as_a_destination(far: Far, tmp_path: Path) -> None:
    *rsh, replica = far.words
    source = tmp_path / "source"
    samplespool.make(source, messages=20, folder_count=3, seed=2)
    owner_file.write(os.fsencode(far.tree), PROMOTED)
    before = snapshot(far.tree)
    for line in (("sync", *rsh, f"{source}/", replica), ("rsync", "-a", *rsh, f"{source}/", replica)):
        done = run_cyrsync(*line)
        assert done.returncode == REFUSED, done.stderr
        assert "it was promoted at" in done.stderr
    assert snapshot(far.tree) == before
    sync("--overwrite-replica", *rsh, f"{source}/", replica)
    assert snapshot(far.tree) != before


def test_a_damaged_owner_file(far: Far, tmp_path: Path) -> None:
    *rsh, replica = far.words
    source = tmp_path / "source"
    samplespool.make(source, messages=20, folder_count=3, seed=2)
    (far.tree / ".cyrsync-replica").write_bytes(b"\xff" * 100_000)
    before = snapshot(far.tree)
    done = run_cyrsync("sync", *rsh, f"{source}/", replica)
    assert (done.returncode, snapshot(far.tree)) == (UNUSABLE, before)
    assert "damaged" in done.stderr
