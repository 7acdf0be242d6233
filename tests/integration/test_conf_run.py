"""The files beside the partitions: what goes, when, and what is not looked at again."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import samplespool
from cyrsync.cyrus.server import database_copy
from cyrsync.far.folder import Entry
from cyrsync.far.receive import Receiver
from cyrsync.server import conf_copier, conf_run, conf_sender
from cyrsync.server.contents import Item
from support.cyrusdb import Skiplist, Twom
from support.meanwhile import before_part
from support.replicas import Pair
from support.strace import strace_calls
from support.tools import requires_root
from support.tree import cyrsync_argv, plain_env, run_cyrsync, snapshot

PAIRS = {b"key": b"value"}


def names_there(pair: Pair) -> set[str]:
    """What the replica has of the configdirectory."""
    there = pair.there(pair.home)
    return {str(path.relative_to(there)) for path in there.rglob("*") if path.is_file() or path.is_symlink()}


TOKEN = ".cyrsync-replica"
CYRUS = 12345


def give(tree: Path, user: int) -> None:
    """Have all in a tree belong to a user, links themselves."""
    for path in (tree, *tree.rglob("*")) if not tree.is_symlink() else (tree,):
        os.chown(path, user, user, follow_symlinks=False)


def test_a_first_run_brings_what_a_server_needs(pair: Pair) -> None:
    pair.write("annotations.db", bytes(Skiplist(PAIRS).data)).chmod(0o600)
    for name in ("msg/shutdown", "proc/1", "deliver.db", "sync/log", "statuscache.db", "log/joe/1"):
        pair.write(name)
    pair.write("domain/e/example.com/user/j/joe.sub").parent.chmod(0o750)
    pair.write(pair.sieve / "j/joe/default.script")
    (pair.sieve / "j/joe/default").symlink_to("default.script")
    os.rename(pair.write(pair.sieve / "j/joe/odd"), os.fsencode(pair.sieve) + b"/j/joe/\xff\n \x1b[31m*[a].script")
    report = pair.sync()
    assert (report["config"], report["errors"]) == ({"seen": 7, "send": 8, "delete": 0}, [])
    pair.assert_same()
    assert names_there(pair) == {
        *[TOKEN, "mailboxes.db", "annotations.db", "user/j/joe.sub", "quota/j/user.joe"],
        "domain/e/example.com/user/j/joe.sub",
    }
    assert pair.there(pair.home / "annotations.db").stat().st_mode & 0o777 == 0o600
    assert pair.sync()["config"] == {"seen": 7, "send": 0, "delete": 0}


@pytest.mark.parametrize("size", [2 << 20, 6 << 20])
def test_a_copy_that_is_cut_off_while_it_is_sent(synced: Pair, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something cleans up where it lies. The file is named, and the others are sent."""
    synced.write("user/j/joe.sub", os.urandom(size))
    synced.write("user/k/kim.sub", b"another\n")
    before = synced.there(synced.home / "user/j/joe.sub").read_bytes()
    kept = conf_sender.pieces_of

    def pieces(name: bytes, entry: Entry, contents: int | bytes) -> Iterator[Item]:
        items = kept(name, entry, contents)
        yield next(items)
        if isinstance(contents, int) and entry.size == size:
            os.truncate(f"/proc/self/fd/{contents}", size - 1000)
        yield from items

    with monkeypatch.context() as patched:
        patched.setattr(conf_sender, "pieces_of", pieces)
        report = synced.sync(expect=23)
    (error,) = report["errors"]
    assert error.startswith(f"{synced.home}/user/j/joe.sub: its copy ")
    assert error.endswith(" was cut off while it was sent: what cleans up there?")
    assert synced.there(synced.home / "user/j/joe.sub").read_bytes() == before
    assert synced.there(synced.home / "user/k/kim.sub").read_bytes() == b"another\n"
    assert synced.sync()["config"]["send"] == 1
    synced.assert_same()


def test_words_for_rsync_are_refused(synced: Pair) -> None:
    synced.write("user/j/joe.sub", b"another\n")
    before = snapshot(synced.replica, skip_hidden=False)
    for words in (("--", "--chmod=a+r"), ("--rsync-path", "rsync")):
        done = run_cyrsync("sync", "-C", synced.conf, synced.replica, *words)
        assert done.returncode == 2
        assert "-C runs no rsync: give SRC and DEST for that" in done.stderr
    assert snapshot(synced.replica, skip_hidden=False) == before


@pytest.mark.parametrize("name", ["user/j/joe.sub", "quota/j/user.joe", "annotations.db", "shared.counters"])
def test_only_what_changed_is_sent(pair: Pair, name: str) -> None:
    pair.write(name, "old")
    pair.sync()
    before = snapshot(pair.replica)
    path = pair.write(name, "new")
    assert pair.sync()["config"]["send"] == 1
    after = snapshot(pair.replica)
    assert pair.there(path).read_text() == "new"
    changed = {entry for entry in after if after[entry].kind == "file" and after[entry] != before.get(entry)}
    assert changed == {os.fsencode(pair.there(path).relative_to(pair.replica))}


@pytest.mark.parametrize("what", ["mode", "owner", "time"])
def test_what_looks_different_is_sent(synced: Pair, what: str) -> None:
    path = synced.home / "user/j/joe.sub"
    if what == "mode":
        path.chmod(0o640)
    elif what == "owner":
        requires_root()
        os.chown(path, 1, 2)
    else:
        os.utime(path, ns=(1, 10**18))
    assert synced.sync()["config"]["send"] == 1
    synced.assert_same()


@pytest.mark.parametrize("grain", [0, 2_000_000_000], ids=["settled", "fresh"])
def test_what_was_written_anew_and_is_the_same_is_not_sent(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, grain: int
) -> None:
    monkeypatch.setattr(conf_copier, "_GRAIN", grain)
    pair.sync()
    path = pair.home / "user/j/joe.sub"
    shutil.copy2(path, path.with_name("fresh"))
    path.with_name("fresh").replace(path)
    report = pair.sync()
    assert (report["config"]["send"], report["rsync_runs"]) == (0, 0)


def test_what_has_not_changed_costs_one_look(synced: Pair, tmp_path: Path) -> None:
    """And the replica is not asked: it is not even there."""
    for number in range(20):
        synced.write(f"user/{'abcd'[number % 4]}/user{number}.seen", bytes(Skiplist(PAIRS).data))
    synced.sync()
    time.sleep(2.1)  # what was written just now may change again unseen
    synced.sync()
    synced.replica.rename(tmp_path / "away")
    argv = cyrsync_argv("sync", "-C", synced.conf, "--delete", synced.replica)
    calls = strace_calls(argv, env=plain_env(), output=tmp_path / "calls")
    files = [os.fsencode(path) for path in synced.home.rglob("*") if path.is_file() and path.name != "mailboxes.db"]
    assert len(files) == 22
    asked = Counter(call.path for call in calls if call.path in files)
    assert asked == dict.fromkeys(files, 1)


def test_a_file_that_is_written_through_memory_is_looked_into(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its times come late."""
    monkeypatch.setattr(conf_copier, "_GRAIN", 0)
    for module in (conf_run, conf_copier):
        monkeypatch.setattr(module, "look_of", lambda status: b"as ever")
    one = pair.write("user/j/joe.conversations", bytes(Twom(PAIRS).data))
    other = pair.write("user/j/joe.seen", bytes(Skiplist(PAIRS).data))
    pair.sync()
    one.write_bytes(bytes(Twom({b"key": b"other"}).data))
    other.write_bytes(bytes(Skiplist({b"key": b"other"}).data))
    assert pair.sync()["config"]["send"] == 1
    assert pair.there(one).read_bytes() == one.read_bytes()


def test_mailboxes_db_alone(synced: Pair) -> None:
    """Numbers are numbers, also where there is nothing else."""
    with (synced.home / "mailboxes.db").open("ab") as database:
        database.write(b"user.zzz\t%(A %() P default S elsewhere)\n")
    report = synced.sync()
    assert report["config"]["send"] == 1
    assert type(report["config"]["send"]) is int
    synced.assert_same()


def test_paths_of_their_own(pair: Pair, tmp_path: Path) -> None:
    with pair.conf.open("a") as conf:
        conf.write(f"annotation_db_path: {tmp_path}/fast/annotations.db\nmboxlist_db_path: {tmp_path}/fast/m.db\n")
    database = pair.write(tmp_path / "fast/annotations.db")
    shutil.move(pair.home / "mailboxes.db", tmp_path / "fast/m.db")
    pair.sync()
    for path in (database, tmp_path / "fast/m.db"):
        assert pair.there(path).read_bytes() == path.read_bytes()


def test_a_linked_directory_is_one_there(pair: Pair, tmp_path: Path) -> None:
    (pair.home / "user").rename(tmp_path / "big")
    (pair.home / "user").symlink_to(tmp_path / "big")
    pair.write("annotations.db").rename(tmp_path / "annotations.db")
    (pair.home / "annotations.db").symlink_to(tmp_path / "annotations.db")
    pair.sync()
    assert not pair.there(pair.home / "user").is_symlink()
    assert pair.there(pair.home / "user/j/joe.sub").read_text() == (tmp_path / "big/j/joe.sub").read_text()
    there = pair.there(pair.home / "annotations.db")
    assert (there.read_text(), there.is_symlink()) == ("text", False)
    (tmp_path / "big/j/joe.sub").unlink()
    pair.sync()
    assert not pair.there(pair.home / "user/j/joe.sub").exists()


FOREIGN = {
    "a database": "annotations.db",
    "a file of all": "shared.counters",
    "a directory": "quota",
    "another directory": "domain",
    "a directory above a file": "msg",
}


@pytest.mark.parametrize("name", FOREIGN.values(), ids=FOREIGN)
def test_a_link_of_cyrus_leads_to_nothing_of_anybody_else(pair: Pair, tmp_path: Path, name: str) -> None:
    """Root reads what Cyrus's user cannot, and the replica may be in other hands."""
    requires_root()
    secret = tmp_path / "secret"
    (secret / "e/example.com/quota/j").mkdir(parents=True)
    secret.chmod(0o700)
    for hidden in ("motd", "j", "e/example.com/quota/j/user.joe"):
        (secret / hidden).parent.mkdir(exist_ok=True)
        if not (secret / hidden).is_dir():
            (secret / hidden).write_text("a secret of root's")
    pair.write("annotations.db")
    give(pair.server.root, CYRUS)
    link = pair.home / name
    if link.is_dir():
        link.rename(tmp_path / "away")
    link.unlink(missing_ok=True)
    link.symlink_to(secret if name in ("quota", "domain", "msg") else secret / "motd")
    os.chown(link, CYRUS, CYRUS, follow_symlinks=False)
    report = pair.sync(expect=23)
    assert any("a link leads to it" in error for error in report["errors"])
    assert not any(b"a secret" in path.read_bytes() for path in pair.replica.rglob("*") if path.is_file())


def test_a_link_of_cyrus_leads_to_its_own_files_and_one_of_root_anywhere(pair: Pair, tmp_path: Path) -> None:
    requires_root()
    (pair.home / "user").rename(tmp_path / "big")
    (pair.home / "user").symlink_to(tmp_path / "big")
    for name in ("annotations.db", "fetchnews.db"):
        pair.write(name).rename(tmp_path / name)
        (pair.home / name).symlink_to(os.path.relpath(tmp_path / name, pair.home))
    pair.write("msg/motd", "root's own")
    for tree in (pair.server.root, tmp_path / "big", tmp_path / "annotations.db", pair.home / "annotations.db"):
        give(tree, CYRUS)
    for roots in (pair.home / "msg/motd", pair.home / "fetchnews.db", tmp_path / "fetchnews.db"):
        os.chown(roots, 0, 0, follow_symlinks=False)
    pair.sync()
    for name in ("annotations.db", "fetchnews.db", "msg/motd", "user/j/joe.sub"):
        assert pair.there(pair.home / name).read_bytes() == (pair.home / name).read_bytes()


def test_a_link_to_a_directory_further_down_is_told_of(pair: Pair, tmp_path: Path) -> None:
    """It goes as it is: what it leads to does not."""
    (pair.home / "user/j").rename(tmp_path / "big")
    (pair.home / "user/j").symlink_to(tmp_path / "big")
    (pair.home / "user/k").symlink_to("../quota/j")
    (pair.home / "user/l").symlink_to("nowhere")
    (warning,) = pair.sync()["warnings"]
    assert warning == f"{pair.home}/user/j: a link to a directory: what is in that is not sent"
    pair.assert_same()


def test_a_dry_run_counts_and_does_nothing(pair: Pair) -> None:
    for number in range(2):
        before = pair.everything()
        expected = pair.sync("-n")
        assert pair.everything() == before
        assert expected["config"] == pair.sync()["config"]
        assert expected["config"]["send"] == 3
        pair.write("user/j/joe.sub", "new")
        pair.write("user/a/ann.sub", "new")
        samplespool.create_folder(pair.server.spool, f"user/ann/New {number}")
        pair.server.record()


# --- In which order


def test_mailboxes_db_is_last(synced: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    samplespool.deliver(samplespool.create_folder(synced.server.spool, "user/ann/New"), 3)
    synced.server.record()
    synced.write("user/j/joe.sub", "new")
    names = []
    kept = Receiver._write

    def write(self: Receiver, name: bytes, *more: Any, **words: Any) -> None:
        names.append(name)
        kept(self, name, *more, **words)

    monkeypatch.setattr(Receiver, "_write", write)
    synced.sync()
    assert names[-2:] == [b"joe.sub", b"mailboxes.db"]
    assert names[-3] == b"cyrus.index"


def test_mailboxes_db_is_that_of_the_mailboxes(synced: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is replaced while they are sent, and has one more, which is not there yet."""
    spool = synced.server.spool
    samplespool.deliver(samplespool.create_folder(spool, "user/ann/New"), 3)
    synced.server.record()
    first = synced.server.database.read_bytes()
    late = samplespool.create_folder(tmp_path / "late", "user/zoe")
    home = spool / late.relative_to(tmp_path / "late")

    def moves() -> None:
        home.parent.mkdir(parents=True)
        late.rename(home)
        with synced.server.database.open("ab") as database:
            database.write(b"user.zoe\t%(A %() P default)\n")

    with monkeypatch.context() as patched:
        before_part(patched, 0, moves)
        synced.sync()
    assert synced.there(synced.server.database).read_bytes() == first
    assert not synced.there(home).exists()
    synced.sync()
    synced.assert_same()
    assert synced.there(home).exists()


# --- What goes wrong


def test_a_locked_database(synced: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named; all else goes, mailboxes.db too, and the next run sends it."""
    monkeypatch.setattr("cyrsync.cyrus.mailbox.snapshot.PATIENCE", 0.1)
    path = synced.write("user/j/joe.seen", bytes(Skiplist(PAIRS).data))
    synced.write("user/a/ann.sub")
    synced.change()
    script = "import fcntl,sys; f=open(sys.argv[1],'r+b'); fcntl.lockf(f,fcntl.LOCK_EX); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdin and writer.stdout
        writer.stdout.readline()
        report = synced.sync(expect=23)
        writer.stdin.close()
    assert report["errors"] == [f"{path}: locked by a writer for 0.1 seconds"]
    assert not synced.there(path).exists()
    assert synced.there(synced.home / "user/a/ann.sub").exists()
    synced.sync()
    synced.assert_same()


def test_no_room_for_a_copy(synced: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends, and does not come to mailboxes.db; the next one does it all."""
    synced.write("user/j/joe.sub", "new")
    samplespool.deliver(samplespool.create_folder(synced.server.spool, "user/ann/New"), 3)
    synced.server.record()
    before = synced.there(synced.server.database).read_bytes()
    with monkeypatch.context() as patch:

        def full(path: bytes, to: bytes, *words: Any) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), to)

        patch.setattr(database_copy, "copy", full)
        (error,) = synced.sync(expect=11)["errors"]
    assert error.endswith("No space left on device")
    assert synced.there(synced.server.database).read_bytes() == before
    assert synced.sync()["warnings"] == []
    synced.assert_same()


def test_what_a_killed_run_has_sent_is_known(synced: Pair) -> None:
    """Also when it is gone before the next run."""
    path = synced.write("user/a/ann.sub", "new")
    script = "import os, signal\nfrom cyrsync.state.conf_table import ConfTable\nkept = ConfTable.put\n"
    script += "def put(self, rows):\n rows = list(rows)\n if any(row.digest for row in rows if b'ann' in row.path):\n"
    script += "  os.kill(os.getpid(), signal.SIGKILL)\n kept(self, rows)\n"
    script += "ConfTable.put = put\nfrom cyrsync.cli.app import main\nmain()"
    argv = [sys.executable, "-c", script, "sync", "-C", str(synced.conf), str(synced.replica)]
    done = subprocess.run(argv, env=plain_env(), check=False)
    assert done.returncode == -signal.SIGKILL
    assert synced.there(path).exists()
    path.unlink()
    synced.sync()
    assert not synced.there(path).exists()
    synced.assert_same()
