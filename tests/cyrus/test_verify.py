"""`cyrsync verify` beside a running Cyrus: it finds nothing where all is sound, and every damage where not."""

from __future__ import annotations

import imaplib
import itertools
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cyrsync.cyrus.mailbox import snapshot
from cyrsync.cyrus.server import config
from cyrsync.cyrus.server.server import Located, located
from support.imapd import CyrusServer, ok
from support.tree import run_cyrsync

LAYOUTS = {
    "name directories": {"mailbox_legacy_dirs": "yes", "hashimapspool": "yes"},
    "name directories, immediate": {"mailbox_legacy_dirs": "yes", "fulldirhash": "yes", "expunge_mode": "immediate"},
    "uniqueid directories": {"mailbox_legacy_dirs": "no"},
    "uniqueid directories, immediate": {"mailbox_legacy_dirs": "no", "expunge_mode": "immediate"},
}
USERS = ("joe", "ann")
#: Seconds that clients are at work.
BUSY = 6.0


def mail(number: int) -> bytes:
    """A message; they have some hundred sizes."""
    head = f"From: sender@example.com\r\nSubject: {number}\r\nMessage-ID: <{number}@example.com>\r\n\r\n"
    return (head + "A line of this message.\r\n" * (number % 400)).encode()


def fill(server: CyrusServer) -> None:
    """Two users, each with mail in two folders."""
    for user in USERS:
        server.create_user(user)
        with server.login(user) as imap:
            ok(imap.create("INBOX.Sent"))
            for number in range(5):
                ok(imap.append("INBOX.Sent", "", "", mail(number)))
    for number in range(5):
        server.deliver(mail(number), *USERS)


def deliver(server: CyrusServer) -> Iterator[None]:
    """Mail for both users arrives, linked to one file."""
    for number in itertools.count(100):
        server.deliver(mail(number), *USERS)
        yield


def read_and_clear(server: CyrusServer, user: str) -> Iterator[None]:
    """A client flags what is there, stores and copies, and expunges half of it."""
    with server.login(user) as imap:
        for number in itertools.count(1000):
            ok(imap.append("INBOX.Sent", "(\\Seen)", "", mail(number)))
            ok(imap.select("INBOX"))
            uids = ok(imap.uid("SEARCH", "ALL"))[0].decode().split()
            yield
            if uids:
                ok(imap.uid("STORE", ",".join(uids), "+FLAGS", "(\\Flagged $Label1)"))
                ok(imap.uid("COPY", uids[0], "INBOX.Sent"))
                ok(imap.uid("STORE", ",".join(uids[::2]), "+FLAGS", "(\\Deleted)"))
                ok(imap.expunge())
            yield


@contextmanager
def at_work(*clients: Iterator[None]) -> Iterator[None]:
    """Clients go on until the end, each in a thread. None of them may fail or stand still."""
    ended = threading.Event()
    done, failures = [0] * len(clients), []

    def work(number: int, client: Iterator[None]) -> None:
        try:
            for _ in client:
                done[number] += 1
                if ended.is_set():
                    break
        except (OSError, AssertionError, imaplib.IMAP4.error) as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=pair) for pair in enumerate(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert all(done)


def all_clients(server: CyrusServer) -> list[Iterator[None]]:
    return [deliver(server), *(read_and_clear(server, user) for user in USERS)]


def conf(server: CyrusServer) -> Path:
    return server.root / "imapd.conf"


def place(server: CyrusServer, name: str) -> Located:
    """Where a mailbox lies."""
    return next(one for one in located(config.read(str(conf(server)))) if one.mailbox.name == name.encode())


def folder(server: CyrusServer, name: str) -> Path:
    return Path(os.fsdecode(place(server, name).data))


@pytest.fixture(params=LAYOUTS.values(), ids=LAYOUTS)
def server(cyrus_server: Callable[..., CyrusServer], request: pytest.FixtureRequest) -> CyrusServer:
    made = cyrus_server("server", **request.param)
    fill(made)
    return made


def verify(server: CyrusServer, *words: str) -> subprocess.CompletedProcess[str]:
    return run_cyrsync("verify", "-C", conf(server), *words)


def test_nothing_is_found_while_clients_work(server: CyrusServer) -> None:
    runs = 0
    with at_work(*all_clients(server)):
        deadline = time.monotonic() + BUSY
        while time.monotonic() < deadline:
            for words in ((), ("--content",)):
                found = verify(server, *words)
                assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
                runs += 1
    assert runs > 1


def test_clients_go_on_while_metadata_is_read(server: CyrusServer) -> None:
    """A writer waits for the milliseconds of one read, and a reader for those of one append."""
    files = place(server, "user.joe.Sent").files
    slowest_read = slowest_append = 0.0
    stored = 0

    def append() -> Iterator[None]:
        nonlocal slowest_append, stored
        with server.login("joe") as imap:
            while True:
                began = time.monotonic()
                ok(imap.append("INBOX.Sent", "", "", mail(stored)))
                slowest_append = max(slowest_append, time.monotonic() - began)
                stored += 1
                yield

    with at_work(append()):
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            began = time.monotonic()
            found = snapshot.read(files)
            slowest_read = max(slowest_read, time.monotonic() - began)
            assert found.locked
    assert stored > 10
    # Milliseconds, really: it is enough that nobody waits in vain.
    assert max(slowest_read, slowest_append) < snapshot.PATIENCE / 2


def test_damage_is_found_by_name(server: CyrusServer) -> None:
    """The server goes on, and so does the audit of what is not damaged."""
    inbox, sent = folder(server, "user.joe"), folder(server, "user.joe.Sent")
    (sent / "1.").unlink()
    altered = bytearray((sent / "2.").read_bytes())
    altered[-5] ^= 1
    (sent / "2.").write_bytes(altered)
    (inbox / "4000.").write_bytes(mail(1))
    lost = folder(server, "user.ann.Sent")
    shutil.rmtree(lost)
    strange = folder(server, "user.ann").parent / "strange"
    shutil.copytree(sent, strange)
    expected = {
        ("missing", str(sent), (1,)),
        ("orphan", str(inbox), (4000,)),
        ("no directory", str(lost), ()),
        ("no mailbox", str(strange), ()),
    }
    for words, also in (((), set()), (("--content",), {("content", str(sent), (2,))})):
        done = verify(server, "--json", *words)
        found = json.loads(done.stdout)
        assert (done.returncode, found["exit"]) == (1, 1)
        assert {(one["kind"], one["folder"], tuple(one["uids"])) for one in found["problems"]} == expected | also
    told = verify(server).stderr.splitlines()
    assert "cyrsync: user/joe/Sent: missing: UID 1" in told
    assert "cyrsync: user/ann/Sent: no directory: user.ann.Sent lacks its directory" in told
