"""A far end that says nothing is given up, and one that is at work is not."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import samplespool
from cyrsync.ends.link import Link
from cyrsync.errors import ConnectionFailed
from support.sshd import Sshd
from support.tree import assert_same_tree, start_cyrsync

TIMEOUT = 30
#: Nobody has to wait here for as long as an agent on a busy host may need.
SHORT = "from cyrsync.cli import settings; settings.LEAST_SILENCE = 1.0"
#: What the agent is made to do before it answers for the first time.
SLOW = """
from cyrsync.ends import bundle
bundle._START = '''
import time
from cyrsync.far import agent, output
output._BEAT = 0.1
def slow(request, resolve=agent._resolve):
    end = time.monotonic() + 4
    while time.monotonic() < end:
        {}
    resolve(request)
agent._SERVICES["resolve"] = slow
''' + bundle._START
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    samplespool.make(tmp_path / "source", messages=30, folder_count=4)
    return tmp_path / "source"


def shell(path: Path, text: str) -> str:
    """A remote shell that does something else than it is told."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def deaf_daemon() -> Iterator[str]:
    """A daemon that lets everybody in, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"rsync://127.0.0.1:{server.getsockname()[1]}/module/"


@pytest.mark.parametrize("what", ["cat >/dev/null", "sleep 60"], ids=["reads", "does not read"])
@pytest.mark.parametrize("command", [("sync", "--timeout", "1", "--retries", "0"), ("rsync", "-a", "--timeout=1")])
def test_a_far_end_that_hangs(source: Path, tmp_path: Path, command: tuple[str, ...], what: str) -> None:
    rsh = shell(tmp_path / "rsh", f"echo cyrsync-python; {what}; :")
    with start_cyrsync(*command, "-e", rsh, f"{source}/", "host:/replica/", first=SHORT) as run:
        done = run.complete(timeout=30)
    assert done.returncode == TIMEOUT, done.stderr
    assert done.stderr.endswith("host: the connection failed: it has sent nothing for 1 seconds\n")


@pytest.mark.parametrize("command", [("sync", "--timeout", "1", "--retries", "0"), ("rsync", "-a", "--timeout=1")])
def test_a_daemon_that_hangs(source: Path, deaf_daemon: str, command: tuple[str, ...]) -> None:
    with start_cyrsync(*command, f"{source}/", deaf_daemon, first=SHORT) as run:
        done = run.complete(timeout=30)
    assert done.returncode == TIMEOUT, done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_agent_at_work_is_not_silent(sshd: Sshd, source: Path, tmp_path: Path) -> None:
    """For four seconds it has nothing to say."""
    words = ("sync", "--timeout", "1", "--retries", "0", "-e", sshd.rsh, f"{source}/", sshd.at(f"{tmp_path}/replica/"))
    with start_cyrsync(*words, first=SHORT + SLOW.format("pass")) as run:
        done = run.complete(timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert_same_tree(source, tmp_path / "replica")


def test_an_agent_that_waits_for_its_disk_is(sshd: Sshd, source: Path, tmp_path: Path) -> None:
    words = ("sync", "--timeout", "1", "--retries", "0", "-e", sshd.rsh, f"{source}/", sshd.at(f"{tmp_path}/replica/"))
    with start_cyrsync(*words, first=SHORT + SLOW.format("time.sleep(30)")) as run:
        done = run.complete(timeout=60)
    assert done.returncode == TIMEOUT, done.stderr


#: Says much, and only then listens.
LOUD = """
import sys
sys.stdout.buffer.write(b" ".join(b"%d" % number for number in range({0} // 5)) + b"\\n")
sys.stdout.buffer.flush()
sys.stdout.buffer.write(b"%d\\n" % len(sys.stdin.buffer.read({0})))
"""


@pytest.mark.parametrize("send", [Link.send, Link.send_later])
def test_both_talk_at_once(send: Callable[[Link, bytes], None]) -> None:
    size = 5_000_000
    link = Link([sys.executable, "-c", LOUD.format(size)], "far", 30.0)
    try:
        send(link, bytes(size))
        assert link.output.readline() == b" ".join(b"%d" % number for number in range(size // 5)) + b"\n"
        assert link.output.readline() == b"%d\n" % size
        assert link.output.read() == b""
    finally:
        link.close()
    with pytest.raises(ConnectionFailed):
        link.send(b"more")


def test_what_there_is_no_room_for_waits() -> None:
    """Nobody has to, up to a limit."""
    size = 48 << 20
    link = Link([sys.executable, "-c", f"import sys; print(len(sys.stdin.buffer.read({size})))"], "far", 30.0)
    try:
        link.process.send_signal(signal.SIGSTOP)
        link.send_later(bytes(8 << 20))
        link.push()
        link.process.send_signal(signal.SIGCONT)
        for _ in range(40):
            link.send_later(bytes(1 << 20))
        assert link.output.readline() == b"%d\n" % size
    finally:
        link.close()


def test_who_is_gone_is_noticed_while_something_waits() -> None:
    link = Link([sys.executable, "-c", "import sys; sys.stdin.buffer.read(100)"], "far", 30.0)
    try:
        link.send_later(bytes(8 << 20))
        link.process.wait()
        with pytest.raises(ConnectionFailed):
            link.push()
    finally:
        link.close()
