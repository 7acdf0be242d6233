"""With --history, what the replica loses is kept in it: mailboxes as they were, messages by SHA-1, other files."""

from __future__ import annotations

import gzip
import hashlib
import os
import time
from pathlib import Path

import pytest

import samplespool
from cyrsync.cyrus.mailbox import header, records
from cyrsync.far import store
from support.inside import sync_server_here
from support.pairs import PAUSE, Pair
from support.servers import assert_sound, below
from support.sshd import Sshd
from support.tree import run_cyrsync


class Kept(Pair):
    """Its replica keeps what it loses."""

    def __init__(self, directory: Path, sshd: Sshd | None = None) -> None:
        super().__init__(directory, sshd, "--history")
        self.folder = next(one for one in self.folders if not any(path.is_dir() for path in one.iterdir()))

    def prune(self) -> None:
        """Have packed what waits for that."""
        done = run_cyrsync("prune", "-C", self.server.conf, *self.words)
        assert (done.returncode, done.stderr) == (0, "")

    @property
    def store(self) -> Path:
        """What is kept below the spool."""
        return below(self.replica, self.server.spool) / os.fsdecode(store.STORE)

    def states(self, folder: Path) -> list[Path]:
        """The states of a mailbox, by its folder on the server, the oldest first."""
        return states_of(self.store, uniqueid_of(folder))

    def pool(self) -> dict[str, bytes]:
        """What is in the pool, by name."""
        return {path.name: path.read_bytes() for path in self.store.glob("messages/*/*")}


def uniqueid_of(folder: Path) -> str:
    return header.uniqueid((folder / "cyrus.header").read_bytes())


def states_of(kept: Path, uniqueid: str) -> list[Path]:
    found = (kept / "mailboxes" / uniqueid).glob("*Z")
    return sorted(found)


def index_of(state: Path) -> bytes:
    """The index of a state, as a person would get it."""
    if (state / "cyrus.index.gz").exists():
        return gzip.decompress((state / "cyrus.index.gz").read_bytes())
    if (state / "cyrus.index.pieces").exists():
        names = (state / "cyrus.index.pieces").read_text().split()
        return gzip.decompress(b"".join((state.parent / "pieces" / name).read_bytes() for name in names))
    return (state / "cyrus.index").read_bytes()


def names_in(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def sha1(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@pytest.fixture(params=["here", "over ssh"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    return Kept(tmp_path, request.getfixturevalue("sshd") if request.param == "over ssh" else None)


def test_a_first_copy_has_nothing_to_keep(kept: Kept) -> None:
    assert not list(kept.store.glob("mailboxes/*"))
    assert kept.pool() == {}


def test_the_state_before_a_change_is_kept(kept: Kept) -> None:
    before = {name: (kept.folder / name).read_bytes() for name in ("cyrus.header", "cyrus.index")}
    mtime = (kept.folder / "cyrus.index").stat().st_mtime_ns
    samplespool.deliver(kept.folder, 2)
    kept.sync()
    (state,) = kept.states(kept.folder)
    assert state.name == os.fsdecode(store.since(mtime))
    assert store.time_of(os.fsencode(state.name)) == mtime
    assert index_of(state) == before["cyrus.index"]
    assert (state / "cyrus.header").read_bytes() == before["cyrus.header"]
    assert os.readlink(state / "folder") == str(kept.folder.relative_to(kept.server.spool))
    assert sorted(path.name for path in state.iterdir()) == ["cyrus.header", "cyrus.index", "folder"]
    assert kept.store.stat().st_mode & 0o777 == 0o700
    kept.prune()
    assert sorted(path.name for path in state.iterdir()) == ["cyrus.header", "cyrus.index.gz", "folder"]
    assert index_of(state) == before["cyrus.index"]
    assert not list((kept.store / "unpacked").iterdir())


def test_messages_that_are_expunged_are_in_the_pool(kept: Kept) -> None:
    messages = {path.name: path for path in kept.folder.glob("*[0-9].")}
    bodies = {name: path.read_bytes() for name, path in messages.items()}
    inodes = {path.name: path.stat().st_ino for path in below(kept.replica, kept.folder).glob("*[0-9].")}
    samplespool.expunge(kept.folder, 3)
    gone = [body for name, body in bodies.items() if not messages[name].exists()]
    lost = {inodes[name] for name in bodies if not messages[name].exists()}
    assert len(gone) == 3
    kept.sync()
    assert kept.pool() == {sha1(body): body for body in gone}
    assert {path.stat().st_ino for path in kept.store.glob("messages/*/*")} == lost  # moved, not copied
    (state,) = kept.states(kept.folder)
    index = records.read(index_of(state))
    assert {index.guid(number).hex() for number in range(len(index))} >= set(kept.pool())


def test_a_mailbox_that_is_deleted_is_kept_whole(kept: Kept) -> None:
    uniqueid, bodies = uniqueid_of(kept.folder), [path.read_bytes() for path in kept.folder.glob("*[0-9].")]
    index = (kept.folder / "cyrus.index").read_bytes()
    kept.server.delete(kept.folder)
    kept.sync("--max-delete=50%")
    assert not below(kept.replica, kept.folder).exists()
    (state,) = states_of(kept.store, uniqueid)
    assert index_of(state) == index
    assert kept.pool() == {sha1(body): body for body in bodies}


def test_a_mailbox_that_is_made_again_keeps_the_one_before(kept: Kept) -> None:
    uniqueid, bodies = uniqueid_of(kept.folder), [path.read_bytes() for path in kept.folder.glob("*[0-9].")]
    index = (kept.folder / "cyrus.index").read_bytes()
    samplespool.recreate_folder(kept.folder, 3)
    kept.server.record()
    kept.sync("--max-delete=50%")
    assert index_of(states_of(kept.store, uniqueid)[0]) == index
    assert set(kept.pool()) >= {sha1(body) for body in bodies}


def test_files_of_the_configdirectory_are_kept(kept: Kept) -> None:
    database = kept.server.database
    before, mtime = database.read_bytes(), database.stat().st_mtime_ns
    samplespool.create_folder(kept.server.spool, "user/joe/New")
    kept.server.record()
    kept.sync()
    there = below(kept.replica, database.parent) / os.fsdecode(store.STORE) / "files" / f"{database.name}.versions"
    (state,) = there.iterdir()
    assert (state.name, state.read_bytes()) == (os.fsdecode(store.since(mtime)), before)
    kept.prune()
    (state,) = there.iterdir()
    assert gzip.decompress(state.read_bytes()) == before
    assert state.name == os.fsdecode(store.since(mtime)) + ".gz"


def test_files_of_users_that_are_gone_are_kept(kept: Kept) -> None:
    subscriptions = kept.server.database.parent / "user" / "j" / "joe.sub"
    subscriptions.parent.mkdir(parents=True)
    subscriptions.write_bytes(b"user.joe.Lists\t\n")
    kept.sync()
    subscriptions.unlink()
    kept.sync()
    assert not below(kept.replica, subscriptions).exists()
    there = below(kept.replica, kept.server.database.parent) / os.fsdecode(store.STORE)
    (state,) = (there / "files" / "user" / "j" / "joe.sub.versions").iterdir()
    assert state.read_bytes() == b"user.joe.Lists\t\n"


def test_a_run_that_was_not_asked_keeps_all_the_same(kept: Kept) -> None:
    samplespool.expunge(kept.folder, 1)
    kept.sync()
    samplespool.expunge(kept.folder, 1)
    time.sleep(PAUSE)
    sync_server_here(kept.server.conf, "--delete", *kept.words)
    assert len(kept.pool()) == 2
    assert len(kept.states(kept.folder)) == 2


def test_nothing_is_kept_unless_asked(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    samplespool.expunge(pair.folders[0], 1)
    pair.sync()
    assert not (pair.there(pair.server.spool) / os.fsdecode(store.STORE)).exists()


def test_a_run_without_changes_does_not_ask_for_the_replica(kept: Kept) -> None:
    """Though something waits there to be packed: the replica is not even there."""
    samplespool.expunge(kept.folder, 1)
    kept.sync()
    assert list((kept.store / "unpacked").iterdir())
    time.sleep(2.1)  # what was written just now may change again unseen
    kept.sync()
    kept.replica.rename(kept.replica.with_name("away"))
    assert kept.sync()["warnings"] == []


def test_what_is_kept_is_no_part_of_the_replica(kept: Kept) -> None:
    """Neither for a run that compares everything, nor for an audit."""
    samplespool.expunge(kept.folder, 2)
    samplespool.deliver(kept.folder, 1)
    kept.sync()
    before = names_in(kept.store)
    report = kept.sync("--full")
    assert (report["messages"]["delete"], report["messages"]["send"], report["warnings"]) == (0, 0, [])
    assert_sound(kept.server.conf, kept.replica)
    assert names_in(kept.store) == before


def test_shards_and_streams_side_by_side_keep_the_same(kept: Kept) -> None:
    folders = kept.server.folders()
    for folder in folders:
        samplespool.expunge(folder, 1)
    kept.sync("--jobs", "3")
    assert len(kept.pool()) == len(folders)
    assert all(kept.states(folder) for folder in folders)
    kept.prune()
    assert not list((kept.store / "unpacked").iterdir())


def test_what_cannot_be_kept_is_not_deleted(kept: Kept) -> None:
    """Here a file stands where the pool has to be."""
    (kept.store.parent / os.fsdecode(store.STORE)).mkdir(exist_ok=True)
    (kept.store / "messages").write_bytes(b"")
    before = {path.name for path in below(kept.replica, kept.folder).glob("*[0-9].")}
    samplespool.expunge(kept.folder, 2)
    report = kept.sync(expect=23)
    assert report["errors"]
    assert {path.name for path in below(kept.replica, kept.folder).glob("*[0-9].")} == before
    (kept.store / "messages").unlink()
    kept.sync()
    assert len(kept.pool()) == 2


@pytest.mark.parametrize("how", ["renamed over another", "swapped with another"])
def test_messages_whose_names_are_taken_by_a_renamed_mailbox_are_kept(kept: Kept, how: str) -> None:
    one, other = [path for path in kept.server.folders() if not any(below.is_dir() for below in path.iterdir())][:2]
    for folder in (one, other):
        samplespool.recreate_folder(folder, 2)
    kept.server.record()
    kept.sync()
    uniqueid, bodies = uniqueid_of(one), {sha1(path.read_bytes()) for path in one.glob("*[0-9].")}
    if how == "swapped with another":
        samplespool.recreate_folder(one, 2)
        samplespool.swap(one, other)
    else:
        samplespool.delete_folder(one)
        other.rename(one)
    kept.server.record()
    kept.sync()
    states = states_of(kept.store, uniqueid)
    assert {os.readlink(state / "folder") for state in states} == {str(one.relative_to(kept.server.spool))}
    assert bodies <= set(kept.pool())
