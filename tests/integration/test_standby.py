"""What a full comparison says of a standby whose own imapd.conf would keep Cyrus from the mail."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.servers import SampleServer, below, sync_server


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
