"""What becomes of a run whose connection is lost and tried again."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.servers import SampleServer
from support.tree import sync


@pytest.fixture
def rsh(tmp_path: Path) -> str:
    """A remote shell to this machine that fails the first time."""
    path = tmp_path / "rsh"
    path.write_text(f'#!/bin/sh\nmkdir {tmp_path}/failed 2>/dev/null && exit 255\nshift\nexec sh -c "$*"\n')
    path.chmod(0o755)
    return str(path)


def test_warnings_of_the_first_try_are_kept(tmp_path: Path, state_dir: Path, rsh: str) -> None:
    server, replica = SampleServer(tmp_path / "server", messages=30, folder_count=4), tmp_path / "replica"
    replica.mkdir()
    words = ("-C", server.conf, "-e", rsh, f"host:{replica}")
    (tmp_path / "failed").mkdir()
    sync(*words)
    (tmp_path / "failed").rmdir()
    (state,) = state_dir.glob("[0-9a-f]*.sqlite")
    state.write_bytes(b"no database" * 1000)
    report = sync(*words)
    assert [warning for warning in report["warnings"] if "set aside" in warning]
    assert (tmp_path / "failed").exists()


@pytest.mark.parametrize("engine", ["walk", "index"])
def test_a_state_below_a_path_that_ssh_would_take_apart(
    tmp_path: Path, request: pytest.FixtureRequest, engine: str
) -> None:
    sshd = request.getfixturevalue("sshd")
    server = SampleServer(tmp_path / "a server's own", messages=30, folder_count=4)
    replica = tmp_path / 'a "replica" of % ours'
    replica.mkdir()
    words = ("-C", server.conf) if engine == "index" else (f"{server.spool}/",)
    before = sshd.connections()
    report = sync("--state", tmp_path / 'a "state" of %h', *words, "-e", sshd.rsh, sshd.at(replica))
    assert report["messages"]["send"] > 0
    assert sshd.connections() - before == 1
