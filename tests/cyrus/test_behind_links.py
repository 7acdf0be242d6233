"""A user whose mail was moved to another disk, with a link in its place: Cyrus follows it, and so does `sync -C`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.failover import FullServer, promote
from support.imapd import dump, ok
from support.servers import assert_sound, sync_server
from support.tools import requires


def mail(subject: str) -> bytes:
    return f"From: sender@example.com\r\nSubject: {subject}\r\nMessage-ID: <{subject}@x>\r\n\r\nText.\r\n".encode()


@pytest.fixture
def server(open_dir: Path) -> Iterator[FullServer]:
    """A user's directory is a link, and that of a mailbox in it another."""
    requires("rsync", "master", "imapd", "lmtpd", "ctl_cyrusdb")
    layout = {"mailbox_legacy_dirs": "yes", "hashimapspool": "yes"}
    server = FullServer(open_dir / "main", **layout, delete_mode="immediate", expunge_mode="immediate")
    try:
        server.start()
        server.create_user("joe")
        with server.login("joe") as imap:
            for name in ("INBOX.Sent", "INBOX.Old"):
                ok(imap.create(name))
                ok(imap.append(name, "", '"17-Jul-1996 02:44:25 -0700"', mail(name)))
        for number in range(120):
            server.deliver(mail(str(number)), "joe")
        server.stop()
        for name in ("j/user/joe", "j/user/joe/Sent"):
            place, disk = server.spool / name, open_dir / name.rpartition("/")[2]
            shutil.move(place, disk)
            place.symlink_to(disk)
            os.chown(place, *_owner(disk), follow_symlinks=False)
        server.start()
        yield server
    finally:
        server.stop()


def _owner(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_uid, status.st_gid


def test_a_spare_shows_what_the_server_shows(server: FullServer, open_dir: Path) -> None:
    replica = open_dir / "replica"
    replica.mkdir()

    def sync() -> dict[str, dict[str, int]]:
        report = sync_server(server.imapd_conf, "--delete", replica)
        assert (report["errors"], report["warnings"]) == ([], [])
        assert_sound(server.imapd_conf, replica)
        return report

    assert sync()["folders"]["new"] == 3
    server.deliver(mail("new"), "joe")
    with server.login("joe") as imap:
        ok(imap.select("INBOX"))
        ok(imap.uid("STORE", "1:3", "+FLAGS", "(\\Deleted)"))
        ok(imap.expunge())
        ok(imap.uid("COPY", "5", "INBOX.Sent"))
        ok(imap.unselect())
        ok(imap.rename("INBOX.Old", "INBOX.Renamed"))
    assert sync()["messages"]["send"] == 2
    with server.login("joe") as imap:
        ok(imap.delete("INBOX.Sent"))
    assert sync()["folders"]["gone"] == 1
    link = server.spool / "j/user/joe/Sent"
    assert not Path(f"{replica}{link}").exists()
    assert not [path for path in Path(f"{replica}{server.spool}").rglob("*") if path.is_symlink()]
    shown = dump(server, ["joe"])
    server.stop()
    spare = FullServer.spare(open_dir / "spare", server, replica)
    promote(spare)
    try:
        spare.start()
        assert dump(spare, ["joe"]) == shown
    finally:
        spare.stop()
