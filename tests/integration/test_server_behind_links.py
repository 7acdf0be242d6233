"""Mailboxes on another disk, with links in their places: -C sends what is behind, and the replica has directories."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import samplespool
from support.boxes import Box
from support.inside import sync_server_here
from support.meanwhile import launch
from support.servers import SampleServer, assert_sound, below, roots, sync_server
from support.sshd import Sshd
from support.tree import assert_same_tree, plain_env, run_cyrsync, snapshot

#: What is a link: one mailbox, a user's with those below it, a letter's directory, or that and a mailbox in it.
WAYS = {
    "mailbox": ("b/user/bob/Sent",),
    "user": ("b/user/bob",),
    "letter": ("b",),
    "both": ("b", "b/user/bob/Sent"),
    "inside": ("b/user/bob",),
}
MANY = 120
OWNER = 65534


class Server:
    """A server of a few mailboxes, some of them behind links, and its replica."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.server = SampleServer(directory / "server", messages=0, folder_count=1)
        self.conf, self.spool = self.server.conf, self.server.spool
        shutil.rmtree(self.spool)
        for name in ("user/bob", "user/bob/Sent", "user/bob/Archive/2023", "user/ben", "user/ann"):
            samplespool.deliver(samplespool.create_folder(self.spool, name), 3)
        self.replica = directory / "replica"
        self.replica.mkdir()
        self.record()

    def move_away(self, way: str) -> None:
        """Put a link in the place of something, and that on another disk."""
        for number, name in enumerate(WAYS[way]):
            place = self.spool / name
            disk = self.spool / "other" if way == "inside" else self.directory / f"disk{number}"
            disk.mkdir(mode=0o700)
            shutil.move(place, disk)
            self.link(place, disk / place.name)

    def link(self, place: Path, target: Path) -> None:
        """Make a link that belongs to the spool's owner: as root, rsync 3.5.0 follows none but root's own."""
        place.symlink_to(target)
        if os.geteuid() == 0:
            os.chown(place, OWNER, OWNER, follow_symlinks=False)

    def folder(self, name: str) -> Path:
        return self.server.folder(name)

    def record(self, *left_out: str) -> None:
        """Write mailboxes.db: all mailboxes that there are in their own places, but for some."""
        lines = []
        for top in self.spool.glob("?"):
            for path, _, names in os.walk(top, followlinks=True):
                name = "/".join(Path(path).relative_to(top).parts)
                if "cyrus.index" in names and name not in left_out:
                    lines.append(name.replace("/", ".").encode() + b"\t%(A %() P default)\n")
        self.server.database.write_bytes(b"".join(sorted(lines)))

    def sync(self, *words: str | Path, to: str = "", expect: int = 0, **options: Any) -> dict[str, Any]:
        run = sync_server if options else sync_server_here
        return run(self.conf, "--delete", *words, f"{to}{self.replica}", expect=(expect,), **options)

    def there(self, path: Path) -> Path:
        return below(self.replica, path)

    def assert_same(self) -> None:
        """The replica has in directories what the source has behind links, and no link anywhere."""
        expected = self.directory / "expected"
        expected.mkdir()
        for letter in self.spool.glob("?"):
            subprocess.run(["cp", "-aL", letter, expected], check=True)
        replica = self.there(self.spool)
        assert_same_tree(expected, replica, dir_mtimes=False)
        assert not [path for path in self.replica.rglob("*") if path.is_symlink()]
        shutil.rmtree(expected)


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


def everything_happens(server: Server, *words: str | Path, to: str = "", **options: Any) -> None:
    """Mailboxes are sent, get and lose mail, are made and deleted; a run after which nothing is to do does nothing."""

    def sync(*more: str) -> dict[str, Any]:
        return server.sync(*words, *more, to=to, **options)

    assert sync()["errors"] == []
    server.assert_same()
    assert sync()["files"] == {"planned": 0, "sent": 0, "vanished": 0, "failed": 0, "deleted": 0}
    sent, bob = server.folder("user/bob/Sent"), server.folder("user/bob")
    (bob / "cyrus.squat").write_bytes(b"index")
    for folder in (sent, bob):
        samplespool.deliver(folder, 2)  # without an rsync
    samplespool.set_flags(sent)
    assert sync()["messages"]["send"] == 4
    server.assert_same()
    samplespool.expunge(sent, 2)
    samplespool.deliver(sent, MANY)
    assert sync("--max-delete=2")["files"]["deleted"] == 2
    server.assert_same()
    samplespool.deliver(samplespool.create_folder(server.spool, "user/bob/Sent/New"), MANY)
    server.record()
    assert sync()["folders"]["new"] == 1
    server.assert_same()
    samplespool.recreate_folder(bob, 4)
    assert sync()["folders"]["recreated"] == 1
    server.assert_same()
    for path in [*sent.glob("cyrus.*"), *sent.glob("[0-9]*.")]:
        path.unlink()  # a directory of Cyrus's goes, too, but not a link
    server.record()
    assert sync("--max-delete=100%")["folders"]["gone"] == 1
    server.assert_same()
    assert sync("--full")["messages"]["send"] == 0
    server.assert_same()


@pytest.mark.parametrize("way", ["mailbox", "user", "letter", "inside"])
def test_everything_that_happens_to_them(server: Server, way: str) -> None:
    server.move_away(way)
    everything_happens(server)
    assert_verified(server, way)


def assert_verified(server: Server, way: str) -> None:
    assert_sound(server.conf, server.replica)
    both = (server.spool, server.there(server.spool))
    for words in (("-C", server.conf), ("-C", server.conf, "--content"), both)[: 2 if way == "inside" else 3]:
        done = run_cyrsync("verify", *words)
        assert (done.returncode, done.stderr) == (0, ""), done
    if way != "inside":
        # What is behind the link is compared, and not only looked for.
        next(server.there(server.folder("user/bob/Sent/New")).glob("[0-9]*.")).unlink()
        report = json.loads(run_cyrsync("verify", *both, "--json").stdout)
        assert [(one["kind"], one["folder"]) for one in report["problems"]] == [("lacks", "b/user/bob/Sent/New")]


def test_over_ssh_with_jobs(server: Server, sshd: Sshd) -> None:
    server.move_away("both")
    everything_happens(server, "-e", sshd.rsh, "--jobs", "2", to=f"{sshd.host}:")
    assert_verified(server, "both")


@pytest.mark.parametrize("way", ["mailbox", "user", "letter"])
def test_moving_them_sends_nothing(server: Server, way: str) -> None:
    """Neither there nor back again."""
    server.sync()
    server.move_away(way)
    assert server.sync()["messages"]["send"] == 0
    server.assert_same()
    place = server.spool / WAYS[way][0]
    disk = place.resolve()
    place.unlink()
    shutil.move(disk, place)
    assert server.sync()["messages"]["send"] == 0
    server.assert_same()


def test_a_mailbox_with_another_behind_a_link_in_it(server: Server) -> None:
    for name in ("user/bob", "user/ann"):
        samplespool.deliver(server.folder(name), MANY)
    server.move_away("mailbox")
    assert server.sync()["errors"] == []
    server.assert_same()


def test_a_mailbox_that_is_gone_takes_its_directory_with_it(server: Server) -> None:
    """Cyrus empties the directory behind a link, and leaves the link."""
    server.move_away("mailbox")
    server.sync()
    sent = server.folder("user/bob/Sent")
    for path in sent.iterdir():
        path.unlink()
    server.record()
    assert server.sync()["folders"]["gone"] == 1
    assert sent.is_symlink()
    assert not server.there(sent).exists()


# --- Links that lead nowhere, in circles, or to other mailboxes


@pytest.mark.parametrize("way", ["mailbox", "user"])
@pytest.mark.parametrize("target", ["nowhere", "in a circle"])
def test_a_link_that_leads_nowhere(server: Server, way: str, target: str) -> None:
    """It is an error of its mailboxes alone, and what the replica has of them stays, named in mailboxes.db or not."""
    server.move_away(way)
    server.sync()
    place = server.spool / WAYS[way][0]
    disk = place.resolve()
    before = snapshot(server.there(place))
    place.unlink()
    server.link(place, server.directory / "away" if target == "nowhere" else place)
    ann = server.folder("user/ann")
    for named in (True, False):
        if not named:
            server.record()
        samplespool.deliver(ann, 1)
        report = server.sync(expect=23)
        assert report["folders"]["gone"] == 0
        assert len(report["errors"]) == (1 if way == "mailbox" else 3)
        for error in report["errors"]:
            assert error.startswith("b/user/bob"), error
            assert "link that leads nowhere" in error
        assert snapshot(server.there(place)) == before
        assert_same_tree(ann, server.there(ann))
    place.unlink()
    server.link(place, disk)
    server.record()
    server.sync()
    server.assert_same()


def test_a_link_to_another_mailbox(server: Server) -> None:
    """What mailboxes.db does not name is not sent; of what it names the replica has a copy, and deletes that alone."""
    bob, rob = server.folder("user/bob"), server.folder("user/rob")
    rob.parent.mkdir(parents=True)
    server.link(rob, bob)
    server.record(*(f"user/rob{name}" for name in ("", "/Sent", "/Archive/2023")))
    assert server.sync()["folders"]["new"] == 5
    assert not server.there(rob).exists()
    before = snapshot(server.there(bob))
    server.record()
    server.sync()
    server.assert_same()
    assert snapshot(server.there(bob)) == before
    rob.unlink()
    server.record()
    assert server.sync("--max-delete=100%")["folders"]["gone"] == 3
    assert not server.there(rob).exists()
    assert snapshot(server.there(bob)) == before
    server.assert_same()


# --- Nobody is led astray


@pytest.mark.parametrize("mail", [0, 3, MANY])
def test_nothing_is_written_through_a_link_of_the_replicas(server: Server, tmp_path: Path, mail: int) -> None:
    """As `rsync -a` and the walk make it: it may lead to the source's own disk."""
    sent = samplespool.create_folder(server.spool, "user/ben/Sent")
    samplespool.deliver(sent, mail)
    server.record()
    disk = tmp_path / "disk"
    shutil.move(sent, disk)
    server.link(sent, disk)
    there = server.there(sent)
    there.parent.mkdir(parents=True)
    there.symlink_to(disk)
    before = snapshot(disk)
    for _ in range(2):
        assert server.sync()["errors"] == []
        assert snapshot(disk) == before
        server.assert_same()


@pytest.mark.parametrize("way", ["mailbox", "letter"])
def test_a_link_that_is_changed_under_our_feet(server: Server, tmp_path: Path, way: str) -> None:
    """The spool's owner might want to see what root can read: nothing goes but what a mailbox is made of."""
    samplespool.deliver(server.folder("user/bob/Sent"), MANY)
    server.move_away(way)
    place = server.spool / WAYS[way][0]
    secret = tmp_path / "secret" / ("user/bob/Sent" if way == "letter" else "")
    secret.mkdir(parents=True)
    (secret / "passwords").write_text("secret")
    script = f"import os\nos.unlink({str(place)!r})\nos.symlink({str(tmp_path / 'secret')!r}, {str(place)!r})\n"
    argv = launch(script, "sync", "-C", server.conf, "--delete", server.replica)
    assert subprocess.run(argv, env=plain_env(), capture_output=True, check=False).returncode == 23
    assert not [path for path in server.replica.rglob("*") if path.name == "passwords"]


def test_parts_of_mailboxes_behind_links(tmp_path: Path) -> None:
    """Messages, metadata and archived messages may lie in different partitions, and behind links in some of them."""
    box = Box("3.6.1-rich", tmp_path / "box")
    replica = tmp_path / "replica"
    replica.mkdir()
    for number, root in enumerate(roots(box.conf)):
        for place in sorted(root.glob("uuid/?"))[number % 2 :: 2]:
            disk = tmp_path / f"disk{number}"
            disk.mkdir(exist_ok=True)
            shutil.move(place, disk)
            place.symlink_to(disk / place.name)
            if os.geteuid() == 0:
                os.chown(place, OWNER, OWNER, follow_symlinks=False)
    for _ in range(2):
        assert sync_server(box.conf, "--delete", replica)["errors"] == []
        assert_sound(box.conf, replica)
    assert not [path for path in replica.rglob("*") if path.is_symlink() and "/sieve/" not in str(path)]
