"""One mailbox as it is read from real servers' files, and what is not believed of damaged ones."""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox import snapshot
from cyrsync.cyrus.mailbox.on_disk import OnDisk
from cyrsync.cyrus.server import config
from cyrsync.cyrus.server.config import Config
from cyrsync.server import large_metadata, locations
from cyrsync.server.engine import MailboxChange
from cyrsync.server.reading import MailboxReader, MailboxState, UnreadableMailboxError
from cyrsync.server.roots import Roots
from cyrsync.server.run_patience import RunPatience
from cyrsync.server.snapshots import Snapshots
from cyrsync.state.mailbox_row import UNSEEN, Key, Location, seen_of
from cyrsync.state.store import Store
from support.boxes import NAMES, Box


class Server:
    """A box with its readers and places."""

    def __init__(self, box: Box, store: Store) -> None:
        self.box = box
        self.config: Config = config.read(str(box.conf))
        assert locations.refresh(store, self.config)[0] == []
        self.store = store
        self.roots = {name: Roots.of(partition) for name, partition in self.config.partitions.items()}
        self.readers = {name: MailboxReader(roots) for name, roots in self.roots.items()}
        self.locations = {
            location.name.decode("latin-1"): location
            for partition, path, *_ in store.files()
            for location in [store.locations.get(Key(partition, path))]
        }

    def read(self, name: str) -> MailboxState:
        location = self.locations[name]
        return self.readers[location.key.partition].read(location)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "key.sqlite", "pair")) as found:
        yield found


@pytest.fixture(params=NAMES)
def real(request: pytest.FixtureRequest, tmp_path: Path, store: Store) -> Server:
    return Server(Box(request.param, tmp_path), store)


@pytest.fixture
def server(tmp_path: Path, store: Store) -> Server:
    """One where all is in one directory, with a mailbox that has messages."""
    return Server(Box("3.4.9-plain", tmp_path), store)


JOE = "user.joe.Sent"


def with_files(mailbox: dict[str, Any], root: Path, below: bytes) -> list[int]:
    """UIDs of the messages of a mailbox that have a file below a root."""
    paths = {
        m["uid"]: os.fsencode(root / m["path"]) for m in mailbox["messages"] if m["state"] in ("visible", "expunged")
    }
    return sorted(uid for uid, path in paths.items() if path.startswith(below + b"/"))


def test_every_mailbox_has_a_place(real: Server) -> None:
    assert sorted(real.locations) == sorted(mailbox["name"] for mailbox in real.box.mailboxes)


def test_messages_are_those_that_have_a_file(real: Server) -> None:
    for mailbox in real.box.mailboxes:
        found, roots = real.read(mailbox["name"]), real.roots[mailbox["partition"]]
        assert list(found.messages) == with_files(mailbox, real.box.root, roots.data)
        if roots.archive != roots.data:
            assert list(found.archived) == with_files(mailbox, real.box.root, roots.archive)


def test_whose_they_are(real: Server) -> None:
    for mailbox in real.box.mailboxes:
        found = real.read(mailbox["name"])
        life = mailbox["uniqueid"], mailbox["uidvalidity"], mailbox["uidnext"] - 1
        assert found.incarnation == life
        assert found.known_version


def test_what_is_taken_is_no_longer_in_memory(server: Server) -> None:
    """With the metadata of all mailboxes a run would grow."""
    snapshots = Snapshots(server.roots, RunPatience(), last_look=False)
    offered = []

    class Taker:
        def accepts(self, change: MailboxChange, reader: MailboxReader) -> bool:
            offered.append({file.data for _, file in change.mailbox.snapshot_files})
            return True

    change = snapshots.read(server.store, server.locations[JOE].key, Taker())
    assert change and change.going
    assert b"" not in offered[0] and len(offered[0]) > 1
    assert {file.data for _, file in change.mailbox.snapshot_files} == {b""}
    assert change.mailbox.index is None


def test_metadata_is_what_is_on_disk(real: Server) -> None:
    for mailbox in real.box.mailboxes:
        found, location = real.read(mailbox["name"]), real.locations[mailbox["name"]]
        roots = real.roots[mailbox["partition"]]
        for root, file in found.snapshot_files:
            assert Path(os.fsdecode(os.path.join(root, location.key.path, file.name))).read_bytes() == file.data
        there = {
            name
            for root in roots.all()
            if os.path.isdir(os.path.join(root, location.key.path))
            for name in os.listdir(os.path.join(root, location.key.path))
            if kinds.is_metadata(name)
        }
        assert set(found.names()) == there
        assert {file.name for _, file in found.snapshot_files} == there & kinds.SNAPSHOT
        assert found.has_directory == os.path.isdir(os.path.join(roots.data, location.key.path))


def test_large_files_are_read_the_same(real: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not in memory, and have no name where they are."""
    small = {name: real.read(name) for name in real.locations}
    monkeypatch.setattr(large_metadata, "IN_MEMORY", 0)
    directory = tmp_path / "copies"
    directory.mkdir()
    readers = {name: MailboxReader(roots, str(directory)) for name, roots in real.roots.items()}
    for name, location in real.locations.items():
        found, known = readers[location.key.partition].read(location), small[name]
        assert not os.listdir(directory)
        assert (found.incarnation, found.messages, found.archived, found.derived, found.has_directory) == (
            *(known.incarnation, known.messages, known.archived, known.derived, known.has_directory),
        )
        assert [(root, file[:2]) for root, file in found.snapshot_files] == [
            (root, file[:2]) for root, file in known.snapshot_files
        ]
        for (_, large), (_, file) in zip(found.snapshot_files, known.snapshot_files, strict=True):
            assert isinstance(large.data, OnDisk) and isinstance(file.data, bytes)
            assert large.data.read_at(0, len(large.data)) == file.data
        found.let_go()
        assert all(file.data == b"" for _, file in found.snapshot_files)


def test_no_room_for_a_copy(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_metadata, "IN_MEMORY", 0)
    location = server.locations[JOE]
    reader = MailboxReader(server.roots[location.key.partition], str(tmp_path / "none"))
    with pytest.raises(UnreadableMailboxError, match=r"no copy of it can be made in .*/none: No such file"):
        reader.read(location)


def test_what_was_written_long_ago_need_not_be_read_again(server: Server) -> None:
    location = server.locations[JOE]
    time.sleep(0.05)
    assert server.read(JOE).seen == seen_of(os.stat(location.header_path), os.stat(location.index_path))


@pytest.mark.parametrize("name", [kinds.HEADER, kinds.INDEX])
def test_what_was_written_just_now_is_read_again(server: Server, monkeypatch: pytest.MonkeyPatch, name: bytes) -> None:
    location = server.locations[JOE]
    path = {kinds.HEADER: location.header_path, kinds.INDEX: location.index_path}[name]
    os.utime(path)
    written = os.stat(path).st_ctime_ns
    monkeypatch.setattr(time, "time_ns", lambda: written + 10_000_000)
    assert server.read(JOE).seen == UNSEEN
    monkeypatch.setattr(time, "time_ns", lambda: written + 2_100_000_000)
    assert server.read(JOE).seen != UNSEEN


def test_the_directory_is_not_read(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(os, "listdir", fail)
    monkeypatch.setattr(os, "scandir", fail)
    assert server.read(JOE).messages


def test_the_directories_above(server: Server) -> None:
    reader, location = server.readers["default"], server.locations[JOE]
    found = reader.above(server.roots["default"].data, location.key.path)
    assert [path for path, _ in found] == [b"", b"j", b"j/user", b"j/user/joe", b"j/user/joe/Sent"]
    with pytest.raises(UnreadableMailboxError, match="its directory has gone"):
        reader.above(server.roots["default"].data, b"j/none/such")


# --- What is wrong


def rewrite_index(location: Location, at: int, form: str, value: int) -> None:
    """Change a field of the header, and put its checksum right."""
    path = Path(os.fsdecode(location.index_path))
    data = bytearray(path.read_bytes())
    struct.pack_into(form, data, at, value)
    struct.pack_into(">I", data, 156, zlib.crc32(data[:156]))
    path.write_bytes(data)


def test_an_index_of_a_version_to_come(server: Server) -> None:
    """What is in the directory is what can be said of it."""
    location = server.locations[JOE]
    before = server.read(JOE)
    Path(os.fsdecode(os.path.join(os.path.dirname(location.index_path), b"4711."))).touch()
    rewrite_index(location, 8, ">I", 99)
    found = server.read(JOE)
    assert not found.known_version
    assert list(found.messages) == [*before.messages, 4711]
    assert (found.incarnation.uniqueid, found.incarnation.uidvalidity) == (before.incarnation.uniqueid, 0)
    assert found.snapshot_files[-1][1].data == Path(os.fsdecode(location.index_path)).read_bytes()


def lose_header(location: Location) -> None:
    os.unlink(location.header_path)


def lose_index(location: Location) -> None:
    os.unlink(location.index_path)


def cut_index(location: Location) -> None:
    os.truncate(location.index_path, os.stat(location.index_path).st_size - 1)


def empty_index(location: Location) -> None:
    os.truncate(location.index_path, 0)


def other_header(location: Location) -> None:
    path = Path(os.fsdecode(location.header_path))
    path.write_bytes(path.read_bytes() + b"\n")


def no_header(location: Location) -> None:
    Path(os.fsdecode(location.header_path)).write_bytes(b"no header")


def delete(location: Location) -> None:
    rewrite_index(location, 60, ">I", 1 << 31)


def index_is_a_directory(location: Location) -> None:
    os.unlink(location.index_path)
    os.mkdir(location.index_path)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lose_header, "cyrus.header: No such file"),
        (lose_index, "cyrus.index: No such file"),
        (cut_index, "cyrus.index: .*torn"),
        (empty_index, "cyrus.index: .*too short"),
        (other_header, "cyrus.header is not the one"),
        (no_header, "cyrus.header cannot be read"),
        (delete, "being deleted"),
        (index_is_a_directory, "directory"),
    ],
)
def test_a_mailbox_that_has_to_stay_as_it_is(server: Server, harm: Callable[[Location], None], reason: str) -> None:
    harm(server.locations[JOE])
    with pytest.raises(UnreadableMailboxError, match=reason) as caught:
        server.read(JOE)
    assert "\n" not in str(caught.value)


def test_a_writer_that_is_done_in_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What did not fit together at first is read again."""
    location = server.locations[JOE]
    path = Path(os.fsdecode(location.header_path))
    whole, looks = path.read_bytes(), []
    under_locks = snapshot.under_locks

    def write(*args: Any) -> object:
        looks.append(1)
        path.write_bytes(whole if len(looks) > 1 else whole[:50])
        return under_locks(*args)

    monkeypatch.setattr(snapshot, "under_locks", write)
    assert {file.name: file.data for _, file in server.read(JOE).snapshot_files}[kinds.HEADER] == whole
    assert len(looks) == 2
