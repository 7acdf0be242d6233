"""Clients of a real Cyrus move and copy mail, and it delivers one mail to several users: the replica links it."""

from __future__ import annotations

import imaplib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cyrsync.cyrus.server import config
from cyrsync.cyrus.server.server import located
from support.imapd import CyrusServer, ok
from support.inside import sync_server_here
from support.servers import assert_sound, below
from support.tree import assert_same_tree

LAYOUTS = {
    "name directories": {"mailbox_legacy_dirs": "yes", "hashimapspool": "yes"},
    "uniqueid directories": {"deletedprefix": "GONE"},
}
MOVES = [("COPY", "delayed"), *(("MOVE", mode) for mode in ("delayed", "semidelayed", "immediate"))]
SIZE, COUNT = 200_000, 10


class Synced:
    """A server and its replica."""

    def __init__(self, server: CyrusServer, replica: Path) -> None:
        self.server = server
        self.replica = replica
        replica.mkdir()

    def sync(self, *words: str) -> dict[str, Any]:
        time.sleep(0.1)  # what has changed just now is looked at once more
        return sync_server_here(self.server.root / "imapd.conf", *words, self.replica)

    def assert_same(self) -> None:
        """The replica is what it should be, after the deletions too, and a run has nothing to do."""
        self.sync("--delete")
        assert_same_tree(self.server.spool, below(self.replica, self.server.spool))
        assert_sound(self.server.root / "imapd.conf", self.replica)
        assert self.sync("--delete")["messages"]["send"] == 0

    def message(self, mailbox: str, number: int) -> Path:
        """Where a message is on the replica, by the mailbox's name and the UID."""
        found = located(config.read(str(self.server.root / "imapd.conf")))
        place = next(one for one in found if one.mailbox.name == mailbox.encode())
        return below(self.replica, Path(os.fsdecode(place.data))) / f"{number}."


@pytest.fixture(params=LAYOUTS.values(), ids=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> dict[str, str]:
    options: dict[str, str] = request.param
    return options


def mail(number: int) -> bytes:
    head = f"From: sender@example.com\r\nTo: joe@example.com\r\nSubject: {number}\r\nMessage-ID: <{number}@x>\r\n\r\n"
    return head.encode() + b"A line of seventy characters or so, as there are many in large mails.\r\n" * (SIZE // 71)


def fill(server: CyrusServer, folder: str) -> None:
    with server.login("joe") as imap:
        for number in range(COUNT):
            ok(imap.append(folder, "", "", mail(number)))


def to(imap: imaplib.IMAP4, command: str, folder: str, other: str) -> None:
    ok(imap.select(folder))
    ok(imap.uid(command, "1:*", other))
    ok(imap.unselect())


@pytest.mark.parametrize(("command", "mode"), MOVES)
def test_mail_is_moved_and_copied(
    cyrus_server: Callable[..., CyrusServer], open_dir: Path, layout: dict[str, str], mode: str, command: str
) -> None:
    """To a mailbox that was there and to a new one, while other mail arrives; one that was emptied is deleted."""
    server = cyrus_server("server", **layout, expunge_mode=mode)
    synced = Synced(server, open_dir / "replica")
    server.create_user("joe")
    with server.login("joe") as imap:
        for folder in ("INBOX.Old", "INBOX.Sent"):
            ok(imap.create(folder))
            fill(server, folder)
    synced.sync()
    synced.assert_same()
    with server.login("joe") as imap:
        ok(imap.create("INBOX.New"))
        to(imap, command, "INBOX.Sent", "INBOX.New")
        to(imap, command, "INBOX.Old", "INBOX")
        for folder in ("INBOX", "INBOX.Sent"):
            ok(imap.append(folder, "", "", b"Subject: new\r\n\r\nsmall\r\n"))
        if command == "MOVE":
            ok(imap.delete("INBOX.Old"))
    report = synced.sync()
    assert report["messages"]["linked"] == 2 * COUNT
    assert report["bytes_sent"] < SIZE
    synced.assert_same()


def test_a_mail_to_several_users(
    cyrus_server: Callable[..., CyrusServer], open_dir: Path, layout: dict[str, str]
) -> None:
    server = cyrus_server("server", **layout)
    synced = Synced(server, open_dir / "replica")
    users = ["joe", "ann", "bob"]
    for user in users:
        server.create_user(user)
    for _ in range(2):  # a first copy, and what has come since
        for number in range(COUNT):
            server.deliver(mail(number), *users)
        report = synced.sync()
        assert report["messages"]["linked"] == 2 * COUNT
        assert report["bytes_sent"] < (COUNT + 1) * SIZE
        assert synced.message("user.joe", 1).samefile(synced.message("user.ann", 1))
        synced.assert_same()
