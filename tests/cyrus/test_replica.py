"""A real Cyrus is driven over IMAP and LMTP; a second one, started on the replica, shows clients the same."""

from __future__ import annotations

import imaplib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from support.imapd import CyrusServer, dump, ok
from support.tree import assert_same_tree, sync

LAYOUTS = {
    "name directories": {"mailbox_legacy_dirs": "yes", "hashimapspool": "yes"},
    "name directories, immediate": {
        "mailbox_legacy_dirs": "yes",
        "fulldirhash": "yes",
        "hashimapspool": "yes",
        "expunge_mode": "immediate",
        "delete_mode": "immediate",
    },
    "uniqueid directories": {},
}
USERS = ("joe", "ann")


def mail(subject: str) -> bytes:
    """A small message."""
    head = f"From: sender@example.com\r\nTo: joe@example.com\r\nSubject: {subject}\r\n"
    return f"{head}Message-ID: <{subject}@example.com>\r\n\r\nThis is {subject}.\r\n".encode()


def append(imap: imaplib.IMAP4, folder: str, subject: str, flags: str = "") -> None:
    """Store a message that is some years old."""
    ok(imap.append(folder, f"({flags})", '"17-Jul-1996 02:44:25 -0700"', mail(subject)))


def change_messages(imap: imaplib.IMAP4, folder: str, uids: str, flags: str) -> None:
    """Set flags; messages that get \\Deleted are expunged."""
    ok(imap.select(folder))
    ok(imap.uid("STORE", uids, "+FLAGS", f"({flags})"))
    ok(imap.expunge())
    ok(imap.unselect())


def fill(server: CyrusServer) -> None:
    """Two users with folders, mail, flags, a subscription, rights and a quota."""
    for user in USERS:
        server.create_user(user, quota=50_000)
    for number in range(6):
        server.deliver(mail(f"both-{number}"), "joe", "ann")
        server.deliver(mail(f"joe-{number}"), "joe")
    with server.login("joe") as imap:
        for folder in ("Sent", "Redo", "SwapA", "SwapB", "Old", "Old.Below", "Entw&APw-rfe", '"Sent Items"'):
            name = f'"INBOX.{folder.strip(chr(34))}"'
            ok(imap.create(name))
            for number in range(3):
                append(imap, name, f"{folder}-{number}".replace('"', ""), "\\Seen $Label1")
        ok(imap.subscribe("INBOX.Sent"))
        ok(imap.setacl("INBOX.Sent", "ann", "lrs"))
        change_messages(imap, "INBOX", "2:3", "\\Flagged NonJunk")


def flag_and_expunge(server: CyrusServer) -> None:
    """What happens in any half hour."""
    server.deliver(mail("new"), "joe", "ann")
    with server.login("joe") as imap:
        change_messages(imap, "INBOX", "1,4", "\\Answered")
        change_messages(imap, "INBOX", "2,5", "\\Deleted")
        append(imap, "INBOX.Sent", "reply", "\\Seen")
        ok(imap.select("INBOX"))
        ok(imap.uid("COPY", "6", "INBOX.Sent"))
        ok(imap.uid("MOVE", "7", "INBOX.Redo"))
        ok(imap.unselect())


def move_folders(server: CyrusServer) -> None:
    """Other mailboxes appear under names that were there before."""
    with server.login("joe") as imap:
        ok(imap.rename("INBOX.SwapA", "INBOX.Aside"))
        ok(imap.rename("INBOX.SwapB", "INBOX.SwapA"))
        ok(imap.rename("INBOX.Aside", "INBOX.SwapB"))
        ok(imap.delete("INBOX.Redo"))
        ok(imap.create("INBOX.Redo"))
        append(imap, "INBOX.Redo", "redo-again")
        append(imap, "INBOX.Redo", "redo-once-more")
        ok(imap.rename("INBOX.Old", "INBOX.Renamed"))
        ok(imap.unsubscribe("INBOX.Sent"))


def clear_out(server: CyrusServer) -> None:
    """Folders and a user go; one folder comes back under the name of another."""
    with server.login("joe") as imap:
        change_messages(imap, "INBOX.SwapA", "1:*", "\\Deleted")
        ok(imap.delete("INBOX.SwapB"))
        ok(imap.rename('"INBOX.Sent Items"', "INBOX.SwapB"))
        ok(imap.delete("INBOX.Renamed.Below"))
    with server.admin() as imap:
        ok(imap.setacl("user.ann", "cyrus", "lrswipkxtecda"))
        ok(imap.delete("user.ann"))
    server.create_user("ann")
    server.deliver(mail("a new ann"), "ann")


def assert_spare_shows_the_same(primary: CyrusServer, root: Path) -> None:
    """A second Cyrus, started on the replica in `root`, answers clients as the first one does."""
    with CyrusServer.on_replica(root, primary) as spare:
        assert dump(spare, USERS) == dump(primary, USERS)


@pytest.mark.parametrize("options", LAYOUTS.values(), ids=LAYOUTS)
def test_a_spare_shows_what_the_primary_shows(
    cyrus_server: Callable[..., CyrusServer], open_dir: Path, options: dict[str, str]
) -> None:
    primary = cyrus_server("primary", **options)
    replica = open_dir / "replica" / "spool"
    replica.parent.mkdir()
    for number, happens in enumerate([fill, flag_and_expunge, move_folders, clear_out]):
        happens(primary)
        sync("--delete", f"{primary.spool}/", f"{replica}/")
        assert_same_tree(primary.spool, replica)
        copy = open_dir / f"copy{number}"
        shutil.copytree(replica, copy / "spool")
        assert_spare_shows_the_same(primary, copy)
    assert sync("--delete", f"{primary.spool}/", f"{replica}/")["rsync_runs"] == 0
    assert_spare_shows_the_same(primary, replica.parent)
