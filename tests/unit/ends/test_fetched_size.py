"""What a daemon has sent is counted, and removed, however deep it lies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cyrsync.ends import fetched_size
from cyrsync.ends.fetched_size import FetchedSize
from cyrsync.ends.own_directory import remove_tree
from cyrsync.far.wire import WireError
from support.deep import dig


def test_files_of_any_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr(fetched_size, "_GROWTH", 1000)
    monkeypatch.setattr(fetched_size, "_disk", lambda _: (next(free), 0))
    free = iter([1 << 40, 1 << 40, 1 << 30])
    watched = FetchedSize(os.fsencode(copies), 100)
    deepest = dig(copies, 1200)
    watched.check()
    file = os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=deepest)
    os.write(file, bytes(2000))
    os.close(file)
    os.close(deepest)
    with pytest.raises(WireError):
        watched.check()
    remove_tree(copies)
    assert not copies.exists()
