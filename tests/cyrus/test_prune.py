"""The history of a real Cyrus is pruned, one user is held, one forgotten: what is kept shows what it showed."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cyrsync.history import contents, reading
from cyrsync.history.as_of import tree_as_of
from cyrsync.history.choose import Request
from cyrsync.history.tree import open_tree
from support.imapd import CyrusServer, folders, ok
from support.inside import sync_server_here
from support.tree import run_cyrsync

LAYOUTS = {
    "uniqueid directories": {"mailbox_legacy_dirs": "no", "expunge_mode": "immediate", "delete_mode": "immediate"},
    "name directories": {"mailbox_legacy_dirs": "yes", "hashimapspool": "yes"},
}
USERS = ("joe", "ann")
TICK = 0.05
#: By mailbox, the SHA-1 of each message, by UID.
Seen = dict[str, dict[int, str]]


class Past:
    """A server that is used, and the replica that keeps its past; the moments after each run."""

    def __init__(self, server: CyrusServer, top: Path, seed: int) -> None:
        self.server, self.top, self.rng, self.number = server, top, random.Random(seed), 0
        self.conf = server.root / "imapd.conf"
        top.mkdir()
        for user in USERS:
            server.create_user(user, quota=10000)
            with server.login(user) as imap:
                ok(imap.create("INBOX.Work"))
                for other in {*USERS} - {user}:
                    ok(imap.setacl("INBOX", other, "lrs"))
                    ok(imap.setacl("INBOX", f"-{other}", "w"))
            self.deliver(user)
        self.sync()
        self.moments: list[tuple[int, Seen]] = []

    def deliver(self, user: str) -> None:
        for _ in range(3):
            self.number += 1
            self.server.deliver(f"Subject: {self.number}\r\n\r\nonly for {user} {self.number}\r\n".encode(), user)

    def sync(self) -> None:
        time.sleep(TICK)
        sync_server_here(self.conf, "--delete", "--history", str(self.top))

    def act(self) -> None:
        """Each user gets mail, expunges some, and now and then deletes a folder or makes it again."""
        for user in USERS:
            self.deliver(user)
            with self.server.login(user) as imap:
                (imap.unsubscribe if len(self.moments) % 2 else imap.subscribe)("INBOX")
                ok(imap.select("INBOX"))
                uids = ok(imap.uid("SEARCH", "ALL"))[0].split()
                some = b",".join(self.rng.sample(uids, min(2, len(uids)))).decode()
                ok(imap.uid("COPY" if self.rng.random() < 0.3 else "MOVE", some, self._folder(imap)))
                ok(imap.uid("STORE", uids[0].decode(), "+FLAGS", "(\\Deleted)"))
                ok(imap.expunge())
        self.server.tool("cyr_expire", "-E", "1", "-X", "0", "-D", "0")
        self.sync()
        self.moments.append((time.time_ns(), self.seen()))
        time.sleep(TICK)

    def _folder(self, imap: Any) -> str:
        if self.rng.random() < 0.4 and len(folders(imap)) > 1:
            imap.delete("INBOX.Work")
        imap.create("INBOX.Work")
        return "INBOX.Work"

    def seen(self, when: int = 0, only: str = "") -> Seen:
        """What a tree shows: as it is now, or as of a time; of one user, others may have lost theirs."""
        live = open_tree(os.fsencode(self.top), str(self.conf))
        errors: list[str] = []
        found = {
            one.mailbox.name.decode(): {
                message.uid: hashlib.sha1(contents.whole(message)).hexdigest() for message in one.messages()
            }
            for one in reading.selections(
                tree_as_of(live, when) if when else live, Request(None, only or None), errors.append
            )
        }
        assert not [error for error in errors if only in error]
        return found

    def run(self, command: str, *words: str, expect: int = 0) -> Any:
        done = run_cyrsync(command, *words, "-C", self.conf, "--json", self.top)
        assert (done.returncode, done.stderr) == (expect, ""), done
        return json.loads(done.stdout)

    def assert_sound(self) -> None:
        done = run_cyrsync("verify", "--history", self.top, "-C", self.conf, "--content")
        assert (done.returncode, done.stderr) == (0, "")

    def databases(self, name: str) -> list[bytes]:
        """The kept versions of a database, all of which are packed."""
        versions = self.top.rglob(f".cyrsync-history/files/{name}.versions/*.gz")
        return [gzip.decompress(path.read_bytes()) for path in versions]

    def pool(self) -> list[bytes]:
        return [path.read_bytes() for path in self.top.rglob(".cyrsync-history/messages/*/*")]


def of(user: str, seen: Seen) -> Seen:
    return {name: messages for name, messages in seen.items() if f"user.{user}" in name}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_kept_shows_what_it_showed(
    cyrus_server: Callable[..., CyrusServer], open_dir: Path, layout: str
) -> None:
    server = cyrus_server("primary", quota_db="twoskip", **LAYOUTS[layout])
    past = Past(server, open_dir / "replica", random.Random(layout).random())
    for _ in range(6):
        past.act()
    past.assert_sound()
    assert any(b"only for ann" in body for body in past.pool())
    # All of it is younger than what stays.
    report = past.run("prune", "--grace", "0d")
    assert (report["states"]["removed"], report["messages"]["removed"], report["errors"]) == (0, 0, [])
    for when, seen in past.moments:
        assert past.seen(when) == seen
    # Joe is held: of Ann's mail, the last state of each mailbox stays.
    assert run_cyrsync("hold", "joe", "-C", past.conf, past.top).returncode == 0
    report = past.run("prune", "--keep-last", "1", "--grace", "0d")
    assert report["states"]["removed"] and report["messages"]["removed"]
    past.assert_sound()
    for when, seen in past.moments:
        assert past.seen(when, "joe") == of("joe", seen)
    # Ann is forgotten: nothing of hers is left, but what the replica itself has.
    now = past.seen()
    report = past.run("forget", "ann", "--yes")
    assert (report["errors"], report["warnings"]) == ([], [])
    assert not [body for body in past.pool() if b"only for ann" in body]
    names = [path.read_bytes() for path in past.top.rglob(".cyrsync-history/mailboxes/*/*/cyrus.header")]
    assert names and not [name for name in names if b"user.ann" in name]
    home = Path(f"{past.top}{past.server.root}/conf/.cyrsync-history/files")
    kept = {str(path.relative_to(home)) for path in home.rglob("*.versions")}
    assert len([name for name in kept if "sub" in name]) == 1  # Joe's
    assert not [name for name in kept if "ann." in name]
    past.assert_sound()
    assert past.seen() == now
    for name in ("mailboxes.db", "quotas.db"):
        versions = past.databases(name)
        assert versions
        for data in versions:
            assert b"joe" in data and b"ann" not in data
            past.server.assert_converts(data)
    for when, seen in past.moments:
        assert past.seen(when, "joe") == of("joe", seen)
    past.act()
    past.assert_sound()
