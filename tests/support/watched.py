"""A real Cyrus with a sync log, and the replica that a watcher keeps of it."""

from __future__ import annotations

import hashlib
import imaplib
import json
import os
import random
from pathlib import Path
from typing import Any

from support.imapd import Client, CyrusServer
from support.tools import free_port
from support.tree import messages, run_cyrsync
from support.watcher import SETTINGS

NAME = {"mailbox_legacy_dirs": "yes", "hashimapspool": "yes", "delete_mode": "immediate"}
UNIQUEID = {"mailbox_legacy_dirs": "no"}


def mail(subject: str) -> bytes:
    head = f"From: sender@example.com\r\nSubject: {subject}\r\nMessage-ID: <{subject}@example.com>\r\n"
    return f"{head}\r\nThis is {subject}.\r\n".encode()


class Box:
    """A server with two partitions, its replica, and ways in that are not logged.

    One is for clients; by the other one, users arrive by replication.
    """

    def __init__(self, root: Path, **options: str) -> None:
        self.root = root
        second = root / "server/second"
        second.mkdir(parents=True)
        more = {"partition-second": str(second), "allowusermoves": "yes"}
        self.server = CyrusServer(root / "server", **SETTINGS, **more, **options)
        self.spools = [self.server.spool, second]
        self.conf = self.server.root / "imapd.conf"
        self.log = self.server.conf / "sync/cyrsync/log"
        self._quiet_port = free_port()
        quiet, arriving = self.conf.with_name("quiet.conf"), self.conf.with_name("arriving.conf")
        self.sync_port = free_port()
        text = self.conf.read_text()
        quiet.write_text(text.replace("sync_log: yes", "sync_log: no"))
        # What sync_server does is logged for such channels only.
        arriving.write_text(text.replace("sync_log_unsuppressable_channels: squatter cyrsync\n", ""))
        services = self.server.root / "cyrus.conf"
        lines = f'  quiet cmd="imapd -C {quiet} -U 30" listen="127.0.0.1:{self._quiet_port}"\n'
        lines += f'  arriving cmd="sync_server -C {arriving}" listen="127.0.0.1:{self.sync_port}"\n'
        services.write_text(services.read_text().replace("SERVICES {\n", "SERVICES {\n" + lines))
        self.replica = root / "replica"
        self.replica.mkdir()
        self.server.start()
        self.server.create_user("first")

    @property
    def spool(self) -> Path:
        return Path(f"{self.replica}{self.server.spool}")

    def quiet(self, user: str) -> imaplib.IMAP4:
        imap = Client("127.0.0.1", self._quiet_port)
        imap.login(user, "any")
        return imap

    def bodies(self, root: Path) -> set[bytes]:
        """Digests of the messages below a spool, of those that clients may see or not."""
        return {hashlib.sha1(content).digest() for content in messages(root).values()}

    def is_there(self, subject: str) -> bool:
        return any(f"Subject: {subject}\r\n".encode() in content for content in messages(self.spool).values())

    def has_all(self) -> bool:
        return self.bodies(self.server.spool) <= self.bodies(self.spool)

    def is_equal(self) -> bool:
        """Whether the replica has the messages that the server has, under the same names, and no others."""
        return all(messages(spool) == messages(Path(f"{self.replica}{spool}")) for spool in self.spools)

    def assert_equal(self, *words: str | Path) -> None:
        """A run finds nothing but what was changed just now, and verify nothing at all."""
        where = words or (self.replica,)
        done = run_cyrsync("sync", "-C", self.conf, "--delete", "--full", *where)
        assert (done.returncode, done.stderr) == (0, "")
        for spool in self.spools:
            if any(spool.rglob("cyrus.index")):
                done = run_cyrsync("verify", "--json", f"{spool}/", f"{self.replica}{spool}")
                found = json.loads(done.stdout)["problems"]
                assert not [problem for problem in found if not _is_empty_directory(problem, spool)], done
        assert self.is_equal()


def _is_empty_directory(problem: dict[str, Any], spool: Path) -> bool:
    """Whether the source alone has a directory without a file in it: Cyrus leaves those, and no mailbox needs them."""
    folder = spool / problem["folder"]
    return problem["kind"] == "lacks folder" and not any(path.is_file() for path in folder.rglob("*"))


def user(box: Box, name: str) -> str:
    """Create a user that no other test has."""
    name = f"{name}{len(os.listdir(box.root))}{random.randrange(10**6)}"
    box.server.create_user(name)
    return name
