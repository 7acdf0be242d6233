"""Mail of a real Cyrus is found and restored, from its own disks while it runs and from its replica."""

from __future__ import annotations

import hashlib
import json
import mailbox
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.imapd import CyrusServer, dump, ok
from support.tools import requires
from support.tree import run_cyrsync, sync

LAYOUTS = {
    "name directories": {"mailbox_legacy_dirs": "yes", "hashimapspool": "yes", "fulldirhash": "yes"},
    "uniqueid directories": {
        "virtdomains": "userid",
        "metapartition_files": "header index cache annotations",
        "archive_enabled": "yes",
    },
}
FLAGS = {"F": "\\Flagged", "R": "\\Answered", "S": "\\Seen", "D": "\\Draft", "T": "\\Deleted"}


def mail(subject: str, lines: int = 3) -> bytes:
    head = f"From: =?utf-8?q?J=C3=B6rg?= <joerg@example.com>\r\nSubject: {subject}\r\n"
    return (head + f"Message-ID: <{subject}@example.com>\r\n\r\n" + f"This is {subject}.\r\n" * lines).encode()


class Running(NamedTuple):
    """A server with mail in it, and a replica of it."""

    server: CyrusServer
    replica: Path

    @property
    def conf(self) -> Path:
        return self.server.root / "imapd.conf"


@pytest.fixture(scope="module", params=LAYOUTS.values(), ids=LAYOUTS.keys())
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    requires("master", "imapd", "lmtpd", "ctl_cyrusdb", "cyr_expire")
    root = tmp_path_factory.mktemp("cyrus")
    for above in (root, *root.parents[:2]):
        above.chmod(0o755)
    options = dict(request.param, expunge_mode="delayed", delete_mode="delayed")
    if "archive_enabled" in options:
        options["metapartition-default"] = str(root / "server" / "meta")
        options["archivepartition-default"] = str(root / "server" / "archive")
    with CyrusServer(root / "server", **options) as server:
        fill(server)
        replica = root / "replica"
        replica.mkdir()
        sync("-C", server.root / "imapd.conf", "--state", root / "state", replica)
        yield Running(server, replica)


def fill(server: CyrusServer) -> None:
    """Two folders with mail, of which some is expunged or archived, and one that is deleted."""
    server.create_user("joe")
    for number in range(4):
        server.deliver(mail(f"delivered-{number}"), "joe")
    with server.login("joe") as imap:
        for folder in ("Work", "Work.2023", "Entw&APw-rfe", "Gone"):
            ok(imap.create(f"INBOX.{folder}"))
            for number in range(5):
                flags = ("", "\\Seen $Label1", "\\Flagged NonJunk", "\\Answered \\Seen", "\\Draft")[number]
                date = f'"{number + 1:2}-Jul-1996 02:44:25 -0700"'
                ok(imap.append(f"INBOX.{folder}", f"({flags})", date, mail(f"{folder}-{number}", 1 + 200 * number)))
        ok(imap.select("INBOX.Work"))
        ok(imap.uid("STORE", "2,4", "+FLAGS", "(\\Deleted)"))
        ok(imap.expunge())
        ok(imap.unselect())
    with server.admin() as imap:
        ok(imap.setacl("user.joe.Gone", "cyrus", "lrswipkxtecda"))
        ok(imap.delete("user.joe.Gone"))
    if "archive_enabled" in server.options:
        server.tool("cyr_expire", "-E", "1", "-A", "1d")
        assert any(server.root.glob("archive/**/[0-9]*."))


def trees(running: Running) -> list[tuple[Path, Path]]:
    """Where the same mail is: on the server's own disks, and on the replica."""
    return [(Path("/"), running.conf), (running.replica, running.conf)]


def seen_by_client(server: CyrusServer, folder: str) -> list[tuple[str, str, frozenset[str]]]:
    """SHA-1, date and flags of a folder's messages."""
    found = dump(server, ["joe"])["joe"][f'"{folder}"']["MESSAGES"].values()
    return sorted((one["SHA-1"], one["INTERNALDATE"], frozenset(one["FLAGS"].split())) for one in found)


def in_maildir(folder: Path) -> list[tuple[str, str, frozenset[str]]]:
    keywords = folder / "dovecot-keywords"
    lines = keywords.read_text().splitlines() if keywords.exists() else []
    names = {**FLAGS, **{chr(97 + int(line.split()[0])): line.split()[1] for line in lines}}
    return sorted(
        (
            hashlib.sha1(path.read_bytes()).hexdigest(),
            time.strftime("%e-%b-%Y %H:%M:%S +0000", time.gmtime(path.stat().st_mtime)),
            frozenset(names[letter] for letter in path.name.partition(":2,")[2]),
        )
        for path in (folder / "cur").iterdir()
    )


def restore(*words: str | Path) -> dict[str, Any]:
    done = run_cyrsync("restore", "--json", *words)
    assert (done.returncode, done.stderr) == (0, ""), done
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def history(*words: str | Path) -> list[dict[str, Any]]:
    done = run_cyrsync("history", "--json", *words)
    assert (done.returncode, done.stderr) == (0, ""), done
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_user_is_restored_as_clients_see_it(running: Running, tmp_path: Path) -> None:
    for number, (tree, conf) in enumerate(trees(running)):
        mail = tmp_path / str(number)
        restore(tree, "-C", conf, "--user", "joe", "--to", mail)
        for folder in ("", "Work", "Work.2023", "Entw&APw-rfe"):
            name = f"INBOX.{folder}".rstrip(".")
            assert in_maildir(mail / f".{folder}".rstrip(".")) == seen_by_client(running.server, name)


def test_expunged_messages_and_deleted_folders(running: Running, tmp_path: Path) -> None:
    for number, (tree, conf) in enumerate(trees(running)):
        found = history(tree, "-C", conf, "--user", "joe", "--deleted")
        (gone,) = (one for one in found if "messages" in one)
        assert (gone["former_name"], gone["messages"]) == ("user.joe.Gone", 5)
        expunged = {one["subject"]: one for one in found if "uid" in one}
        assert expunged.keys() == {"Work-1", "Work-3"}
        for subject, one in expunged.items():
            assert one["from"] == "Jörg <joerg@example.com>" and one["message_id"] == f"<{subject}@example.com>"
            mail = tmp_path / f"{number}-{subject}"
            restore(tree, "-C", conf, "--message", one["guid"], "--to", mail)
            ((digest, _, _),) = in_maildir(mail)
            assert digest == one["guid"]
        restore(tree, "-C", conf, gone["name"], "--to", tmp_path / f"{number}-gone")
        assert len(in_maildir(tmp_path / f"{number}-gone")) == 5


def test_what_is_found_is_what_is_there(running: Running) -> None:
    for tree, conf in trees(running):
        for text in ("JÖRG", "work-2023", "<Work.2023-3@example.com>"):
            found = {one["subject"] for one in history(tree, "-C", conf, "--user", "joe", "--message", text)}
            assert (
                found
                == {
                    "JÖRG": {one["subject"] for one in history(tree, "-C", conf, "--user", "joe", "--message", "")},
                    "work-2023": set(),
                    "<Work.2023-3@example.com>": {"Work.2023-3"},
                }[text]
            )


def test_a_mailboxs_directory_goes_back_into_its_place(running: Running, tmp_path: Path) -> None:
    """On a server that is stopped; then clients see no difference."""
    if "archive_enabled" in running.server.options:
        pytest.skip("of a mailbox in one directory")
    before = dump(running.server, ["joe"])
    restore(running.replica, "-C", running.conf, "user.joe.Work", "--as", "cyrus", "--to", tmp_path / "work")
    running.server.stop()
    place = next(running.server.spool.glob("?/user/joe/Work"))
    below = place / "2023"
    below.rename(tmp_path / "2023")
    shutil.rmtree(place)
    shutil.copytree(tmp_path / "work", place, ignore=shutil.ignore_patterns(".cyrsync*"))
    (tmp_path / "2023").rename(below)
    running.server._own(place)
    running.server.start()
    assert dump(running.server, ["joe"]) == before
    with running.server.login("joe") as imap:
        ok(imap.append("INBOX.Work", "", "", mail("new")))
        (data,) = ok(imap.status("INBOX.Work", "(UIDNEXT)"))
    assert re.search(rb"UIDNEXT 7", data)


def test_python_reads_the_maildir(running: Running, tmp_path: Path) -> None:
    restore(running.replica, "-C", running.conf, "--user", "joe", "--to", tmp_path / "mail")
    read = mailbox.Maildir(tmp_path / "mail", create=False)
    assert sorted(read.list_folders()) == ["Entw&APw-rfe", "Work", "Work.2023"]
    assert {str(one["subject"]) for one in read.get_folder("Work.2023")} == {f"Work.2023-{n}" for n in range(5)}
    assert os.stat(tmp_path / "mail").st_mode & 0o077 == 0
