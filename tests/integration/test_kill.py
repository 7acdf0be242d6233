"""kill -9 at random points of a run: nothing is cut off, and the next run finishes the work."""

from __future__ import annotations

import os
import random
import subprocess
import time
from pathlib import Path

import samplespool
from support import warm
from support.campaign import amount
from support.spool import everything_happens
from support.tools import wait_for
from support.tree import assert_same_tree, messages, start_cyrsync, sync
from support.whole import History, assert_indexed_messages_exist

KILLS = amount(10, long=50)


def test_killed_at_random_points(tmp_path: Path) -> None:
    source, replica = tmp_path / "source", tmp_path / "replica"
    # Sizes differ: a killed first copy is compared by size and time alone, and folders may change places meanwhile.
    samplespool.make(source, messages=300, folder_count=10)
    arguments = ("--delete", "--max-delete=1000", f"{source}/", f"{replica}/")
    warm.python()
    started = time.monotonic()
    sync(*arguments)
    duration = time.monotonic() - started

    history = History()
    history.remember(source)
    rng = random.Random(os.urandom(4).hex())
    for number in range(KILLS):
        everything_happens(source, seed=number)
        history.remember(source)
        moment = rng.uniform(0, duration)
        run_and_kill(*arguments, after=moment)
        print(f"kill {number} after {moment:.3f} s")
        history.assert_whole(replica)
        assert_indexed_messages_exist(replica)
        # Every other run finds what two killed ones left.
        if number % 2:
            sync(*arguments)
            assert_same_tree(source, replica)


def test_killed_between_two_swaps(tmp_path: Path) -> None:
    """The replica holds messages of the other mailbox, and metadata of the one that is back."""
    source, replica = tmp_path / "source", tmp_path / "replica"
    samplespool.make(source, messages=300, folder_count=4)
    sent, trash = source / "j/user/joe/Sent", source / "j/user/joe/Trash"
    arguments = ("--delete", "--max-delete=1000", f"{source}/", f"{replica}/")
    sync(*arguments)
    before = messages(replica)

    samplespool.swap(sent, trash)
    with start_cyrsync("sync", *arguments, "--", "--bwlimit=20") as process:
        wait_for(lambda: process.poll() is not None or messages(replica) != before, seconds=30)
        process.kill()

    samplespool.swap(sent, trash)
    sync(*arguments)
    assert_same_tree(source, replica)


def test_killed_between_a_header_and_its_index(tmp_path: Path) -> None:
    """Both stay as they were: they change together, when all of both has arrived."""
    source, replica = tmp_path / "source", tmp_path / "replica"
    samplespool.make(source, messages=2000, folder_count=1)
    (folder,) = samplespool.folders(source)
    there = replica / folder.relative_to(source)
    arguments = ("--delete", f"{source}/", f"{replica}/")
    sync(*arguments)
    before = {name: (there / name).read_bytes() for name in ("cyrus.header", "cyrus.index")}

    header = (folder / "cyrus.header").read_bytes()
    samplespool.replace_header(folder, header.replace(b"$Label1", b"$Label2"))
    arrived = there / ".~tmp~" / "cyrus.header"
    with start_cyrsync("sync", *arguments, "--", "--bwlimit=40", own_group=True) as process:
        wait_for(lambda: process.poll() is not None or arrived.exists(), seconds=30)
        process.kill_group()
    assert arrived.read_bytes() == (folder / "cyrus.header").read_bytes() != before["cyrus.header"]
    assert before == {name: (there / name).read_bytes() for name in before}

    sync(*arguments)
    assert_same_tree(source, replica)
    assert not arrived.parent.exists()


def run_and_kill(*arguments: str, after: float) -> None:
    """Run `cyrsync sync`, and kill it (not what it started) after so many seconds."""
    with start_cyrsync("sync", *arguments) as run:
        try:
            run.wait(after)
        except subprocess.TimeoutExpired:
            run.kill()
