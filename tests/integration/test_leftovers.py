"""Temporary files that a killed run of the index engine has left on the replica: the next one removes them."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import samplespool
from support.replicas import Pair
from support.servers import SampleServer, below, sync_server
from support.spool import leaves
from support.sshd import Sshd
from support.tools import wait_for
from support.tree import assert_same_tree, run_cyrsync, start_cyrsync

BIG = 3_000_000
OLD = 2 * 86400
TEMPORARY = re.compile(r"\..+\.[A-Za-z0-9]{6}")


def temporary(replica: Path) -> set[str]:
    """Names of what an rsync was about to rename."""
    return {path.name for path in replica.rglob(".*") if TEMPORARY.fullmatch(path.name) or path.name == ".~tmp~"}


def kill_when(found: Callable[[], bool], *words: str | Path, sshd: Sshd | None = None) -> None:
    """Kill a slow run, and all that it has started, at both ends."""
    with start_cyrsync("sync", "--bwlimit=300", *words, own_group=True) as process:
        wait_for(lambda: process.poll() is not None or found(), seconds=60)
        assert process.poll() is None
        if sshd:
            for pid in sshd.sessions():
                os.kill(pid, signal.SIGSTOP)  # an rsync that sees the other's end would clean up
            sshd.hang_up()
        process.kill_group()


@pytest.mark.parametrize("over", ["here", "ssh"])
def test_the_next_run_removes_what_a_killed_one_left(over: str, mortal_sshd: Sshd, tmp_path: Path) -> None:
    """Of a big message in one mailbox that is there, and of one in a mailbox that is new; nothing else is touched."""
    server, replica = SampleServer(tmp_path / "server", messages=40, folder_count=6), tmp_path / "replica"
    replica.mkdir()
    sshd = mortal_sshd if over == "ssh" else None
    words = ("--delete", "--no-config", *(("-e", sshd.rsh, sshd.at(replica)) if sshd else (replica,)))
    sync_server(server.conf, *words)
    there = below(replica, server.spool)
    aside = there / ".cyrsync-renamed"

    folder = leaves(server.spool)[0]
    (uid,) = samplespool.deliver(folder, 1, size=BIG)
    server.record()
    kill_when(lambda: bool(temporary(there)), "-C", server.conf, *words, sshd=sshd)
    assert {name[:-7].rstrip(".") for name in temporary(there)} == {f".{uid}"}
    # Nobody knows whose these are: other names than this run was sending, and a directory.
    kept = [there / folder.relative_to(server.spool) / name for name in (f".{uid + 7}..AbCdEf", ".hidden")]
    for path in kept:
        path.write_text("")
    directory = kept[0].with_name(f".{uid}..ABCDEF")
    directory.mkdir()
    sync_server(server.conf, *words)
    assert temporary(there) == {kept[0].name, directory.name}
    assert_same_tree(server.spool, there, dir_mtimes=False)
    directory.rmdir()
    for path in kept:
        path.unlink()

    new = samplespool.create_folder(server.spool, "user/joe/New")
    (uid,) = samplespool.deliver(new, 1, size=BIG)
    server.record()
    kill_when(lambda: bool(list(aside.glob("*/*"))), "-C", server.conf, *words, sshd=sshd)
    assert [path.name for path in aside.glob("*/*")] == [f"{uid}."]
    assert not (there / new.relative_to(server.spool)).exists()
    sync_server(server.conf, *words)
    assert not aside.exists()
    assert_same_tree(server.spool, there, dir_mtimes=False)


def test_what_never_came_to_its_place_is_removed(tmp_path: Path) -> None:
    """Also of a mailbox that is sent nothing after that, as it was deleted meanwhile, and others live in it."""
    server, replica = SampleServer(tmp_path / "server", messages=4000, folder_count=1), tmp_path / "replica"
    replica.mkdir()
    words = ("-C", server.conf, "--delete", "--max-delete=100%", "--no-config", replica)
    run_cyrsync("sync", *words)
    (folder,) = server.folders()
    there = below(replica, folder)
    inside = samplespool.create_folder(server.spool, "/".join((*folder.relative_to(server.spool).parts[1:], "inside")))
    samplespool.deliver(folder, 200)
    server.record()
    kill_when(lambda: bool(temporary(replica)), *words)
    for path in folder.iterdir():
        if path != inside:
            path.unlink()
    server.record()
    sync_server(server.conf, "--delete", "--max-delete=100%", "--no-config", replica)
    assert {path.name for path in there.iterdir()} == {"inside"}


def test_a_users_file_that_was_cut_off_is_removed(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    pair.sync()
    pair.write("user/j/joe.sub", os.urandom(BIG))
    there = pair.there(pair.home / "user/j")
    kill_when(lambda: bool(temporary(there)), "-C", pair.conf, "--delete", pair.replica)
    assert temporary(there)
    other = there / ".ann.sub.AbCdEf"
    other.write_text("")
    pair.sync()
    assert temporary(there) == {other.name}
    pair.assert_same()


@pytest.mark.parametrize("word", ["--full", "--delete"])
def test_a_full_run_removes_what_is_old(tmp_path: Path, word: str) -> None:
    server, replica = SampleServer(tmp_path / "server", messages=40, folder_count=6), tmp_path / "replica"
    replica.mkdir()
    sync_server(server.conf, "--delete", replica)
    folder = below(replica, leaves(server.spool)[0])
    old, young = folder / ".1..AbCdEf", folder / ".cyrus.index.AbCdEf"
    updates = folder / ".~tmp~"
    updates.mkdir()
    for path in (old, young, updates / "cyrus.index"):
        path.write_text("")
    for path in (old, updates):
        os.utime(path, (time.time() - OLD,) * 2)
    sync_server(server.conf, "--delete", word, replica)
    assert temporary(replica) == ({young.name} if word == "--full" else {old.name, young.name, updates.name})
