"""Folders are read ahead where the disk has to be waited for, and come in the same order anyway."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from random import Random

import pytest

from cyrsync.far import read_ahead
from cyrsync.far.folder import Folder
from cyrsync.far.read_ahead import ReadAhead
from cyrsync.far.walk import walk
from support.random_tree import RandomTree


class Usage:
    """Stands in for `resource`: every look finds another block read, if the disk is cold."""

    RUSAGE_THREAD = 0

    def __init__(self, cold: bool) -> None:
        self.cold = cold
        self.ru_inblock = 0

    def getrusage(self, who: int) -> Usage:
        now = Usage(self.cold)
        self.ru_inblock = now.ru_inblock = self.ru_inblock + self.cold
        return now


@pytest.fixture(params=[False, True], ids=["warm", "cold"])
def cold(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(read_ahead, "resource", Usage(request.param))
    return bool(request.param)


def test_threads_only_where_the_disk_is_waited_for(cold: bool) -> None:
    readers = {}

    def read(path: bytes) -> Folder:
        readers[path] = threading.current_thread()
        return Folder(path)

    ahead = ReadAhead(read, lambda: read)
    paths = [b"%d" % number for number in range(30)]
    pending = paths[::-1]
    found = []
    while pending:
        path = pending.pop()
        found.append(ahead.read(path, pending).path)
    ahead.close()
    assert found == paths
    assert readers.keys() == set(paths)
    assert readers[b"0"] is threading.main_thread()
    assert (readers[b"20"] is threading.main_thread()) is not cold


def test_each_folder_is_read_once_and_not_far_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "resource", Usage(cold=True))
    read: list[bytes] = []
    lock = threading.Lock()

    def reads(path: bytes) -> Folder:
        with lock:
            read.append(path)
        return Folder(path)

    ahead = ReadAhead(reads, lambda: reads)
    pending = [b"%d" % number for number in range(100)][::-1]
    for done in range(100):
        path = pending.pop()
        ahead.read(path, pending)
        assert len(read) <= done + 1 + 8
    ahead.close()
    assert len(read) == len(set(read)) == 100


def test_a_walk_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = RandomTree(os.fsencode(tmp_path / "tree"), Random(7))
    tree.change(60)
    monkeypatch.setattr(read_ahead, "resource", Usage(cold=False))
    expected = list(walk(tree.root))
    monkeypatch.setattr(read_ahead, "resource", Usage(cold=True))
    assert list(walk(tree.root)) == expected


def test_a_walk_that_is_given_up_leaves_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "resource", Usage(cold=True))
    for name in "abcdefghij":
        (tmp_path / name).mkdir()
    before = threading.active_count()
    folders = walk(os.fsencode(tmp_path))
    for _ in range(5):
        next(folders)
    assert threading.active_count() > before
    folders.close()
    assert threading.active_count() == before


def test_an_error_reaches_who_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "resource", Usage(cold=True))

    def read(path: bytes) -> Folder:
        if path == b"bad":
            raise ValueError(path)
        return Folder(path)

    ahead = ReadAhead(read, lambda: read)
    for _ in range(3):
        ahead.read(b"good", [b"bad"])
    with pytest.raises(ValueError, match="bad"):
        ahead.read(b"bad", [])
    ahead.close()
