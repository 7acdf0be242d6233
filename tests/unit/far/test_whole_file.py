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


@pytest.mark.parametrize("kind", ["FIFO", "FIFO that is read", "link", "directory", "another name of a file"])
def test_lines_are_added_to_a_file_alone(tmp_path: Path, directory: int, kind: str) -> None:
    """Whoever owns the directory above may have put anything there: nothing hangs, and nothing else is written."""
    other, reader = tmp_path / "other", -1
    other.write_bytes(b"somebody else's")
    if kind.startswith("FIFO"):
        os.mkfifo(tmp_path / "lines")
        reader = os.open(tmp_path / "lines", os.O_RDONLY | os.O_NONBLOCK) if kind != "FIFO" else -1
    elif kind == "link":
        (tmp_path / "lines").symlink_to("other")
    elif kind == "directory":
        (tmp_path / "lines").mkdir()
    else:
        os.link(other, tmp_path / "lines")
    with pytest.raises(OSError):  # noqa: PT011 - each has an errno of its own
        whole_file.open_for_lines(b"lines", directory)
    assert other.read_bytes() == b"somebody else's"
    if reader >= 0:
        os.close(reader)


def test_lines_are_added(tmp_path: Path, directory: int) -> None:
    for line in (b"a", b"b"):
        descriptor = whole_file.open_for_lines(b"lines", directory)
        whole_file.write_all(descriptor, line)
        os.close(descriptor)
    assert (tmp_path / "lines").read_bytes() == b"ab"
    assert (tmp_path / "lines").stat().st_mode & 0o777 == 0o600
