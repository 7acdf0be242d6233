"""Files are in place as a whole, or as they were."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cyrsync.far import whole_file


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def test_a_file_is_replaced_when_it_is_on_the_disk(
    tmp_path: Path, directory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"old")
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append((tmp_path / "file").read_bytes()))
    whole_file.replace(b"file", b"new" * 1000, directory, b".file")
    assert (synced, (tmp_path / "file").read_bytes()) == ([b"old"], b"new" * 1000)
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("fails", ["write", "fsync", "rename"])
def test_a_failure_leaves_what_was(tmp_path: Path, directory: int, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    (tmp_path / "file").write_bytes(b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, fails, fail)
    with pytest.raises(OSError, match="No space left"):
        whole_file.replace(b"file", b"new", directory, b".file")
    assert (os.listdir(tmp_path), (tmp_path / "file").read_bytes()) == (["file"], b"old")


def test_what_a_killed_process_has_left_is_replaced_and_no_link_followed(tmp_path: Path, directory: int) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"other")
    for leave in ((tmp_path / ".file").write_bytes, None):
        if leave:
            leave(b"part")
        else:
            (tmp_path / ".file").hardlink_to(other)
        whole_file.replace(b"file", b"new", directory, b".file")
        assert (tmp_path / "file").read_bytes() == b"new"
        assert other.read_bytes() == b"other"


def test_a_new_file_takes_no_place_of_another(tmp_path: Path, directory: int) -> None:
    whole_file.make(b"file", b"data", directory)
    assert (tmp_path / "file").read_bytes() == b"data"
    with pytest.raises(FileExistsError):
        whole_file.make(b"file", b"other", directory)


def test_what_cannot_be_written_whole_is_not_there(
    tmp_path: Path, directory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(OSError, match="No space left"):
        whole_file.make(b"file", b"data", directory)
    assert os.listdir(tmp_path) == []
