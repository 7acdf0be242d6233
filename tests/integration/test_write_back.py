"""The replica's disks are written while a run sends, by whoever writes there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from support.peak import far_here
from support.servers import SampleServer
from support.strace import strace_calls
from support.tree import plain_env

#: cyrsync, with another pause here and at the far end.
LAUNCHER = """\
from cyrsync.ends import bundle
from cyrsync.far import write_back
write_back.PAUSE = {pause}
bundle._START = "from cyrsync.far import write_back; write_back.PAUSE = {pause}\\n" + bundle._START
from cyrsync.cli.app import main
main()
"""


@pytest.mark.parametrize("is_far", [False, True], ids=["here", "far"])
@pytest.mark.parametrize("engine", ["walk", "index"])
def test_disks_are_written_meanwhile(engine: str, is_far: bool, tmp_path: Path) -> None:
    server = SampleServer(tmp_path / "server")
    counts = []
    for number, pause in enumerate((0.0, 3600.0)):
        replica = tmp_path / f"replica{number}"
        replica.mkdir()
        source = ["-C", str(server.conf)] if engine == "index" else [f"{server.spool}/"]
        end = ["-e", str(far_here(tmp_path)), f"host:{replica}"] if is_far else [str(replica)]
        argv = [sys.executable, "-c", LAUNCHER.format(pause=pause), "sync", *source, *end]
        calls = strace_calls(argv, env=plain_env(), output=tmp_path / "calls", calls=("syncfs",))
        counts.append(len(calls))
    often, seldom = counts
    assert often > seldom == 1
