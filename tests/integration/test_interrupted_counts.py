"""What a run reports that was interrupted: what has arrived, and what the next one has left to do."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

import samplespool
from support.servers import SampleServer, below
from support.spool import leaves
from support.tools import wait_for
from support.tree import assert_same_tree, cyrsync_argv, messages, plain_env, sync

#: Messages, and the bytes of each: they take a few seconds.
COUNT, SIZE = 240, 20_000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("engine", ["walk", "index"])
def test_what_has_arrived_is_counted(engine: str, number: signal.Signals, tmp_path: Path) -> None:
    server = SampleServer(tmp_path / "server", messages=0, folder_count=6)
    for folder in leaves(server.spool):
        samplespool.deliver(folder, COUNT // len(leaves(server.spool)), size=SIZE)
    there = tmp_path / "replica"
    there.mkdir()
    replica = below(there, server.spool) if engine == "index" else there
    words = ["--delete", f"{server.spool}/", f"{there}/"]
    if engine == "index":
        words = ["--delete", "--no-config", "-C", str(server.conf), str(there)]
    total = len(messages(server.spool))
    argv = cyrsync_argv("sync", "--json", "--bwlimit=1m", *words)
    with subprocess.Popen(
        argv,
        env=plain_env(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        wait_for(lambda: len(messages(there)) > total // 3, seconds=60)
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
    found = json.loads(out)
    files = found["files"]
    assert found["exit"] == process.returncode == 20
    assert files["planned"] == files["sent"] + files["failed"] + files["vanished"]
    assert files["failed"] > 0
    arrived = len(messages(there))
    assert files["sent"] <= arrived + 20  # and metadata
    if engine == "walk":
        assert files["sent"] > total // 4
    report = sync(*words)
    counts = report["messages"]
    assert counts["seen"] == total == counts["present"] + counts["send"]
    assert report["files"]["planned"] == report["files"]["sent"]
    assert_same_tree(server.spool, replica, dir_mtimes=False)
    assert sync(*words)["messages"]["send"] == 0
