"""A real Cyrus is used at random, and its replica keeps the past: every moment of it is there, and comes back."""

from __future__ import annotations

import hashlib
import imaplib
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cyrsync.errors import UnusableError
from cyrsync.history import contents, moment, reading
from cyrsync.history.as_of import tree_as_of
from cyrsync.history.choose import Request
from cyrsync.history.tree import Tree, open_tree
from support.imapd import CyrusServer, dump, folders, ok
from support.inside import sync_server_here
from support.tree import run_cyrsync

LAYOUTS = {
    "uniqueid directories": {"mailbox_legacy_dirs": "no"},
    "name directories": {"mailbox_legacy_dirs": "yes", "hashimapspool": "yes"},
    "all at once": {"mailbox_legacy_dirs": "no", "expunge_mode": "immediate", "delete_mode": "immediate"},
}
USERS = ("joe", "ann")
PASSWORD = {"CYRSYNC_PASSWORD": "any"}
TICK = 0.05
#: By mailbox: UIDVALIDITY, and by UID the flags, the time in seconds since 1970, and the SHA-1.
Fingerprint = dict[str, tuple[int, dict[int, tuple[frozenset[str], float, str]]]]


def mail(number: int) -> bytes:
    head = f"From: sender@example.com\r\nSubject: mail {number}\r\nMessage-ID: <{number}@example.com>\r\n\r\n"
    return head.encode() + b"text\r\n" * number


class Actor:
    """The server's users."""

    def __init__(self, server: CyrusServer, seed: int) -> None:
        self.server, self.rng, self.made = server, random.Random(seed), 0
        for user in USERS:
            server.create_user(user)
            with server.login(user) as imap:
                for name in ("Sent", "Work", "Work.Old"):
                    ok(imap.create(f"INBOX.{name}"))
            self.deliver(user)

    def deliver(self, user: str) -> None:
        for _ in range(self.rng.randint(1, 3)):
            self.made += 1
            self.server.deliver(mail(self.made), user)

    def act(self) -> None:
        """One thing."""
        user = self.rng.choice(USERS)
        with self.server.login(user) as imap:
            names = [name.strip('"') for name in folders(imap)]
            below = [name for name in names if name.startswith("INBOX.")]
            way = self.rng.choice(
                "deliver append flag flag expunge expunge move copy create rename delete recreate".split()
            )
            if way == "deliver":
                self.deliver(user)
            elif way == "append":
                self.made += 1
                ok(imap.append(self.rng.choice(names), "(\\Flagged $Label1)", None, mail(self.made)))
            elif way in ("flag", "expunge", "move", "copy"):
                self._with_messages(imap, names, way)
            elif way == "create":
                self.made += 1
                ok(imap.create(f"INBOX.Made{self.made}"))
            elif below:
                self._with_a_folder(imap, self.rng.choice(below), way)

    def _with_messages(self, imap: imaplib.IMAP4, names: list[str], way: str) -> None:
        ok(imap.select(self.rng.choice(names)))
        uids = ok(imap.uid("SEARCH", "ALL"))[0].split()
        if not uids:
            return
        some = b",".join(self.rng.sample(uids, min(2, len(uids)))).decode()
        other = self.rng.choice(names)
        if way == "flag":
            flag = self.rng.choice(["\\Seen", "\\Answered", "NonJunk"])
            ok(imap.uid("STORE", some, self.rng.choice(["+FLAGS", "-FLAGS"]), f"({flag})"))
        elif way == "expunge":
            ok(imap.uid("STORE", some, "+FLAGS", "(\\Deleted)"))
            ok(imap.expunge())
        else:
            ok(imap.uid(way.upper(), some, other))

    def _with_a_folder(self, imap: imaplib.IMAP4, name: str, way: str) -> None:
        self.made += 1
        if way == "rename":
            ok(imap.rename(name, f"INBOX.Renamed{self.made}"))
            return
        if imap.delete(name)[0] == "NO":
            return  # it has folders below, which delete_mode immediate does not allow
        if way == "recreate":
            ok(imap.create(name))
            ok(imap.append(name, None, None, mail(self.made)))


def of_server(server: CyrusServer) -> Fingerprint:
    """What clients see."""
    found: Fingerprint = {}
    for user, seen in dump(server, USERS).items():
        if user == "cyrus":
            continue
        for folder, one in seen.items():
            if folder != "subscriptions" and folder.strip('"').startswith("INBOX"):
                name = folder.strip('"').replace("INBOX", f"user.{user}", 1)
                validity = int(one["STATUS"][0].split(b"UIDVALIDITY ")[1].split()[0].strip(b")"))
                found[name] = validity, {uid: _message(message) for uid, message in one["MESSAGES"].items()}
    return found


def of_server_next(server: CyrusServer) -> dict[str, int]:
    """By mailbox, the UID that the next message gets."""
    found = {}
    for user in USERS:
        with server.login(user) as imap:
            for folder in folders(imap):
                status = ok(imap.status(folder, "(UIDNEXT)"))[0]
                found[folder.strip('"').replace("INBOX", f"user.{user}", 1)] = int(status.split()[-1].strip(b")"))
    return found


def _message(message: dict[str, Any]) -> tuple[frozenset[str], float, str]:
    when = time.mktime(imaplib.Internaldate2tuple(f'INTERNALDATE "{message["INTERNALDATE"]}"'.encode()))  # type: ignore[arg-type]
    return frozenset(message["FLAGS"].split()), when, message["SHA-1"]


def of_tree(tree: Tree) -> Fingerprint:
    errors: list[str] = []
    found: Fingerprint = {}
    for one in reading.selections(tree, Request(), errors.append):
        found[one.mailbox.name.decode()] = (
            one.mailbox.uidvalidity,
            {
                message.uid: (
                    frozenset(message.flags),
                    message.internaldate,
                    hashlib.sha1(contents.whole(message)).hexdigest(),
                )
                for message in one.messages()
            },
        )
    assert not errors
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_moment_comes_back(cyrus_server: Callable[..., CyrusServer], open_dir: Path, layout: str) -> None:
    server = cyrus_server("primary", **LAYOUTS[layout])
    actor = Actor(server, seed := random.Random(layout).randrange(10**6))
    conf, top = server.root / "imapd.conf", open_dir / "replica"
    top.mkdir()
    sync_server_here(conf, "--delete", "--history", str(top))
    truth: list[tuple[int, Fingerprint]] = []
    for number in range(20):
        time.sleep(TICK)
        actor.act()
        if number % 8 == 7:
            server.tool("cyr_expire", "-E", "1", "-X", "0", "-D", "0")
        when = time.time_ns()
        truth.append((when, of_server(server)))
        time.sleep(TICK)
        sync_server_here(conf, "--delete", "--history", str(top))
    live = open_tree(bytes(top), str(conf))
    for number, (when, seen) in enumerate(truth):
        then = of_tree(tree_as_of(live, when))
        assert {name for name in seen.keys() | then.keys() if seen.get(name) != then.get(name)} == set(), (seed, number)
    assert live.warnings == []
    with pytest.raises(UnusableError):
        reading.selections(tree_as_of(live, truth[0][0]), Request("user/nobody"), [].append)
    done = run_cyrsync("verify", "--history", top, "-C", conf, "--content")
    assert (done.returncode, done.stderr) == (0, "")
    # Into another Cyrus, which then shows what the first one did.
    for number in (3, 12):
        when, seen = truth[number]
        with CyrusServer(open_dir / f"other{number}", **LAYOUTS[layout]) as other:
            address = f"imap://cyrus@127.0.0.1:{other.port}"
            words = ["--as-of", moment.iso(when) or "", "--into", address, "--json"]
            done = run_cyrsync("restore", top, "-C", conf, *words, env=PASSWORD)
            assert (done.returncode, done.stderr) == (0, ""), done
            assert of_server(other) == seen
            # And gives no UID that the first one has given since.
            next_uids = of_server_next(other)
            for one in reading.selections(tree_as_of(live, when), Request(), [].append):
                assert next_uids[one.mailbox.name.decode()] == one.mailbox.last_uid + 1
