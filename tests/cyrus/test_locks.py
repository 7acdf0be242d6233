"""A run of the index engine and a real Cyrus wait for each other's locks: clients for as long as one read takes, and
a run for no longer than its patience.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from cyrsync.cyrus.mailbox import locks, snapshot
from cyrsync.cyrus.server import config
from cyrsync.cyrus.server.server import Located, located
from support.imapd import CyrusServer, ok
from support.inside import sync_server_here
from support.servers import assert_sound, below, problems, replica_conf
from support.tools import requires, stop_process, wait_for

LAYOUTS = {
    "name directories": {"mailbox_legacy_dirs": "yes", "hashimapspool": "yes"},
    "uniqueid directories": {"mailbox_legacy_dirs": "no"},
}
MAIL = b"From: sender@example.com\r\nSubject: a message\r\n\r\nA line.\r\n"
#: Locks a whole file like Cyrus, says so, and holds it until its input ends.
HOLDER = """\
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module", params=LAYOUTS.values(), ids=LAYOUTS)
def server(request: pytest.FixtureRequest) -> Iterator[CyrusServer]:
    """One user with mail in two folders."""
    requires("master", "imapd", "lmtpd", "ctl_cyrusdb", "rsync")
    with TemporaryDirectory(prefix="cyrsync-") as name, ExitStack() as running:
        root = Path(name)
        root.chmod(0o755)  # Cyrus runs as somebody else
        started = running.enter_context(CyrusServer(root / "server", **request.param))
        started.create_user("joe")
        with started.login("joe") as imap:
            ok(imap.create("INBOX.Sent"))
            for folder in ("INBOX", "INBOX.Sent"):
                append(started, folder)
        yield started


@pytest.fixture(autouse=True)
def _no_client_waits_for_ever() -> Iterator[None]:
    socket.setdefaulttimeout(30)
    yield
    socket.setdefaulttimeout(None)


@pytest.fixture
def replica(tmp_path: Path) -> Path:
    """A prefix that is there, and empty."""
    path = tmp_path / "replica"
    path.mkdir()
    return path


def append(server: CyrusServer, folder: str) -> None:
    with server.login("joe") as imap:
        ok(imap.append(folder, "", "", MAIL))


def conf(server: CyrusServer) -> Path:
    return server.root / "imapd.conf"


def place(server: CyrusServer, name: str) -> Located:
    """Where a mailbox lies, by its internal name."""
    found = located(config.read(str(conf(server))))
    return next(one for one in found if one.mailbox.name == name.encode())


def is_waited_for(path: bytes) -> bool:
    """Whether somebody waits for a lock on this file."""
    inode = os.stat(path).st_ino
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return any("->" in words and any(word.endswith(f":{inode}") for word in words) for words in lines)


def messages_of(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("[0-9]*.")}


@dataclass
class Held:
    """One file is read, under all locks, only when something has happened meanwhile."""

    path: bytes
    meanwhile: Callable[[], None]
    times: int = 0
    read_all: Callable[[int], bytes] = field(default=locks.read_all)

    def __call__(self, descriptor: int) -> bytes:
        if os.path.samestat(os.fstat(descriptor), os.stat(self.path)):
            self.times += 1
            if self.times == 1:
                self.meanwhile()
        return self.read_all(descriptor)


def test_clients_wait_while_a_mailbox_is_read_and_go_on(
    server: CyrusServer, replica: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = place(server, "user.joe.Sent")
    before, done = messages_of(Path(os.fsdecode(sent.data))), threading.Event()

    def client() -> None:
        append(server, "INBOX.Sent")
        done.set()

    thread = threading.Thread(target=client)

    def meanwhile() -> None:
        # Those who only read are let in, and so is everybody elsewhere.
        with server.login("joe") as imap:
            ok(imap.select("INBOX.Sent", readonly=True))
            assert len(ok(imap.uid("SEARCH", "ALL"))[0].split()) == len(before)
        append(server, "INBOX")
        thread.start()
        wait_for(partial(is_waited_for, sent.files.index_path), name="the client's wait for the lock")
        assert not done.is_set()

    held = Held(sent.files.index_path, meanwhile)
    monkeypatch.setattr(locks, "read_all", held)
    try:
        report = sync_server_here(conf(server), "--delete", replica)
    finally:
        thread.join(30)
    assert (report["exit"], report["errors"], done.is_set()) == (0, [], True)
    assert held.times > 0

    copy = below(replica, Path(os.fsdecode(sent.data)))
    assert messages_of(copy) == before
    assert problems(replica_conf(conf(server), replica)) == []
    sync_server_here(conf(server), "--delete", replica)
    assert len(messages_of(copy)) == len(before) + 1
    assert_sound(conf(server), replica)


@contextmanager
def locked(path: bytes) -> Iterator[None]:
    """Another process has an exclusive lock on a file."""
    argv = [sys.executable, "-IS", "-c", HOLDER, os.fsdecode(path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"locked\n"
        try:
            yield
        finally:
            stop_process(process)


def be_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nobody longer than a moment."""
    under_locks = snapshot.under_locks
    monkeypatch.setattr(snapshot, "under_locks", lambda *words: under_locks(*words[:3], 0.2))


@pytest.mark.parametrize("which", ["index", "header", "name"])
def test_a_lock_that_is_never_let_go_of(
    server: CyrusServer, replica: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """Its mailbox is named, and stays as it is on the replica; the others are carried over."""
    be_impatient(monkeypatch)
    sent, inbox = place(server, "user.joe.Sent"), place(server, "user.joe")
    folders = [Path(os.fsdecode(one.data)) for one in (sent, inbox)]
    sync_server_here(conf(server), "--delete", replica)
    before = [messages_of(folder) for folder in folders]
    for name in ("INBOX.Sent", "INBOX"):
        append(server, name)
    after = [messages_of(folder) for folder in folders]
    assert [len(new - old) for new, old in zip(after, before, strict=True)] == [1, 1]

    files = {"index": sent.files.index_path, "header": sent.files.header_path, "name": sent.files.name_lock}
    for _ in range(2):
        with locked(files[which]):
            report = sync_server_here(conf(server), "--delete", replica, expect=(23,))
        (error,) = set(report["errors"])
        assert str(folders[0].relative_to(server.spool)) in error.partition(": ")[0]
        assert f"{os.fsdecode(files[which])}: locked by a writer" in error
        assert report["folders"]["unreadable"] > 0
        assert [messages_of(below(replica, folder)) for folder in folders] == [before[0], after[1]]

    sync_server_here(conf(server), "--delete", replica)
    assert [messages_of(below(replica, folder)) for folder in folders] == after
    assert_sound(conf(server), replica)


def test_a_lock_that_is_held_during_a_first_copy(
    server: CyrusServer, replica: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_impatient(monkeypatch)
    sent, inbox = place(server, "user.joe.Sent"), place(server, "user.joe")
    with locked(sent.files.index_path):
        report = sync_server_here(conf(server), "--delete", replica, expect=(23,))
    assert len(report["errors"]) == 1
    assert not below(replica, Path(os.fsdecode(sent.data))).exists()
    assert messages_of(below(replica, Path(os.fsdecode(inbox.data)))) == messages_of(Path(os.fsdecode(inbox.data)))
    sync_server_here(conf(server), "--delete", replica)
    assert_sound(conf(server), replica)
