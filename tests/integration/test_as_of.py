"""Of every moment of a random history, a tree as of then has all that the server had."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sampleindex
import samplespool
from cyrsync.cyrus.mailbox import header, records
from cyrsync.cyrus.server.db import reader
from cyrsync.history import contents, reading
from cyrsync.history.as_of import tree_as_of
from cyrsync.history.choose import Request
from cyrsync.history.kept.kept import Kept
from cyrsync.history.tree import Tree, open_tree
from support.boxes import Box
from support.cyrusdb import Skiplist
from support.inside import sync_server_here
from support.kept import KeepingReplica
from support.servers import SampleServer
from support.tree import run_cyrsync

Fingerprint = dict[str, Any]
#: Two steps are told apart by the clock of the file system.
TICK = 0.02


class Actor:
    """Does to a server what its users do."""

    def __init__(self, server: SampleServer, seed: int, *, uniqueids: bool) -> None:
        self.server, self.rng, self.uniqueids = server, random.Random(seed), uniqueids
        self.made = 0

    def act(self) -> None:
        """One thing, and what mailboxes.db has of it."""
        rng, folders = self.rng, self.server.folders()
        folder, other = rng.sample(folders, 2)
        ways = ["deliver", "flag", "expunge", "move", "rename", "delete", "recreate", "create"]
        match rng.choices(ways, [4, 3, 4, 3, 1, 1, 1, 1])[0]:
            case "deliver":
                samplespool.deliver(folder, rng.randint(1, 4), rng=rng)
            case "flag":
                samplespool.set_flags(folder, rng=rng)
            case "expunge":
                samplespool.expunge(folder, rng.randint(1, 5), rng=rng)
            case "move":
                self._move(folder, other)
            case "rename" if folder not in other.parents and other not in folder.parents:
                samplespool.swap(folder, other)
            case "recreate":
                samplespool.recreate_folder(folder, rng.randint(0, 3), rng=rng)
            case "create":
                self.made += 1
                made = samplespool.create_folder(self.server.spool, f"user/ann/Made{self.made}", rng=rng)
                samplespool.deliver(made, 2, rng=rng)
            case "delete" if len(folders) > 4:
                samplespool.delete_folder(folder)
        self.record()

    def record(self) -> None:
        """Write mailboxes.db, be it as it was."""
        self.server.record()
        if self.uniqueids:
            lines = []
            for line in self.server.database.read_bytes().splitlines():
                name = line.partition(b"\t")[0].decode()
                path = self.server.folder(name.replace(".", "/")) / "cyrus.header"
                uniqueid = header.uniqueid(path.read_bytes()).encode()
                lines.append(b"%s\t%%(A %%() I %s P default)\n" % (name.encode(), uniqueid))
            self.server.database.write_bytes(b"".join(lines))

    def _move(self, folder: Path, other: Path) -> None:
        """To another folder: one message there gets the bytes of one here, which is expunged."""
        index = sampleindex.read_index(folder)
        live = sampleindex.live_records(index)
        if live:
            at = self.rng.choice(live)
            data = (folder / f"{sampleindex.get(index, at)}.").read_bytes()
            with mock.patch.object(samplespool, "mail", return_value=(data, b"")):
                samplespool.deliver(other, 1, rng=self.rng)
            samplespool.expunge(folder, 1, rng=self.rng)


def fingerprint(tree: Tree, *, only_expunged: bool = False) -> Fingerprint:
    """All that users see: mailboxes, UIDs, flags, dates, and the bytes of messages; or what was expunged."""
    errors: list[str] = []
    found: Fingerprint = {}
    for one in reading.selections(tree, Request(only_expunged=only_expunged), errors.append):
        messages = {
            message.uid: (message.flags, message.internaldate, hashlib.sha1(contents.whole(message)).hexdigest())
            for message in one.messages()
        }
        assert one.mailbox.name not in found
        found[one.mailbox.name.decode()] = one.mailbox.uniqueid, one.mailbox.uidvalidity, messages
    assert not errors
    return found


def differences(left: Fingerprint, right: Fingerprint) -> list[str]:
    return [name for name in sorted(left.keys() | right.keys()) if left.get(name) != right.get(name)]


class SyncedReplica:
    """A replica that `sync -C --history` makes."""

    def __init__(self, server: SampleServer, top: Path) -> None:
        self.server, self.top, self.conf = server, top, server.conf
        top.mkdir()

    def sync(self) -> None:
        sync_server_here(self.server.conf, "--delete", "--history", str(self.top))


@pytest.mark.parametrize(
    ("kept_by", "known_by"),
    [
        *[("sync", known_by) for known_by in ("uniqueid", "path", "states", "no imapd.conf")],
        ("hand", "uniqueid"),
        ("hand, in pieces", "path"),
    ],
)
def test_every_moment_of_a_random_history(tmp_path: Path, kept_by: str, known_by: str) -> None:
    seed = random.Random(f"{kept_by} {known_by}").randrange(10**6)
    server = SampleServer(tmp_path / "server", messages=60, folder_count=8)
    replica: SyncedReplica | KeepingReplica
    if kept_by == "sync":
        replica = SyncedReplica(server, tmp_path / "replica")
    else:
        replica = KeepingReplica(server, tmp_path / "replica", pack="pieces" if "pieces" in kept_by else "no")
    actor = Actor(server, seed, uniqueids=known_by == "uniqueid")
    actor.record()
    replica.sync()
    truth: list[tuple[int, Fingerprint]] = []
    by_database = known_by in ("uniqueid", "path")
    for _ in range(25):
        time.sleep(TICK)
        actor.act()
        before, seen = time.time_ns(), fingerprint(open_tree(b"/", str(server.conf)))
        time.sleep(TICK)
        replica.sync()
        # When a mailbox was deleted, its states alone tell no better than that it was gone in that run.
        truth.append((before if by_database else time.time_ns(), seen))
    if not by_database:
        for path in list(replica.top.rglob("mailboxes.db*")):
            path.unlink() if path.is_file() else shutil.rmtree(path)
    conf = str(replica.conf) if known_by != "no imapd.conf" else None
    live = open_tree(os.fsencode(replica.top), conf)
    for number, (when, seen) in enumerate(truth):
        then = fingerprint(tree_as_of(live, when))
        assert not differences(seen, then), (seed, number)
    assert [one for one in live.warnings if "looked for" not in one] == []


def test_what_was_written_anew_as_it_was(tmp_path: Path) -> None:
    """So Cyrus does with an index when another user opens a shared folder: what is in it was so before, too."""
    server = SampleServer(tmp_path / "server", messages=20, folder_count=3)
    replica, actor = SyncedReplica(server, tmp_path / "replica"), Actor(server, 1, uniqueids=True)
    actor.record()
    folder = server.folders()[0]

    def change(name: str) -> None:
        samplespool.deliver(folder, 1, rng=actor.rng)
        samplespool.create_folder(server.spool, f"user/ann/{name}", rng=actor.rng)
        actor.record()
        time.sleep(TICK)

    replica.sync()
    change("One")
    when, seen = time.time_ns(), fingerprint(open_tree(b"/", str(server.conf)))
    time.sleep(TICK)
    replica.sync()
    for path in (folder / "cyrus.index", server.database):
        path.touch()
    replica.sync()
    change("Two")
    replica.sync()
    live = open_tree(os.fsencode(replica.top), str(server.conf))
    assert not differences(seen, fingerprint(tree_as_of(live, when)))


@settings(max_examples=5)
@given(hours=st.lists(st.integers(-5, 5), min_size=1, max_size=4))
def test_a_clock_that_is_set_back(tmp_path_factory: pytest.TempPathFactory, hours: list[int]) -> None:
    """What was there last holds from then on, whatever the source's clock says. `hours` is how far that is set."""
    root = tmp_path_factory.mktemp("clock")
    server = SampleServer(root / "server", messages=20, folder_count=3)
    replica, actor = SyncedReplica(server, root / "replica"), Actor(server, 1, uniqueids=True)
    folder, wrong = server.folders()[0], time.time_ns() - 100 * 3600 * 10**9
    for number, change in enumerate([0, *hours]):
        wrong += change * 3600 * 10**9
        samplespool.create_folder(server.spool, f"user/ann/Made{number}", rng=actor.rng)
        samplespool.deliver(folder, 1, rng=actor.rng)
        actor.record()
        for path in (folder / "cyrus.index", server.database):
            os.utime(path, ns=(wrong, wrong))
        seen = fingerprint(open_tree(b"/", str(server.conf)))
        replica.sync()
        live = open_tree(os.fsencode(replica.top), str(server.conf))
        assert not differences(seen, fingerprint(tree_as_of(live, time.time_ns()) if number else live)), number
    kept = Kept(live)
    for mailbox in kept.mailboxes:
        sizes = [len(records.read(state.index()).uids) for state in kept.states(mailbox)]
        assert sizes == sorted(sizes)


def test_partitions_for_metadata_and_for_old_mail(tmp_path: Path) -> None:
    """The states are in one root, and messages that are gone in two others."""
    box = Box("3.6.1-rich", tmp_path)
    top, conf = tmp_path / "replica", str(box.conf)
    top.mkdir()
    sync_server_here(box.conf, "--delete", "--history", str(top))
    time.sleep(TICK)
    when, seen = time.time_ns(), fingerprint(open_tree(b"/", conf))
    (place,) = [one for one in open_tree(b"/", conf).mailboxes if one.mailbox.name == b"example.com!user.joe"]
    assert len({place.data, place.meta, place.archive}) == 3
    path = Path(os.fsdecode(place.files.index_path))
    index, gone = bytearray(path.read_bytes()), []
    for folder in (place.data, place.archive):
        name = min(name for name in os.listdir(folder) if name.endswith(b".") and name[:-1].isdigit())
        at = next(at for at in sampleindex.live_records(index) if sampleindex.get(index, at) == int(name[:-1]))
        sampleindex.set_record(index, at, sampleindex.get(index, at + 32) | sampleindex.GONE, 1)
        gone.append(Path(os.fsdecode(os.path.join(folder, name))))
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / path.name).write_bytes(index)
    sampleindex.write_index(alone, index, sampleindex.get_long(index, 68))
    path.write_bytes((alone / path.name).read_bytes())
    for one in gone:
        one.unlink()
    time.sleep(TICK)
    sync_server_here(box.conf, "--delete", "--history", str(top))
    assert len(list(top.rglob(".cyrsync-history/messages/*/*"))) == 2
    live = open_tree(os.fsencode(top), conf)
    assert not differences(seen, fingerprint(tree_as_of(live, when)))
    assert differences(seen, fingerprint(live)) == ["example.com!user.joe"]
    # Where the stores are is found without imapd.conf, too.
    assert not differences(seen, fingerprint(tree_as_of(open_tree(os.fsencode(top), None), when)))


def test_mailboxes_of_an_old_cyrus(tmp_path: Path) -> None:
    """2.3 has expunged messages in a file of their own, and no GUIDs: the store has the SHA-1 of what went."""
    box = Box("2.3.12-plain", tmp_path)
    top, conf = tmp_path / "replica", str(box.conf)
    top.mkdir()
    sync_server_here(box.conf, "--delete", "--history", str(top))
    time.sleep(TICK)
    tree = open_tree(b"/", conf)
    when, seen, expunged = time.time_ns(), fingerprint(tree), fingerprint(tree, only_expunged=True)
    database = box.root / "conf" / "mailboxes.db"
    pairs = dict(reader.read(bytes(database)))
    gone = [one for one in box.mailboxes if one["name"] in ("user.joe", "user.joe.Sent")]
    for one in gone:
        assert one["n_visible"] and pairs.pop(one["name"].encode())
        samplespool.delete_folder(box.root / one["datadir"])
    database.write_bytes(Skiplist(pairs).data)
    time.sleep(TICK)
    sync_server_here(box.conf, "--delete", "--history", str(top))
    live = open_tree(os.fsencode(top), conf)
    assert differences(seen, fingerprint(live)) == [one["name"] for one in gone]
    assert not differences(seen, fingerprint(tree_as_of(live, when)))
    assert not differences(expunged, fingerprint(tree_as_of(live, when), only_expunged=True))
    (one,) = reading.selections(tree_as_of(live, when), Request("user.joe"), [].append)
    assert all(message.guid for message in one.messages())
    done = run_cyrsync("verify", "--history", top, "-C", conf, "--content")
    assert (done.returncode, done.stderr) == (0, "")
