"""Copies of files that others write to: each is of one moment, and leaves no trace where it was taken."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cyrsync.cyrus.mailbox import locks
from cyrsync.cyrus.server import database_copy
from cyrsync.cyrus.server.database_copy import CopyError
from cyrsync.cyrus.server.db import reader
from support.copies import Original
from support.cyrusdb import Skiplist, Twom, Twoskip

PAIRS = {b"key %d" % number: b"value " * number for number in range(20)}
FLAT = b"".join(b"%s\t%s\n" % pair for pair in sorted(PAIRS.items()))
WRITTEN = {
    "flat": FLAT,
    "skiplist": bytes(Skiplist(PAIRS).data),
    "twoskip": bytes(Twoskip(PAIRS).data),
    "twom": bytes(Twom(PAIRS).data),
}
LOCKED = ("skiplist", "twoskip", "twom")


@pytest.fixture
def original(tmp_path: Path) -> Original:
    return Original(tmp_path)


@pytest.mark.parametrize("kind", WRITTEN)
def test_every_kind(original: Original, kind: str) -> None:
    original.path.write_bytes(WRITTEN[kind])
    copied = original.copy()
    assert original.content() == WRITTEN[kind]
    assert dict(reader.read(os.fsencode(original.target))) == PAIRS
    assert copied.status == original.path.stat()
    assert copied.shows == (kind != "twom")


@pytest.mark.parametrize("content", [b"", b"\0", b"x" * 3_000_000, b"SQLite is not this"])
def test_any_other_file(original: Original, content: bytes) -> None:
    original.path.write_bytes(content)
    original.copy()
    assert original.content() == content


def test_the_digest_is_of_the_content(original: Original) -> None:
    found = set()
    for content in (b"one", b"two", b"two", b""):
        original.path.write_bytes(content)
        found.add(original.copy().digest)
    assert len(found) == 3


def test_a_link_stays_one(original: Original) -> None:
    original.path.symlink_to("nowhere")
    copied = original.copy()
    assert os.readlink(original.target) == "nowhere"
    assert (copied.status, copied.digest) == (os.lstat(original.path), b"nowhere")


def test_nothing_to_copy(original: Original) -> None:
    with pytest.raises(FileNotFoundError):
        original.copy()


@pytest.mark.parametrize(("magic", "engine"), [(0x053162, "berkeley"), (0x061561, "berkeley-hash")])
@pytest.mark.parametrize("order", "<>")
def test_berkeley(original: Original, magic: int, engine: str, order: str) -> None:
    original.path = original.root / "a b"
    original.path.write_bytes(bytes(12) + struct.pack(f"{order}I", magic) + bytes(500))
    with pytest.raises(CopyError, match="convert it: ") as found:
        original.copy()
    assert str(found.value).endswith(f"cvt_cyrusdb '{original.path}' {engine} '{original.path}.new' skiplist")


# --- Writers with Cyrus's lock

#: Takes the lock, and changes the file back and forth in place, a byte at a time, until its input ends.
WRITER = """\
import fcntl, os, sys
path, one, other = sys.argv[1], *(open(name, "rb").read() for name in sys.argv[2:])
fd = os.open(path, os.O_RDWR)
fcntl.lockf(fd, fcntl.LOCK_EX)
os.pwrite(fd, one[: len(one) // 2], 0)
print("locked", flush=True)
sys.stdin.readline()
os.pwrite(fd, one[len(one) // 2 :], len(one) // 2)
fcntl.lockf(fd, fcntl.LOCK_UN)
sys.stdin.readline()
"""


@contextmanager
def half_written(path: Path, old: bytes, new: bytes) -> Iterator[subprocess.Popen[bytes]]:
    """A writer has the lock, and has put half of what is new into the file."""
    names = [path.with_name(name) for name in ("new", "old")]
    for name, content in zip(names, (new, old), strict=True):
        name.write_bytes(content)
    path.write_bytes(old)
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, path, *names], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == b"locked\n"
        try:
            yield process
        finally:
            process.stdin.close()


def changed(kind: str) -> bytes:
    """Another state, of the same size."""
    pairs = {key: value[::-1] for key, value in PAIRS.items()}
    return {
        "skiplist": lambda: bytes(Skiplist(pairs).data),
        "twoskip": lambda: bytes(Twoskip(pairs).data),
        "twom": lambda: bytes(Twom(pairs).data),
    }[kind]()


@pytest.mark.parametrize("kind", LOCKED)
def test_a_writer_is_waited_for(original: Original, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with half_written(original.path, WRITTEN[kind], changed(kind)) as writer:
        assert writer.stdin
        stdin, sleep = writer.stdin, time.sleep

        def wait(seconds: float) -> None:
            """Only when the copy waits, the writer goes on."""
            monkeypatch.setattr(time, "sleep", sleep)
            stdin.write(b"\n")
            stdin.flush()
            sleep(seconds)

        monkeypatch.setattr(time, "sleep", wait)
        database_copy.copy(os.fsencode(original.path), os.fsencode(original.target))
        assert original.content() == changed(kind)


@pytest.mark.parametrize("kind", LOCKED)
def test_a_writer_that_does_not_end(original: Original, kind: str) -> None:
    with (
        half_written(original.path, WRITTEN[kind], changed(kind)),
        pytest.raises(CopyError, match=r"^locked by a writer for 0\.1 seconds$"),
    ):
        original.copy(patience=0.1)
    assert not original.target.exists()


def test_readers_are_not_waited_for(original: Original) -> None:
    original.path.write_bytes(WRITTEN["skiplist"])
    with locks.shared(os.fsencode(original.path), 1):
        original.copy(patience=0)
    assert original.content() == WRITTEN["skiplist"]


def test_a_file_that_is_replaced_is_copied_as_it_is_then(original: Original) -> None:
    """A checkpoint puts another file in its place, and empties the one that was locked."""
    original.path.write_bytes(WRITTEN["skiplist"])
    fresh = original.root / "fresh"
    fresh.write_bytes(changed("skiplist"))
    lock = locks.lock_shared
    with open(original.path, "r+b") as old, pytest.MonkeyPatch.context() as patch:

        def checkpoint_and_lock(*words: Any) -> bool:
            if fresh.exists():
                fresh.replace(original.path)
                old.truncate(0)
            return lock(*words)

        patch.setattr(locks, "lock_shared", checkpoint_and_lock)
        database_copy.copy(os.fsencode(original.path), os.fsencode(original.target))
    assert original.content() == changed("skiplist")


@pytest.mark.parametrize("changes", [False, True])
def test_where_there_are_no_locks(original: Original, changes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read twice has to be the same."""
    original.path.write_bytes(WRITTEN["skiplist"])

    def no_locks(*words: object) -> int:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "fcntl", no_locks)
    seek = os.lseek

    def write(descriptor: int, *words: int) -> int:
        original.path.write_bytes(changed("skiplist") if changes else WRITTEN["skiplist"])
        return seek(descriptor, *words)

    monkeypatch.setattr(os, "lseek", write)
    words = (os.fsencode(original.path), os.fsencode(original.target))
    if changes:
        with pytest.raises(CopyError, match="cannot be locked"):
            database_copy.copy(*words)
    else:
        database_copy.copy(*words)
        assert original.content() == WRITTEN["skiplist"]
