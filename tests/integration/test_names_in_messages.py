"""What is said of files has their names as people write them, and never as Python writes bytes."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import samplespool
from support.servers import SampleServer, below
from support.spool import leaves
from support.tools import requires_root
from support.tree import run_cyrsync

BYTES = re.compile(r"""\bb['"]|\[Errno """)
ODD = b"a\n\xff'\"c"  # what a mail user may call a folder


def said(words: tuple[str | Path, ...], log: Path, *, user: bool = False) -> str:
    """All that a run says, on a terminal's lines, as JSON, and in its log; it says something."""
    done = run_cyrsync(words[0], "--json", *words[1:], *(("--log", log) if words[0] == "sync" else ()), user=user)
    texts = [*done.stderr.splitlines(), *_texts(json.loads(done.stdout))]
    texts += log.read_text().splitlines() if log.exists() else []
    for text in texts:
        assert not BYTES.search(text), text
    return "\n".join(texts)


def _texts(value: Any) -> Iterator[str]:
    """Every text in what JSON says."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)


@pytest.fixture
def server(tmp_path: Path) -> SampleServer:
    (tmp_path / "replica").mkdir()
    return SampleServer(tmp_path / "server", messages=20, folder_count=4)


def standby_conf(server: SampleServer, replica: Path) -> str:
    """The replica's imapd.conf cannot be read."""
    below(replica, server.conf).mkdir(parents=True)
    return "cannot be compared"


def record(server: SampleServer, replica: Path) -> str:
    """A record of mailboxes.db is none."""
    server.database.write_bytes(server.database.read_bytes() + b"user.zz\xc3\t%(A (\n")
    return "its record in mailboxes.db cannot be read"


def state(server: SampleServer, replica: Path) -> str:
    """A row of the state is damaged."""
    run_cyrsync("sync", "-C", server.conf, replica)
    for path in Path(os.environ["CYRSYNC_STATE"]).glob("*.sqlite"):
        with closing(sqlite3.connect(path)) as database, database:
            if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'sent'").fetchone():
                database.execute("UPDATE sent SET uids = X'01ff', seen = X''")
    return "set aside"


@pytest.mark.parametrize("spoil", [standby_conf, record, state])
def test_of_a_server(spoil: Callable[[SampleServer, Path], str], server: SampleServer, tmp_path: Path) -> None:
    expected = spoil(server, tmp_path / "replica")
    assert expected in said(("sync", "-C", server.conf, tmp_path / "replica"), tmp_path / "log")


@pytest.mark.parametrize(
    ("command", "closed"),
    [*(("sync", one) for one in ("folder", "index", "message", "replica")), ("verify", "folder"), ("verify", "index")],
)
def test_of_what_cannot_be_read_or_written(command: str, closed: str, open_dir: Path) -> None:
    requires_root()
    source, replica = open_dir / "source", open_dir / "replica"
    samplespool.make(source, messages=20, folder_count=4)
    folder = leaves(source)[-1]
    folder = folder.rename(os.fsdecode(os.path.join(os.fsencode(folder.parent), ODD)))
    run_cyrsync("sync", source, replica)
    samplespool.deliver(folder, 1)
    samplespool.deliver(leaves(source)[0], 1)
    there = replica / folder.relative_to(source)
    for path in (open_dir, *open_dir.rglob("*")):
        os.chown(path, 65534, 65534)
    path = {"folder": folder, "index": folder / "cyrus.index", "replica": there}.get(closed)
    path = path or max(folder.glob("[0-9]*."))
    os.chown(path, 0, 0)
    path.chmod(0o500 if closed == "replica" else 0)
    words = (command, source, replica) if command == "sync" else (command, source)
    assert "Permission denied" in said(words, open_dir / "log", user=True)


def test_of_what_an_agent_stumbles_over() -> None:
    program = """
import io, os, sys
from cyrsync.far import agent
def stumble(request):
    raise PermissionError(13, "Permission denied", b"/spool/a\\n\\xff")
agent._SERVICES["about"] = stumble
agent.main()
"""
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, input=b'{"do": "about", "root": ""}\n', capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (1, b"/spool/a?\xff: Permission denied\n")
