"""What is made of a tree that cyrsync has not written to yet, and what is said of the imapd.conf beside it."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

import samplespool
from support.servers import SampleServer, below, problems, replica_conf, sync_server
from support.spool import leaves


@pytest.fixture
def server(tmp_path: Path) -> SampleServer:
    return SampleServer(tmp_path / "server")


@pytest.fixture
def conf(server: SampleServer, replica: Path) -> Path:
    """The standby's own imapd.conf, like the source's."""
    conf = below(replica, server.conf)
    conf.parent.mkdir(parents=True)
    shutil.copy(server.conf, conf)
    return conf


@pytest.fixture
def replica(tmp_path: Path) -> Path:
    replica = tmp_path / "replica"
    replica.mkdir()
    return replica


def test_one_that_fits_is_not_mentioned(server: SampleServer, replica: Path, conf: Path) -> None:
    conf.write_text(conf.read_text() + "altnamespace: no\n")
    assert sync_server(server.conf, replica)["warnings"] == []


def test_one_that_does_not_is_told_of_when_all_is_compared(server: SampleServer, replica: Path, conf: Path) -> None:
    text = conf.read_text()
    conf.write_text(text.replace("hashimapspool: yes", "hashimapspool: no"))
    assert conf.read_text() != text
    (warning,) = sync_server(server.conf, replica)["warnings"]
    assert warning.startswith(f"{conf}: hashimapspool: on on the source, off there: ")
    assert sync_server(server.conf, replica)["warnings"] == []
    assert sync_server(server.conf, "--full", "--no-config", replica)["warnings"] == []
    assert sync_server(server.conf, "--full", replica)["warnings"] == [warning]


def test_one_that_is_nonsense_is_told_of(server: SampleServer, replica: Path, conf: Path) -> None:
    conf.write_text("nonsense\n")
    (warning,) = sync_server(server.conf, replica)["warnings"]
    assert "cannot be compared" in warning


def test_mail_of_another_server_is_not_taken_for_the_sources(server: SampleServer, replica: Path) -> None:
    """A master that was replaced has messages of its own, which nobody has told it not to take."""
    folder = leaves(server.spool)[-1]
    there = below(replica, server.spool)
    shutil.copytree(server.spool, there, copy_function=shutil.copy2)
    theirs = samplespool.deliver(below(replica, folder), 2, rng=random.Random(1), size=3000)
    ours = samplespool.deliver(folder, 3, rng=random.Random(2), size=5000)
    assert set(theirs) < set(ours)
    sync_server(server.conf, "--delete", replica)
    for uid in ours:
        assert (below(replica, folder) / f"{uid}.").read_bytes() == (folder / f"{uid}.").read_bytes()
    assert problems(replica_conf(server.conf, replica)) == []
