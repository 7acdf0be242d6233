"""What administrators do to a real Cyrus while it is watched, and users who arrive from another server."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.campaign import amount
from support.imapd import CyrusServer, ok
from support.tools import requires
from support.watched import NAME, UNIQUEID, Box, mail, user
from support.watcher import Watcher, watching
from support.whole import live_uids

#: Things that happen to a server; and messages that are delivered while somebody looks at the replica.
CHANGES, DELIVERED = amount(25, long=400), amount(40, long=1000)
DELAYED = {**NAME, "delete_mode": "delayed", "expunge_mode": "delayed"}


@dataclass
class Administrator:
    """Does something else each time to users of a server."""

    box: Box
    rng: random.Random
    users: list[str] = field(default_factory=list)
    numbers: int = 0

    def change(self) -> None:
        """Do one thing at random."""
        doing: list[Callable[[], None]] = [
            self.deliver, self.deliver, self.deliver, self.create_user, self.create, self.rename, self.swap,
            self.rename_user, self.move_to_partition, self.delete, self.delete_user, self.expire, self.reconstruct,
            self.expunge,
        ]  # fmt: skip
        while len(self.users) < 2:
            self.create_user()
        self.rng.choice(doing)()

    def new_name(self, prefix: str) -> str:
        self.numbers += 1
        return f"{prefix}{self.numbers}x{self.rng.randrange(10**6)}"

    def some(self) -> str:
        return self.rng.choice(self.users)

    def folders(self, name: str) -> list[str]:
        """The mailboxes below a user's INBOX, by the administrator's names."""
        with self.box.server.admin() as imap:
            listed = ok(imap.list(f'"user.{name}."', "*"))
        return [line.rpartition(b" ")[2].decode().strip('"') for line in listed if line]

    def deliver(self) -> None:
        name = self.some()
        for _ in range(self.rng.randint(1, 3)):
            self.box.server.deliver(mail(self.new_name(name)), name)

    def create_user(self) -> None:
        name = self.new_name("u")
        self.box.server.create_user(name)
        self.users.append(name)
        self.create(name)

    def create(self, name: str = "") -> None:
        name = name or self.some()
        folder = f"INBOX.{self.new_name('f')}"
        with self.box.server.login(name) as imap:
            ok(imap.create(folder))
            for _ in range(self.rng.randint(0, 3)):
                ok(imap.append(folder, "", None, mail(self.new_name(name))))

    def rename(self) -> None:
        for folder in self.folders(self.some())[:1]:
            with self.box.server.admin() as imap:
                ok(imap.rename(folder, f"{folder.rpartition('.')[0]}.{self.new_name('r')}"))

    def swap(self) -> None:
        found = self.folders(self.some())
        if len(found) > 1:
            one, other = self.rng.sample(found, 2)
            aside = f"{one.rpartition('.')[0]}.{self.new_name('a')}"
            with self.box.server.admin() as imap:
                for old, new in ((one, aside), (other, one), (aside, other)):
                    ok(imap.rename(old, new))

    def rename_user(self) -> None:
        old, new = self.some(), self.new_name("n")
        with self.box.server.admin() as imap:
            ok(imap.rename(f"user.{old}", f"user.{new}"))
        self.users[self.users.index(old)] = new

    def move_to_partition(self) -> None:
        name = f"user.{self.some()}"
        with self.box.server.admin() as imap:
            moved = imap.xatom("RENAME", name, name, self.rng.choice(["default", "second"]))
            assert moved[0] == "OK" or b"already exists" in moved[1][0], moved  # on that partition

    def delete(self) -> None:
        for folder in self.folders(self.some())[:1]:
            with self.box.server.admin() as imap:
                ok(imap.setacl(folder, "cyrus", "lrswipkxtecda"))
                ok(imap.delete(folder))

    def delete_user(self) -> None:
        if len(self.users) > 3:
            name = self.users.pop()
            with self.box.server.admin() as imap:
                ok(imap.setacl(f"user.{name}", "cyrus", "lrswipkxtecda"))
                ok(imap.delete(f"user.{name}"))

    def expire(self) -> None:
        self.box.server.tool("cyr_expire", "-E", "0", "-X", "0", "-D", "0")

    def reconstruct(self) -> None:
        self.box.server.tool("reconstruct", "-r", f"user.{self.some()}")

    def expunge(self) -> None:
        with self.box.server.login(self.some()) as imap:
            ok(imap.select("INBOX"))
            uids = ok(imap.uid("SEARCH", "ALL"))[0].decode().split()
            if uids:
                ok(imap.uid("STORE", ",".join(uids[::2]), "+FLAGS", "(\\Deleted)"))
                ok(imap.expunge())
            ok(imap.unselect())


@pytest.mark.parametrize(
    "box",
    [NAME, DELAYED, {**UNIQUEID, "delete_mode": "delayed"}],
    ids=["name directories", "name directories, delayed", "uniqueid directories, delayed"],
    indirect=True,
)
def test_whatever_administrators_do(box: Box, tmp_path: Path) -> None:
    """Mailboxes and users renamed, swapped, moved to other partitions, deleted, expired, reconstructed."""
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}")
    administrator = Administrator(box, random.Random(seed))
    words = ("--delete", "--max-delete", "100%", box.replica)
    with watching(box.conf, *words, said=tmp_path / "said") as watcher:
        for _ in range(CHANGES):
            administrator.change()
            time.sleep(administrator.rng.choice([0, 0, 0.05, 0.3]))
        watcher.wait(box.is_equal, name="the same messages")
        assert "cannot" not in watcher.said()
        assert watcher.stop() == 0
    box.assert_equal()


# --- In order


def uids(folder: Path) -> list[int]:
    """UIDs of the message files of a folder, as they are found."""
    return [int(name[:-1]) for name in os.listdir(folder) if name.endswith(".") and name[:-1].isdigit()]


def watch_order(folder: Path, ended: threading.Event, wrong: list[str]) -> None:
    """Look at a folder of a replica: nothing is there before what has a lower UID, neither in the index.

    Where header and index change together, the old index is removed before they take their places.
    """
    index, last = folder / "cyrus.index", 0
    while not ended.is_set():
        try:
            listed, seen = max(uids(folder), default=0), live_uids(index)
        except FileNotFoundError:
            continue
        there = set(uids(folder))
        wrong += [f"{uid}. came after {listed}." for uid in range(1, listed) if uid not in there]
        if seen != list(range(1, len(seen) + 1)) or len(seen) < last:
            wrong.append(f"the index has {seen}")
        last = len(seen)


@pytest.mark.parametrize("box", [NAME, UNIQUEID], ids=["name directories", "uniqueid directories"], indirect=True)
def test_messages_arrive_in_the_order_of_their_uids(box: Box, watcher: Watcher) -> None:
    joe = user(box, "joe")
    (folder,) = box.server.tool("mbpath", f"user.{joe}").split()
    ended, wrong = threading.Event(), list[str]()
    looking = threading.Thread(target=watch_order, args=(Path(f"{box.replica}{folder}"), ended, wrong))
    looking.start()
    try:
        for number in range(DELIVERED):
            box.server.deliver(mail(f"{joe}-{number}"), joe)
        watcher.wait(lambda: box.is_there(f"{joe}-{DELIVERED - 1}"), name="the last message")
    finally:
        ended.set()
        looking.join()
    assert not wrong, wrong[:5]


# --- Who arrives


def test_a_user_who_arrives_by_replication(box: Box, tmp_path: Path, state_dir: Path) -> None:
    """Cyrus logs nothing of it: he is on the replica within a pass, and counted."""
    requires("sync_client", "sync_server")
    name = f"moved{random.randrange(10**6)}"
    where = {"sync_host": "127.0.0.1", "sync_port": str(box.sync_port), "sync_try_imap": "no"}
    who = {"sync_authname": "cyrus", "sync_password": "any"}
    old = CyrusServer(box.root / f"old-{name}", **NAME, **where, **who)
    with old, watching(box.conf, "--pass-every", "1", box.replica, said=tmp_path / "said") as watcher:
        old.create_user(name)
        for number in range(3):
            old.deliver(mail(f"{name}-{number}"), name)
        before = watcher.status(state_dir)["counts"]
        old.tool("sync_client", "-u", name)
        watcher.wait(lambda: box.is_there(f"{name}-2"), name="the last message")
        watcher.wait(lambda: watcher.status(state_dir)["counts"]["log_missed"] > before["log_missed"], name="the count")
        assert "did users arrive by replication?" in watcher.said()
        assert name not in (box.log.read_text() if box.log.exists() else "")
        after = watcher.status(state_dir)["counts"]
        assert after["passes"] > before["passes"]
        watcher.wait(box.is_equal, name="the same messages")
        assert watcher.stop() == 0
    box.assert_equal()
