"""A mailbox's files are read under Cyrus's locks, in Cyrus's order, and nobody is kept waiting afterwards."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import threading
from pathlib import Path

import pytest

from cyrsync.cyrus.mailbox import locks, snapshot
from cyrsync.cyrus.mailbox.locks import LockTimeout, lock_shared, shared
from cyrsync.cyrus.mailbox.snapshot import MetaFiles, read


@pytest.fixture
def files(tmp_path: Path) -> MetaFiles:
    for name in ("cyrus.header", "cyrus.index", "name.lock"):
        (tmp_path / name).write_text(name)
    names = ("cyrus.header", "cyrus.index", "cyrus.expunge", "name.lock")
    return MetaFiles(*(os.fsencode(tmp_path / name) for name in names))


def ofd_lock(descriptor: int) -> None:
    """Lock as another process would: not with a lock that this process has already."""

    fcntl.fcntl(descriptor, 37, struct.pack("@hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))


def test_what_there_is(files: MetaFiles) -> None:
    found = read(files)
    assert found == (b"cyrus.header", b"cyrus.index", None, True)


def test_what_there_is_not(tmp_path: Path) -> None:
    nothing = MetaFiles(*(os.fsencode(tmp_path / name) for name in "abc"))
    assert read(nothing) == (None, None, None, False)


@pytest.mark.parametrize("held", ["header_path", "index_path", "name_lock"])
def test_a_writer_is_waited_for(files: MetaFiles, held: str) -> None:
    with open(getattr(files, held), "r+b") as stream:
        ofd_lock(stream.fileno())
        with pytest.raises(LockTimeout, match=r"locked by a writer for 0\.05 seconds"):
            read(files, patience=0.05)
        # Closing the file ends its lock.
        timer = threading.Timer(0.1, stream.close)
        timer.start()
        assert read(files, patience=10).index_data == b"cyrus.index"
        timer.join()


def test_readers_do_not_wait_for_each_other(files: MetaFiles) -> None:
    with shared(files.index_path, 0) as (_, locked), shared(files.index_path, 0) as (_, too):
        assert locked
        assert too


def test_all_locks_are_held_together_and_then_none(files: MetaFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def read_all(descriptor: int) -> bytes:
        for path in (files.name_lock, files.header_path, files.index_path):
            with open(path, "r+b") as stream, pytest.raises(OSError, match="unavailable"):
                ofd_lock(stream.fileno())
            seen.append(path)
        return b""

    monkeypatch.setattr(snapshot.locks, "read_all", read_all)
    read(files)
    assert len(seen) == 6
    for path in (files.name_lock, files.header_path, files.index_path):
        with open(path, "r+b") as stream:
            ofd_lock(stream.fileno())


def test_a_file_that_was_replaced_is_opened_again(files: MetaFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cyrus repacked between our opening and our locking: the lock is on a file that nobody sees any more."""
    real = locks.lock_shared
    index = Path(os.fsdecode(files.index_path))

    def replaced(descriptor: int, path: bytes, patience: float, span: tuple[int, int]) -> bool:
        if path == files.index_path and index.read_text() != "repacked":
            index.with_name("cyrus.index.NEW").write_text("repacked")
            index.with_name("cyrus.index.NEW").rename(index)
        return real(descriptor, path, patience, span)

    monkeypatch.setattr(locks, "lock_shared", replaced)
    assert read(files).index_data == b"repacked"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EINVAL, errno.EOPNOTSUPP])
def test_without_locks(files: MetaFiles, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no locks")

    monkeypatch.setattr(locks.fcntl, "fcntl", refuse)
    found = read(files)
    assert (found.index_data, found.locked) == (b"cyrus.index", False)


def test_other_failures_are_not_hidden(files: MetaFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "bad disk")

    monkeypatch.setattr(locks.fcntl, "fcntl", refuse)
    with open(files.index_path, "rb") as stream, pytest.raises(OSError, match="bad disk"):
        lock_shared(stream.fileno(), files.index_path, 1)


def test_a_link_is_not_followed(files: MetaFiles, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("cyrus.index")
    with pytest.raises(OSError, match="symbolic"):
        read(files._replace(index_path=os.fsencode(tmp_path / "link")))


def test_large_files(tmp_path: Path) -> None:
    content = os.urandom(3 << 20)
    (tmp_path / "large").write_bytes(content)
    with shared(os.fsencode(tmp_path / "large"), 1) as (descriptor, _):
        assert locks.read_all(descriptor) == content
