"""Files that are replaced as a whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cyrsync.report import whole_file


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "cyrsync.prom"
    path.write_text("old")
    before = os.open(path, os.O_RDONLY)
    umask = os.umask(0o077)
    try:
        whole_file.write(str(path), "new ü\n")
    finally:
        os.umask(umask)
    assert path.read_text("utf-8") == "new ü\n"
    assert path.stat().st_mode & 0o7777 == 0o644
    assert os.read(before, 100) == b"old"
    os.close(before)
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_being_written_is_not_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(os, "replace", lambda old, new: seen.extend(os.listdir(tmp_path)))
    whole_file.write(str(tmp_path / "cyrsync.prom"), "x\n")
    assert len(seen) == 1
    assert not seen[0].endswith(".prom")


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cyrsync.prom"
    path.write_text("old")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        whole_file.write(str(path), "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
