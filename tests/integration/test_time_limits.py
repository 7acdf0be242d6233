"""A far end that says nothing is given up, and one that is at work is not."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import samplespool
from cyrsync.ends.agent_tree import AgentTree
from cyrsync.ends.link import Link
from cyrsync.ends.posix_tree import PosixTree
from cyrsync.errors import ConnectionFailed
from cyrsync.far.agent import GREETING
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
    end = time.monotonic() + {seconds}
    while time.monotonic() < end:
        {work}
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
    with start_cyrsync(*words, first=SHORT + SLOW.format(work="pass", seconds=4)) as run:
        done = run.complete(timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert_same_tree(source, tmp_path / "replica")


def test_an_agent_that_waits_for_its_disk_is(sshd: Sshd, source: Path, tmp_path: Path) -> None:
    words = ("sync", "--timeout", "1", "--retries", "0", "-e", sshd.rsh, f"{source}/", sshd.at(f"{tmp_path}/replica/"))
    with start_cyrsync(*words, first=SHORT + SLOW.format(work="time.sleep(30)", seconds=4)) as run:
        done = run.complete(timeout=60)
    assert done.returncode == TIMEOUT, done.stderr


#: One that works for ever, or says so, is given up sooner than a silent one: on a busy machine none may say so for a
#: second.
SOON = SHORT + "; from cyrsync.ends import link; link.AT_WORK = 0.7"


def test_an_agent_that_works_for_ever_is(sshd: Sshd, source: Path, tmp_path: Path) -> None:
    words = ("sync", "--timeout", "3", "--retries", "0", "-e", sshd.rsh, f"{source}/", sshd.at(f"{tmp_path}/replica/"))
    # Each turn takes more computing time than shows that it works, on a fast machine too; nobody ends it but itself.
    slow = SLOW.format(work="sum(range(300_000)); time.sleep(0.02)", seconds=15)
    with start_cyrsync(*words, first=SOON + slow) as run:
        done = run.complete(timeout=60)
    assert done.returncode == TIMEOUT, done.stderr
    assert done.stderr.endswith("the connection failed: for 2 seconds it has sent only signs of life\n")


#: Says hello, and then every moment what stands for nothing; listens only if it is told to.
BEATS = """
import sys, threading, time, zlib
out = sys.stdout.buffer
{listen}
out.write({hello})
while True:
    out.write({beat})
    out.flush()
    time.sleep(0.05)
"""
LISTEN = "threading.Thread(target=sys.stdin.buffer.read, daemon=True).start()"
AGENT = BEATS.format(listen="{listen}", hello=f"{GREETING!r} + zlib.compress(b'')[:2]", beat="b'\\0\\0\\0\\xff\\xff'")
SHELL = BEATS.format(listen=LISTEN, hello="b'\\x1f\\x8b\\x08' + bytes(7)", beat="b'\\0\\0\\0\\xff\\xff'")


@pytest.fixture
def far_end(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Link]]:
    monkeypatch.setattr("cyrsync.ends.link.AT_WORK", 0.4)
    with ExitStack() as stack:

        def start(program: str) -> Link:
            link = Link([sys.executable, "-c", program], "far", 3.0)
            stack.callback(link.close)
            return link

        yield start


def test_an_agent_that_only_says_that_it_works(far_end: Callable[[str], Link]) -> None:
    link = far_end(AGENT.format(listen=LISTEN))
    with pytest.raises(ConnectionFailed, match="for 1 seconds it has sent only signs of life") as raised:
        AgentTree(lambda: link, compressed=True).about()
    assert raised.value.code == TIMEOUT


def test_and_listens_to_nothing(far_end: Callable[[str], Link]) -> None:
    link = far_end(AGENT.format(listen=""))
    with pytest.raises(ConnectionFailed, match="for 1 seconds it has sent only signs of life"):
        link.send(bytes(8 << 20))


def test_a_shell_that_only_says_that_it_works(far_end: Callable[[str], Link]) -> None:
    tree = PosixTree(far_end(SHELL))
    with pytest.raises(ConnectionFailed, match="for 1 seconds it has sent only signs of life"):
        list(tree.walk(b"/r", frozenset()))


def test_who_listens_slowly_is_no_such(far_end: Callable[[str], Link]) -> None:
    slowly = "def read():\n    while sys.stdin.buffer.read1(1 << 16): time.sleep(0.1)\n"
    link = far_end(AGENT.format(listen=slowly + "threading.Thread(target=read, daemon=True).start()"))
    link.send(bytes(3 << 20))


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
