"""A folder is taken as it was at one moment: metadata under Cyrus's locks, then the directory that goes with it."""

from __future__ import annotations

import errno
import io
import os
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

import samplespool
from cyrsync.cyrus.mailbox import locks, snapshot
from cyrsync.far.folder import Folder
from cyrsync.far.locked_folder import File, LockedFolder, decode, encode, read_under_locks
from cyrsync.far.walk import Reader
from support import campaign, frames

PATH = b"j/user/joe"
SNAPSHOT = (b"cyrus.header", b"cyrus.index")

#: Locks a file as Cyrus does, says so, and keeps the lock until its input ends.
HOLDER = """\
import fcntl, sys
with open(sys.argv[1], "r+b") as stream:
    fcntl.lockf(stream, fcntl.LOCK_EX)
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    samplespool.make(tmp_path / "spool", messages=40, folder_count=3)
    return tmp_path / "spool"


@pytest.fixture
def reader(spool: Path) -> Reader:
    return Reader(os.fsencode(spool))


@pytest.fixture
def folder(spool: Path) -> Path:
    return spool / os.fsdecode(PATH)


@pytest.fixture
def after_the_index(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[None]]:
    """Has something happen between the index and the directory, at each of so many looks; returns what happened."""

    def arrange(happens: Callable[[], object], times: int = 1) -> list[None]:
        real, happened = reader.read, []

        def read(path: bytes) -> Folder:
            if len(happened) < times:
                happened.append(None)
                happens()
            return real(path)

        monkeypatch.setattr(reader, "read", read)
        return happened

    return arrange


@campaign.slow()
@given(frames.takens(), st.booleans())
def test_it_crosses_a_connection_unchanged(locked_folder: LockedFolder, compressible: bool) -> None:
    stream = io.BytesIO(encode(locked_folder, compressible) + b"what follows")
    assert decode(stream) == locked_folder
    assert stream.read() == b"what follows"


@campaign.slow()
@given(frames.takens(), st.booleans(), st.data())
def test_a_stream_that_ends_too_early(locked_folder: LockedFolder, compressible: bool, data: st.DataObject) -> None:
    whole = encode(locked_folder, compressible)
    size = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(EOFError):
        decode(io.BytesIO(whole[:size]))


@pytest.mark.parametrize("garbage", [b"\n", b"[1]\n", b"Last login: today\n", b"\xff\n"])
def test_what_is_no_answer(garbage: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
        decode(io.BytesIO(garbage))


def test_it_is_the_listing_and_the_bytes(reader: Reader, folder: Path) -> None:
    (folder / "stray").touch()
    locked_folder = read_under_locks(reader, PATH)
    assert locked_folder.folder == reader.read(PATH)
    assert locked_folder.folder.incarnation
    listed = locked_folder.folder.metadata
    assert locked_folder.files == tuple(File(n, listed[n], (folder / os.fsdecode(n)).read_bytes()) for n in SNAPSHOT)


def test_the_directories_above_it(reader: Reader, spool: Path) -> None:
    above = [b"", b"j", b"j/user", PATH]
    assert read_under_locks(reader, PATH).above == tuple(
        (p, reader.entry(os.lstat(reader.directory(p)))) for p in above
    )


@pytest.mark.parametrize(("name", "data"), [("cyrus.expunge", b""), ("cyrus.annotations", b"any bytes")])
def test_what_else_is_of_one_moment(reader: Reader, folder: Path, name: str, data: bytes) -> None:
    (folder / "cyrus.cache").unlink()
    if not data:
        data = (folder / "cyrus.index").read_bytes()[:160]
    (folder / name).write_bytes(data)
    found = {file.name: file.data for file in read_under_locks(reader, PATH).files}
    assert found.keys() == {*SNAPSHOT, name.encode()}
    assert found[name.encode()] == data


def test_a_folder_without_a_mailbox(reader: Reader, spool: Path) -> None:
    locked_folder = read_under_locks(reader, b"j")
    assert (locked_folder.folder, locked_folder.files) == (reader.read(b"j"), ())


def test_a_folder_that_is_gone(reader: Reader) -> None:
    assert read_under_locks(reader, b"j/gone") == LockedFolder(Folder(b"j/gone", problem=errno.ENOENT))


def test_the_root_itself(folder: Path) -> None:
    reader = Reader(os.fsencode(folder))
    locked_folder = read_under_locks(reader, b"")
    assert locked_folder.folder == reader.read(b"")
    assert locked_folder.above == ((b"", reader.entry(os.lstat(folder))),)
    assert [file.name for file in locked_folder.files] == list(SNAPSHOT)


def test_a_message_that_goes_meanwhile(
    reader: Reader, folder: Path, after_the_index: Callable[..., list[None]]
) -> None:
    """The index read first names it, and the directory has it no more: both are read again."""
    happened = after_the_index(lambda: samplespool.expunge(folder, 3))
    locked_folder = read_under_locks(reader, PATH)
    assert happened
    assert locked_folder.folder == reader.read(PATH)
    assert locked_folder.files[1].data == (folder / "cyrus.index").read_bytes()


def test_messages_that_never_cease_to_go(reader: Reader, folder: Path, after_the_index: Callable[..., object]) -> None:
    samplespool.deliver(folder, 20)
    after_the_index(lambda: samplespool.expunge(folder, 1), times=100)
    assert read_under_locks(reader, PATH) == LockedFolder(Folder(PATH, problem=errno.EBUSY))


def test_another_mailbox_meanwhile(reader: Reader, folder: Path, after_the_index: Callable[..., object]) -> None:
    other = folder / "Sent"
    after_the_index(lambda: samplespool.swap(folder / "Trash", other))
    locked_folder = read_under_locks(reader, PATH + b"/Sent")
    assert locked_folder.files[0].data == (other / "cyrus.header").read_bytes()
    assert locked_folder.folder == Reader(reader.root).read(PATH + b"/Sent")


def test_a_message_that_comes_meanwhile_waits(
    reader: Reader, folder: Path, after_the_index: Callable[..., object]
) -> None:
    index = (folder / "cyrus.index").read_bytes()
    after_the_index(lambda: samplespool.deliver(folder, 1))
    locked_folder = read_under_locks(reader, PATH)
    assert locked_folder.files[1].data == index
    assert locked_folder.folder.incarnation
    assert max(locked_folder.folder.messages.uids) > locked_folder.folder.incarnation.last_uid


def delete_mailbox(folder: Path) -> None:
    """As Cyrus does: it says so in the index, and then removes the files, in any order."""
    index = bytearray((folder / "cyrus.index").read_bytes())
    struct.pack_into(">I", index, 60, 1 << 31)
    struct.pack_into(">I", index, 156, zlib.crc32(index[:156]))
    (folder / "cyrus.index").write_bytes(index)
    next(folder.glob("[0-9]*.")).unlink()


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: next(folder.glob("[0-9]*.")).unlink(),
        lambda folder: (folder / "cyrus.index").write_bytes(b"\0" * 300),
        lambda folder: (folder / "cyrus.header").write_bytes(b"garbage"),
        lambda folder: (folder / "cyrus.index").unlink(),
        lambda folder: (folder / "cyrus.header").unlink(),
        delete_mailbox,
    ],
    ids=["message lost", "index overwritten", "header overwritten", "no index", "no header", "deleted"],
)
def test_damage_that_stays_is_taken_as_it_is(reader: Reader, folder: Path, damage: Callable[[Path], object]) -> None:
    damage(folder)
    grow_old(folder)
    locked_folder = read_under_locks(reader, PATH)
    assert locked_folder.folder == reader.read(PATH)
    there = [name for name in SNAPSHOT if (folder / os.fsdecode(name)).exists()]
    assert [(f.name, f.data) for f in locked_folder.files] == [
        (n, (folder / os.fsdecode(n)).read_bytes()) for n in there
    ]


def grow_old(folder: Path) -> None:
    """Let it have changed some minutes ago for the last time."""
    then = time.time() - 300
    os.utime(folder, (then, then))


@pytest.mark.parametrize(
    "changing",
    [
        lambda folder: (folder / "cyrus.index").unlink(),
        lambda folder: (folder / "cyrus.header").unlink(),
        delete_mailbox,
    ],
    ids=["no index", "no header", "deleted"],
)
def test_a_mailbox_that_is_made_renamed_or_removed_just_now(
    reader: Reader, folder: Path, changing: Callable[[Path], object]
) -> None:
    changing(folder)
    reader.patience = 0
    assert read_under_locks(reader, PATH) == LockedFolder(Folder(PATH, problem=errno.EAGAIN))


def test_messages_whose_index_comes_meanwhile(
    reader: Reader, folder: Path, after_the_index: Callable[..., list[None]]
) -> None:
    """A rename puts the messages there first."""
    (folder / "cyrus.index").rename(folder / "aside")
    happened = after_the_index(lambda: (folder / "aside").rename(folder / "cyrus.index"))
    locked_folder = read_under_locks(reader, PATH)
    assert happened
    assert locked_folder.folder == reader.read(PATH)
    assert locked_folder.folder.incarnation
    assert [file.name for file in locked_folder.files] == list(SNAPSHOT)


def test_a_folder_without_messages_needs_no_index(reader: Reader, folder: Path) -> None:
    for path in folder.glob("[0-9]*."):
        path.unlink()
    (folder / "cyrus.index").unlink()
    assert read_under_locks(reader, PATH).folder == reader.read(PATH)


@pytest.fixture
def locked(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process holds the index, as a writer does."""
    words = [sys.executable, "-c", HOLDER, str(folder / "cyrus.index")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"locked\n"
        yield holder
        holder.communicate()


def test_a_lock_that_is_kept(locked: subprocess.Popen[bytes], reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Mock(side_effect=partial(snapshot.parts, patience=0.1))
    monkeypatch.setattr(snapshot, "parts", parts)
    assert read_under_locks(reader, PATH) == LockedFolder(Folder(PATH, problem=errno.EBUSY))
    assert parts.call_count == 1  # who has waited for a lock in vain does not wait again
    assert not read_under_locks(reader, PATH + b"/Sent").folder.problem
    locked.communicate()
    assert not read_under_locks(reader, PATH).folder.problem


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(locks.fcntl, "fcntl", refuse)


@pytest.mark.usefixtures("without_locks")
def test_without_locks_it_is_the_same(reader: Reader) -> None:
    assert read_under_locks(reader, PATH).folder == reader.read(PATH)


@pytest.mark.usefixtures("without_locks")
@pytest.mark.parametrize("torn", [slice(0, -50), slice(0, 100), slice(0, 0)], ids=["record", "header", "empty"])
def test_without_locks_a_torn_index_is_read_again(
    reader: Reader, folder: Path, monkeypatch: pytest.MonkeyPatch, torn: slice
) -> None:
    whole = (folder / "cyrus.index").read_bytes()
    tearing, real = [torn], locks.read_all

    def read_all(descriptor: int) -> bytes:
        data = real(descriptor)
        return data[tearing.pop()] if data == whole and tearing else data

    monkeypatch.setattr(locks, "read_all", read_all)
    assert read_under_locks(reader, PATH).files[1].data == whole
    assert not tearing


@pytest.mark.usefixtures("without_locks")
def test_without_locks_a_half_written_record_is_read_again(
    reader: Reader, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All sizes are right, but not the checksum of one record."""
    whole = (folder / "cyrus.index").read_bytes()
    half, real = [whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]], locks.read_all

    def read_all(descriptor: int) -> bytes:
        data = real(descriptor)
        return half.pop() if data == whole and half else data

    monkeypatch.setattr(locks, "read_all", read_all)
    assert read_under_locks(reader, PATH).files[1].data == whole
    assert not half
