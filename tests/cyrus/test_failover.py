"""A spare takes over from a real Cyrus that was busy till the end, and the two change places again.

Nothing that a client can see may be lost, and a master that comes back must not undo what the spare did meanwhile.
"""

from __future__ import annotations

import imaplib
import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from support.campaign import amount
from support.failover import FullServer, killed_sync, opened, promote, seen_by_clients, set_metadata, sieve
from support.imapd import folders, ok
from support.load import digest, under_load
from support.servers import below, problems, sync_server
from support.tools import requires
from support.tree import assert_same_tree, differences, run_cyrsync, snapshot

#: The first is whom most happens to, and the second one whom he shares a folder with.
PLAIN, VIRTUAL = ("user0", "user1", "user2"), ("user0@one.example", "user1@one.example", "user2")
NAME = {"mailbox_legacy_dirs": "yes", "hashimapspool": "yes"}
UNIQUEID = {"mailbox_legacy_dirs": "no"}
DOMAINS = {"virtdomains": "userid", "defaultdomain": "example.com"}
META = {
    "metapartition-default": "{root}/meta",
    "metapartition_files": "header index cache expunge squat annotations",
}
ARCHIVE = {"archive_enabled": "yes", "archivepartition-default": "{root}/archive", "archive_after": "1d"}
NOW = {"expunge_mode": "immediate", "delete_mode": "immediate"}
BOXES = {
    "name directories, metapartition": (PLAIN, {**NAME, **META, **NOW}),
    "name directories, domains, archive": (VIRTUAL, {**NAME, **DOMAINS, **ARCHIVE, "fulldirhash": "yes"}),
    "uniqueid directories, domains, metapartition, conversations": (
        VIRTUAL,
        {**UNIQUEID, **DOMAINS, **META, **NOW, "conversations": "yes"},
    ),
}
SCRIPT = 'require ["fileinto"];\r\nif header :contains "Subject" "list" { fileinto "INBOX.Kept"; }\r\n'
#: Seconds of load, and runs that are killed meanwhile.
BUSY, KILLS = amount(3.0, long=10.0), amount(2, long=6)
#: Exit codes.
PARTIAL, UNSOUND, UNUSABLE, REFUSED = 23, 1, 3, 4
#: Of a run that has nothing to send: it need not even look at the replica.
IDLE = 0, REFUSED
#: What a run that was killed may leave for a later one: what Cyrus does not look at.
HARMLESS = {"orphan", "no mailbox", "uniqueid"}


@pytest.fixture
def main(open_dir: Path) -> Iterator[Callable[..., FullServer]]:
    """Starts the server that is to be replaced: `main(mailbox_legacy_dirs="yes")`."""
    requires("rsync", "master", "imapd", "lmtpd", "timsieved", "cyr_expire", "ctl_cyrusdb", "reconstruct", "quota")
    with ExitStack() as servers:
        yield lambda **options: servers.enter_context(FullServer(open_dir / "main", **options))


@pytest.fixture
def replica(open_dir: Path) -> Path:
    """A prefix that is there, and empty."""
    path = open_dir / "replica"
    path.mkdir()
    return path


@pytest.fixture
def seed() -> int:
    """A number that a failure tells."""
    number = int.from_bytes(os.urandom(4), "big")
    print(f"seed {number}")
    return number


def spare_of(main: FullServer, replica: Path) -> FullServer:
    """A server on a replica, with its own imapd.conf, not yet started."""
    return FullServer.spare(replica.with_name(f"{replica.name}-server"), main, replica)


def mail(subject: str) -> bytes:
    head = f"From: sender@example.com\r\nSubject: {subject}\r\nMessage-ID: <{subject}@example.com>\r\n"
    return (f"{head}\r\n" + f"This is {subject}.\r\n" * 100).encode()


def equip(server: FullServer, users: tuple[str, ...]) -> None:
    """Give the first user what mailboxes.db, quota, annotations, subscriptions, seen states and scripts are for."""
    user, other = users[0], users[1]
    with server.login(user) as imap:
        for name in ("INBOX.Kept", "INBOX.Kept.Entw&APw-rfe", '"INBOX.Kept.Two words"'):
            ok(imap.create(name))
            for number in range(3):
                ok(imap.append(name, "(\\Seen $Label1)", '"17-Jul-1996 02:44:25 -0700"', mail(f"{number}")))
        ok(imap.subscribe("INBOX.Kept"))
        ok(imap.subscribe('"INBOX.Kept.Two words"'))
        for who in (other, "anyone"):
            ok(imap.setacl("INBOX.Kept", who, "lrs"))
        set_metadata(imap, "INBOX.Kept", "/private/comment", "of one user")
        set_metadata(imap, "INBOX.Kept", "/shared/comment", "of all users")
        ok(imap.select("INBOX.Kept"))
        ok(imap.uid("STORE", "2", "ANNOTATION", '(/comment ("value.shared" "of a message"))'))
        ok(imap.uid("STORE", "3", "+FLAGS", "(\\Deleted)"))
        ok(imap.unselect())
    inbox = f"user.{user}"
    with server.admin() as imap:
        ok(imap.setquota(inbox, "(STORAGE 50000 MESSAGE 5000)"))
        ok(imap.setquota(kept(user), "(STORAGE 3000)"))
        set_metadata(imap, '""', "/shared/comment", "of the server")
        set_metadata(imap, kept(user), "/shared/vendor/cmu/cyrus-imapd/expire", "15000")
    with server.login(other) as imap:
        ok(imap.select(kept(user.partition("@")[0])))
        ok(imap.uid("STORE", "1", "+FLAGS", "(\\Seen)"))
        ok(imap.unselect())
    with sieve(server, user) as scripts:
        scripts.command('PUTSCRIPT "lists"', SCRIPT)
        scripts.command('PUTSCRIPT "other"', "keep;\r\n")
        scripts.command('SETACTIVE "lists"')


def kept(user: str) -> str:
    """The administrator's name of a folder."""
    name, _, domain = user.partition("@")
    return f"user.{name}.Kept" + (f"@{domain}" if domain else "")


def assert_life_goes_on(server: FullServer, users: Sequence[str], before: dict[str, Any]) -> None:
    """Messages get the UIDs that they would have got on the other server, and folders come and change their names."""
    for user in users:
        status = before[f'{user}: "INBOX": STATUS'][0].decode()
        uid, validity = (int(re.findall(rf"{word} (\d+)", status)[0]) for word in ("UIDNEXT", "UIDVALIDITY"))
        server.deliver(mail("new"), user)
        with server.login(user) as imap:
            assert b"[APPENDUID %d %d]" % (validity, uid + 1) in ok(imap.append("INBOX", "", "", mail("newer")))[0]
            ok(imap.select("INBOX"))
            assert ok(imap.uid("SEARCH", f"UID {uid}:*"))[0].split() == [b"%d" % uid, b"%d" % (uid + 1)]
            ok(imap.unselect())
            ok(imap.create("INBOX.New"))
            ok(imap.append("INBOX.New", "", "", mail("in a new folder")))
            assert len(opened(imap, "INBOX.New")) == 1
    server.deliver(mail("of a list"), users[0])
    with server.login(users[0]) as imap:
        assert b"Subject: of a list" in opened(imap, "INBOX.Kept")[-1]
        ok(imap.rename("INBOX.Kept", "INBOX.Moved"))
        assert len(opened(imap, "INBOX.Moved")) == 4


def change(server: FullServer, user: str, number: int) -> None:
    """Mail comes and goes."""
    server.deliver(mail(f"change {number}"), user)
    with server.login(user) as imap:
        ok(imap.append("INBOX", "(\\Flagged)", "", mail(f"kept {number}")))
        ok(imap.select("INBOX"))
        ok(imap.store("1", "+FLAGS", "(\\Deleted)"))
        ok(imap.expunge())
        ok(imap.unselect())
        ok(imap.create(f"INBOX.Folder{number}"))
        ok(imap.append(f"INBOX.Folder{number}", "", "", mail(f"in folder {number}")))


def files(tree: Path) -> dict[bytes, Any]:
    """Files and links with all their attributes."""
    return {path: entry for path, entry in snapshot(tree).items() if entry.kind != "directory"}


def calm_server(main: Callable[..., FullServer], replica: Path, **options: str) -> FullServer:
    """A server with mail, and its replica up to date."""
    server = main(**options)
    for user in PLAIN:
        server.create_user(user)
        change(server, user, 0)
    equip(server, PLAIN)
    for _ in range(2):
        sync_server(server.imapd_conf, "--delete", replica)
    return server


def assert_nothing_is_written(server: FullServer, replica: Path, *codes: int) -> None:
    """The next run ends so, a failure with one line that says why, and not a byte of the replica is another."""
    before = snapshot(replica, skip_hidden=False)
    done = run_cyrsync("sync", "-C", server.imapd_conf, "--delete", replica)
    assert differences(before, snapshot(replica, skip_hidden=False)) == []
    assert done.returncode in codes, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == bool(done.returncode)


# --- Failover


@pytest.mark.parametrize(("users", "options"), BOXES.values(), ids=BOXES)
def test_a_spare_takes_over(
    main: Callable[..., FullServer], replica: Path, seed: int, users: tuple[str, ...], options: dict[str, str]
) -> None:
    master = main(**options)
    with under_load(master, seed, expire="archive_enabled" in options, users=users):
        equip(master, users)
        deadline = time.monotonic() + BUSY
        while time.monotonic() < deadline:
            sync_server(master.imapd_conf, "--delete", replica, expect=(0, PARTIAL))
    before = seen_by_clients(master, users)
    master.stop()
    sync_server(master.imapd_conf, "--delete", replica)
    if "archive_enabled" in options:
        assert any(below(replica, master.root / "archive").rglob("*."))
    spare = spare_of(master, replica)
    scripts = files(master.paths["sievedir"])
    assert any(path.endswith(b"/defaultbc") for path in scripts)
    assert differences(scripts, files(spare.paths["sievedir"])) == []

    promote(spare)
    with spare:
        assert differences(before, seen_by_clients(spare, users)) == []
        assert_life_goes_on(spare, users, before)
    assert problems(spare.imapd_conf) == []


# --- Failback


@pytest.mark.parametrize("layout", [NAME, UNIQUEID], ids=["name directories", "uniqueid directories"])
def test_master_and_spare_change_places(
    main: Callable[..., FullServer], replica: Path, open_dir: Path, layout: dict[str, str]
) -> None:
    old = calm_server(main, replica, **layout)
    old.stop()
    new = spare_of(old, replica)
    promote(new)
    with new:
        change(new, "user0", 1)
        with old:  # its cron job goes on, and it may even get mail
            assert_nothing_is_written(old, replica, *IDLE)
            change(old, "user0", 20)  # under the UIDs that the other one has given already
            assert_nothing_is_written(old, replica, REFUSED)
        back = open_dir / "back"
        (place := below(back, below(replica, old.root))).parent.mkdir(parents=True)
        place.symlink_to(old.root)
        sync_server(new.imapd_conf, "--delete", "--overwrite-replica", back)
        change(new, "user1", 3)
        sync_server(new.imapd_conf, "--delete", back)
        before = seen_by_clients(new, PLAIN)
    sync_server(new.imapd_conf, "--delete", back)

    promote(old)
    with old:
        assert differences(before, seen_by_clients(old, PLAIN)) == []
        assert_life_goes_on(old, PLAIN, before)
        with new:
            change(new, "user0", 4)
            assert_nothing_is_written(new, back, REFUSED)
        sync_server(old.imapd_conf, "--delete", "--overwrite-replica", replica)
    assert sync_server(old.imapd_conf, "--delete", replica)["errors"] == []
    assert problems(new.imapd_conf) == []


def test_a_spare_that_was_put_to_use_by_hand(main: Callable[..., FullServer], replica: Path) -> None:
    """Nobody told cyrsync of it."""
    master = calm_server(main, replica, **NAME)
    with spare_of(master, replica) as spare:
        spare.deliver(mail("for the spare"), "user0")
        assert_nothing_is_written(master, replica, *IDLE)
        change(master, "user1", 1)
        assert_nothing_is_written(master, replica, REFUSED)
        change(master, "user0", 2)
        assert_nothing_is_written(master, replica, REFUSED)
    assert_nothing_is_written(master, replica, REFUSED)


def test_what_only_the_spare_had_is_overwritten(main: Callable[..., FullServer], replica: Path) -> None:
    """Two messages with one UID, in one mailbox: the master's has to be there in the end."""
    master = calm_server(main, replica, **NAME)
    with spare_of(master, replica) as spare:
        for number in (10, 100, 1000):
            change(spare, "user0", number)
    change(master, "user0", 1)
    before = seen_by_clients(master, PLAIN)
    sync_server(master.imapd_conf, "--delete", "--overwrite-replica", replica)
    assert problems(spare.imapd_conf) == []
    promote(spare)
    with spare:
        assert differences(before, seen_by_clients(spare, PLAIN)) == []


# --- Runs that are killed


def own_folders(imap: imaplib.IMAP4) -> list[str]:
    return [name for name in folders(imap) if name.startswith('"INBOX')]


def all_mail(imap: imaplib.IMAP4) -> list[bytes]:
    """What is in all mailboxes, each of which must open."""
    return [message for name in folders(imap) for message in opened(imap, name)]


@pytest.mark.parametrize(
    "options",
    [{**NAME, **NOW}, {**UNIQUEID, **META}],
    ids=["name directories, immediate", "uniqueid directories, metapartition"],
)
def test_a_spare_takes_over_after_a_killed_run(
    main: Callable[..., FullServer], replica: Path, seed: int, options: dict[str, str]
) -> None:
    master, rng, copies = main(**options), random.Random(seed), []
    with under_load(master, seed, expire=False, users=PLAIN) as clients:
        equip(master, PLAIN)
        for number in range(KILLS):
            began = time.monotonic()
            sync_server(master.imapd_conf, "--delete", replica, expect=(0, PARTIAL))
            moment = (time.monotonic() - began) * (number + rng.random()) / KILLS
            time.sleep(1)
            print(f"{moment}: {killed_sync(moment, '-C', master.imapd_conf, '--delete', replica, rng=rng)}")
            copies.append(replica.with_name(f"copy{number}"))
            subprocess.run(["cp", "-a", replica, copies[-1]], check=True)
    master.stop()
    sent = {digest(mail(f"{subject}")) for subject in (0, 1, 2, "afterwards")}.union(*(one.sent for one in clients))
    for copy in copies:
        spare = spare_of(master, copy)
        promote(spare, expect=(0, UNSOUND))
        with spare:
            for user in PLAIN:
                with spare.login(user) as imap:
                    assert not set(map(digest, all_mail(imap))) - sent
                    for name in own_folders(imap):
                        ok(imap.append(name, "", "", mail("afterwards")))
                        assert opened(imap, name)[-1] == mail("afterwards")
        assert {kind for kind, _, _ in problems(spare.imapd_conf)} <= HARMLESS
    sync_server(master.imapd_conf, "--delete", replica)
    assert problems(spare_of(master, replica).imapd_conf) == []


# --- Replicas that are not what they were


def test_a_replica_that_was_rolled_back(main: Callable[..., FullServer], replica: Path) -> None:
    master, backup = calm_server(main, replica, **NAME), replica.with_name("backup")
    subprocess.run(["cp", "-a", replica, backup], check=True)
    change(master, "user0", 1)
    sync_server(master.imapd_conf, "--delete", replica)
    shutil.rmtree(replica)
    backup.rename(replica)
    change(master, "user1", 2)
    report = sync_server(master.imapd_conf, "--delete", replica)
    assert (report["errors"], len(report["warnings"])) == ([], 1)
    assert_same_tree(master.spool, below(replica, master.spool), dir_mtimes=False)
    assert problems(spare_of(master, replica).imapd_conf) == []
    assert sync_server(master.imapd_conf, "--delete", replica)["warnings"] == []


def test_another_disk_is_mounted(main: Callable[..., FullServer], replica: Path, open_dir: Path) -> None:
    """An empty one, and another master's."""
    master, others = calm_server(main, replica, **NAME), open_dir / "others"
    others.mkdir()
    with FullServer(open_dir / "other", **NAME) as other:
        for user in PLAIN:
            other.create_user(user)
            change(other, user, 0)
        sync_server(other.imapd_conf, "--delete", others)
    change(master, "user0", 1)
    mine, aside = below(replica, master.root), open_dir / "aside"
    for place in (replica, mine, *(below(replica, path) for path in master.paths.values())):
        place.rename(aside)
        place.mkdir()
        assert_nothing_is_written(master, replica, UNUSABLE)
        place.rmdir()
        aside.rename(place)
    mine.rename(aside)
    below(others, other.root).rename(mine)
    assert_nothing_is_written(master, replica, REFUSED)
    mine.rename(below(others, other.root))
    aside.rename(mine)
    sync_server(master.imapd_conf, "--delete", replica)
    assert problems(spare_of(master, replica).imapd_conf) == []
