"""What keeps a run from doing harm, and what a run that could not do everything leaves behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

import samplespool
from cyrsync.plan.guard import MaxDelete
from cyrsync.run import Options, Run
from cyrsync.tree import address, walk
from support.spool import count, leaves
from support.tools import children, wait_for
from support.tree import assert_same_tree, cyrsync_argv, messages, plain_env, run_cyrsync, snapshot, sync
from support.whole import History, assert_indexed_messages_exist


class Pair:
    """A spool and its replica."""

    def __init__(self, directory: Path, **sizes: int) -> None:
        self.source, self.replica = directory / "source", directory / "replica"
        samplespool.make(self.source, **{"messages": 300, "folder_count": 8, **sizes})
        self.arguments = ("--delete", f"{self.source}/", f"{self.replica}/")


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """A small spool with a replica that is up to date."""
    pair = Pair(tmp_path)
    sync(*pair.arguments)
    return pair


# --- A source that is not there


def test_an_empty_source_is_refused(pair: Pair) -> None:
    before = snapshot(pair.replica)
    pair.source.rename(pair.source.with_name("elsewhere"))
    pair.source.mkdir()
    done = run_cyrsync("sync", *pair.arguments)
    assert done.returncode == 3
    assert re.fullmatch(rf"cyrsync: {pair.source}/: no Cyrus folder in it.*mounted\?\n", done.stderr)
    assert snapshot(pair.replica) == before


def test_a_missing_source_is_refused(pair: Pair) -> None:
    before = snapshot(pair.replica)
    pair.source.rename(pair.source.with_name("elsewhere"))
    done = run_cyrsync("sync", *pair.arguments)
    assert done.returncode == 3
    assert re.fullmatch(rf"cyrsync: {pair.source}/: no such directory.*\n", done.stderr)
    assert snapshot(pair.replica) == before


def test_a_replica_whose_parent_is_missing_is_refused(pair: Pair, tmp_path: Path) -> None:
    done = run_cyrsync("sync", pair.source, tmp_path / "not" / "there")
    assert done.returncode == 3
    assert "directory above it" in done.stderr
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize("below", ["", "j", "new"])
def test_a_replica_inside_the_source_is_refused(pair: Pair, below: str) -> None:
    done = run_cyrsync("sync", pair.source, pair.source / below)
    assert done.returncode == 3
    assert "inside the other" in done.stderr
    assert not (pair.source / "new").exists()


def test_a_source_inside_the_replica_is_refused(pair: Pair) -> None:
    before = snapshot(pair.source)
    done = run_cyrsync("sync", "--delete", pair.source / "j", pair.source)
    assert done.returncode == 3
    assert snapshot(pair.source) == before


def test_a_link_does_not_hide_that_the_replica_is_the_source(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(pair.source)
    assert run_cyrsync("sync", pair.source, tmp_path / "link").returncode == 3


# --- Folders that cannot be read or written


def test_nothing_goes_below_a_folder_that_cannot_be_read(pair: Pair) -> None:
    samplespool.change(pair.source, new=0.1)
    closed = pair.source / "j/user/joe"
    kept = snapshot(pair.replica / "j/user/joe", dir_mtimes=False)
    shut(closed)
    try:
        report = sync(*pair.arguments, expect=(23,), user=True)
    finally:
        closed.chmod(0o755)
    assert report["folders"]["unreadable"] == 1
    assert [error.split(":")[0] for error in report["errors"]] == ["j/user/joe"]
    assert snapshot(pair.replica / "j/user/joe", dir_mtimes=False) == kept
    sync(*pair.arguments)
    assert_same_tree(pair.source, pair.replica)


def test_all_else_is_sent_beside_a_folder_that_cannot_be_read(pair: Pair) -> None:
    closed = pair.source / "j/user/joe/Sent"
    ann = samplespool.create_folder(pair.source, "user/ann")
    samplespool.deliver(ann, 5)
    shut(closed)
    try:
        sync(*pair.arguments, expect=(23,), user=True)
    finally:
        closed.chmod(0o755)
    assert_same_tree(ann, pair.replica / "a/user/ann")


def test_a_root_that_cannot_be_read_is_refused(pair: Pair) -> None:
    shut(pair.source)
    try:
        done = run_cyrsync("sync", *pair.arguments, user=True)
    finally:
        pair.source.chmod(0o755)
    assert done.returncode == 3
    assert count(pair.replica / "j/user/joe") > 0


def test_a_folder_that_cannot_be_written_keeps_what_it_has(pair: Pair) -> None:
    """Messages that fail hold back their metadata, and with it every deletion in their folder."""
    locked, other = leaves(pair.source)[-2:]
    for folder in (locked, other):
        samplespool.expunge(folder, 2)
        samplespool.deliver(folder, 3)
    copy = pair.replica / locked.relative_to(pair.source)
    before = snapshot(copy)
    copy.chmod(0o555)
    try:
        report = sync(*pair.arguments, "--", "--no-perms", expect=(23,), user=True)
    finally:
        copy.chmod(0o755)
    named = {error.rpartition(": Permission denied")[0] or error for error in report["errors"]}
    assert named == {str((locked / f"{uid}.").relative_to(pair.source)) for uid in newest(locked, 3)}
    assert report["files"]["failed"] >= 3
    assert snapshot(copy, dir_mtimes=False) == {path: entry for path, entry in before.items()}
    assert_same_tree(other, pair.replica / other.relative_to(pair.source))
    assert_indexed_messages_exist(pair.replica)
    sync(*pair.arguments)
    assert_same_tree(pair.source, pair.replica)


def shut(folder: Path) -> None:
    folder.chmod(0)


def newest(folder: Path, number: int) -> list[int]:
    return sorted(int(path.name[:-1]) for path in folder.glob("[0-9]*."))[-number:]
