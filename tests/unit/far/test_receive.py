"""What the receiving end makes of a stream: all of a mailbox or none, as the originals look; it follows no link."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far import grown, opened_folder
from cyrsync.far.folder import Entry
from cyrsync.far.frames import PIECE, Part, Target
from cyrsync.far.grown import Cache
from cyrsync.far.receive import Failure, Receiver
from cyrsync.far.remove import RENAMED
from cyrsync.far.walk import Reader
from support.tools import requires_root

PATH = b"j/user/joe"
OLD, NEW = 1_500_000_000 * 10**9, 1_600_000_000 * 10**9 + 7


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return folder_in(tmp_path / "source", NEW)


@pytest.fixture
def replica(tmp_path: Path) -> Path:
    """The same folder, without the new message and with other metadata."""
    return folder_in(tmp_path / "replica", OLD, {"1.": b"one", "cyrus.index": b"old", "cyrus.cache": b"gen1"})


def folder_in(root: Path, mtime: int, files: dict[str, bytes] | None = None) -> Path:
    folder = root / os.fsdecode(PATH)
    folder.mkdir(parents=True)
    contents = files or {"1.": b"one", "2.": b"two", "cyrus.index": b"new", "cyrus.cache": b"gen1 and more"}
    for name, data in contents.items():
        (folder / name).write_bytes(data)
        os.utime(folder / name, ns=(mtime, mtime))
    for path in (folder, *folder.parents[:3]):
        os.utime(path, ns=(mtime, mtime))
    return root


def send(receiver: Receiver, source: Path, replica: Path, *names: str) -> None:
    """Send these files of the folder, but do not commit."""
    reader = Reader(os.fsencode(source))
    receiver.part(Part(os.fsencode(replica), PATH, reader.above(PATH)))
    for name in names:
        path = source / os.fsdecode(PATH) / name
        target = os.readlink(path) if path.is_symlink() else ""
        entry, data = reader.entry(os.lstat(path), target), b"" if target else path.read_bytes()
        if kinds.is_message(name.encode()):
            receiver.message(int(name[:-1]), entry, data[:PIECE])
        else:
            receiver.file(name.encode(), entry, data[:PIECE])
        for start in range(PIECE, len(data), PIECE):
            receiver.more(data[start : start + PIECE])


def put(source: Path, replica: Path, *names: str) -> list[Failure]:
    receiver = Receiver(numeric_ids=False)
    send(receiver, source, replica, *names)
    receiver.commit()
    return receiver.end()


def numbers(failures: list[Failure]) -> list[tuple[int, int]]:
    return [(failure.mailbox, failure.number) for failure in failures]


def look(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Mode, time and contents of all that is below a root, and its own."""
    found = {}
    for path in (root, *root.rglob("*")):
        status = path.lstat()
        data = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(root))] = (status.st_mode, status.st_mtime_ns, data)
    return found


def contents(root: Path) -> dict[str, bytes]:
    return {name: data for name, (_, _, data) in look(root).items()}


def test_it_is_as_on_the_source(source: Path, replica: Path) -> None:
    (source / "j").chmod(0o2711)
    (source / "j/user/joe/2.").chmod(0o640)
    assert put(source, replica, "2.", "cyrus.cache", "cyrus.index") == []
    os.utime(replica / "j/user/joe/1.", ns=(NEW, NEW))  # was not sent
    assert look(replica) == look(source)


def test_a_new_mailbox_is_as_on_the_source(source: Path, tmp_path: Path) -> None:
    (source / "j/user").chmod(0o751)
    (source / "j/user/joe").chmod(0o750)
    replica = tmp_path / "empty"
    replica.mkdir()
    assert put(source, replica, "1.", "2.", "cyrus.cache", "cyrus.index") == []
    assert look(replica) == look(source)


def test_a_new_mailbox_appears_as_a_whole(source: Path, tmp_path: Path) -> None:
    replica = tmp_path / "empty"
    replica.mkdir()
    receiver = Receiver(numeric_ids=False)
    send(receiver, source, replica, "1.", "2.", "cyrus.index")
    assert not (replica / "j/user/joe").exists()
    receiver.commit()
    assert len(list((replica / "j/user/joe").iterdir())) == 3
    assert receiver.end() == []


def test_a_folder_and_one_in_it_are_written_side_by_side(tmp_path: Path) -> None:
    """Then none is made aside: the one would stand in the place of the other."""
    source = folder_in(tmp_path / "source", NEW)
    above = source / "j/user"
    (above / "7.").write_bytes(b"seven")
    replica = tmp_path / "empty"
    replica.mkdir()
    first, second = Receiver(numeric_ids=False, aside=False), Receiver(numeric_ids=False, aside=False)
    reader = Reader(os.fsencode(source))
    first.part(Part(os.fsencode(replica), b"j/user", reader.above(b"j/user")))
    first.message(7, reader.entry(os.lstat(above / "7.")), b"seven")
    send(second, source, replica, "1.", "2.", "cyrus.cache", "cyrus.index")
    second.commit()
    first.commit()
    assert (first.end(), second.end()) == ([], [])
    assert contents(replica) == contents(source)


def test_a_file_that_is_no_mailboxs_is_written_whatever_its_time_says(source: Path, replica: Path) -> None:
    """Whoever sends one has seen that it differs."""
    for root, data in ((source, b"new"), (replica, b"old")):
        (root / "j/user/joe/x.db").write_bytes(data)
        os.utime(root / "j/user/joe/x.db", ns=(NEW, NEW))
    assert put(source, replica, "x.db") == []
    assert (replica / "j/user/joe/x.db").read_bytes() == b"new"


def test_names_as_long_as_they_can_be(source: Path, replica: Path) -> None:
    names = [f"{letter:n<255}" for letter in ("a", "b")] + ["n" * 254, "n" * 255]
    for name in names:
        (source / "j/user/joe" / name).write_bytes(name.encode())
    assert put(source, replica, *names) == []
    assert all((replica / "j/user/joe" / name).read_text() == name for name in names)


@pytest.mark.parametrize("is_new", [False, True])
def test_what_is_given_up_leaves_nothing(source: Path, replica: Path, tmp_path: Path, is_new: bool) -> None:
    if is_new:
        (replica / "j/user/joe").rename(tmp_path / "elsewhere")
    before = contents(replica)
    receiver = Receiver(numeric_ids=False)
    send(receiver, source, replica, "2.", "cyrus.index")
    receiver.abandon()
    assert receiver.end() == []
    assert contents(replica) == before


def test_a_stream_that_ends_leaves_nothing_of_what_it_did_not_commit(source: Path, replica: Path) -> None:
    before = contents(replica)
    receiver = Receiver(numeric_ids=False)
    send(receiver, source, replica, "2.", "cyrus.index")
    assert receiver.end() == []
    assert contents(replica) == before


def test_directories_above_what_is_given_up_are_as_on_the_source(source: Path, tmp_path: Path) -> None:
    """No other mailbox may be sent below them, and Cyrus has to be able to make some there."""
    requires_root()
    replica = tmp_path / "empty"
    replica.mkdir()
    for folder, mode in ((source / "j", 0o2711), (source / "j/user", 0o550)):
        os.chown(folder, 1, 2)
        folder.chmod(mode)
    receiver = Receiver(numeric_ids=True)
    send(receiver, source, replica, "1.")
    made = [(replica / name).stat() for name in ("j", "j/user")]  # were we killed now
    assert [(status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) for status in made] == [
        (1, 2, 0o2711),
        (1, 2, 0o750),
    ]
    receiver.abandon()
    assert receiver.end() == []
    assert not (replica / "j/user/joe").exists()


def test_several_parts_are_one_mailbox(source: Path, replica: Path, tmp_path: Path) -> None:
    """Where the second cannot be written, the first has not its place either, if it comes first."""
    receiver = Receiver(numeric_ids=False)
    send(receiver, source, replica, "2.")
    send(receiver, source, tmp_path / "nowhere", "cyrus.index")
    before = contents(replica)
    receiver.commit()
    assert numbers(receiver.end()) == [(0, errno.ENOENT)]
    assert contents(replica) == {name: data for name, data in before.items() if not Path(name).name.startswith(".2.")}


def test_owners_are_set(source: Path, replica: Path) -> None:
    requires_root()
    os.chown(source / "j/user/joe/2.", 8, 12)
    os.chown(source / "j/user/joe", 8, 12)
    assert put(source, replica, "1.", "2.") == []
    for name in ("j/user/joe/2.", "j/user/joe"):
        status = (replica / name).stat()
        assert (status.st_uid, status.st_gid) == (8, 12)
    for name in ("j/user/joe/1.", "j/user"):
        assert (replica / name).stat().st_uid == os.geteuid()


def test_a_large_message_comes_in_pieces(source: Path, replica: Path) -> None:
    (source / "j/user/joe/2.").write_bytes(os.urandom(2 * PIECE + 17))
    assert put(source, replica, "2.", "1.") == []
    for name in ("1.", "2."):
        assert (replica / "j/user/joe" / name).read_bytes() == (source / "j/user/joe" / name).read_bytes()


def test_half_a_message_is_none(source: Path, replica: Path) -> None:
    before = contents(replica)
    receiver = Receiver(numeric_ids=False)
    send(receiver, source, replica)
    entry = Reader(os.fsencode(source)).entry(os.lstat(source / "j/user/joe/2."))
    receiver.message(2, entry._replace(size=9), b"two")
    receiver.commit()
    assert numbers(receiver.end()) == [(0, errno.EIO)]
    assert contents(replica) == before


def test_the_index_is_renamed_last(source: Path, replica: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    renamed = []
    rename = os.rename

    def noting(old: bytes, new: bytes, **where: int) -> None:
        assert (replica / "j/user/joe/cyrus.index").read_bytes() == b"old"
        renamed.append(new)
        rename(old, new, **where)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "rename", noting)
    assert put(source, replica, "2.", "cyrus.index") == []
    assert renamed == [b"2.", b"cyrus.index"]


def test_messages_are_renamed_in_the_order_of_their_uids(
    source: Path, replica: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that dies in between has brought the older ones."""
    folder = source / os.fsdecode(PATH)
    for name in ("10.", "3."):
        (folder / name).write_bytes(b"more")
    renamed, rename = [], os.rename

    def noting(old: bytes, new: bytes, **options: int) -> None:
        renamed.append(new)
        rename(old, new, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "rename", noting)
    assert put(source, replica, "2.", "3.", "10.", "cyrus.index") == []
    assert renamed == [b"2.", b"3.", b"10.", b"cyrus.index"]


def test_a_header_is_never_beside_an_index_that_it_was_not_written_with(
    source: Path, replica: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "j/user/joe/cyrus.header").write_bytes(b"new")
    (replica / "j/user/joe/cyrus.header").write_bytes(b"old")
    rename = os.rename

    def noting(old: bytes, new: bytes, **where: int) -> None:
        rename(old, new, **where)  # type: ignore[arg-type]
        found = contents(replica / "j/user/joe")
        assert found["cyrus.header"] == found.get("cyrus.index", b"new") or new == b"2."

    monkeypatch.setattr(os, "rename", noting)
    assert put(source, replica, "2.", "cyrus.header", "cyrus.index") == []


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("is_new", [False, True])
def test_a_full_disk_leaves_all_as_it_was(
    source: Path, replica: Path, tmp_path: Path, is_new: bool, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write that is cut off, and then fails, is that of each file in turn."""
    (replica / "j/user/joe/cyrus.cache").unlink()
    if is_new:
        (replica / "j/user/joe").rename(tmp_path / "elsewhere")
    before = contents(replica)
    writes = []
    write = os.write

    def failing(descriptor: int, data: memoryview) -> int:
        writes.append(descriptor)
        if len(writes) > number:
            raise OSError(errno.ENOSPC, "")
        return write(descriptor, data[: len(data) // 2] if len(writes) == number else data)

    monkeypatch.setattr(os, "write", failing)
    assert numbers(put(source, replica, "2.", "cyrus.cache", "cyrus.index")) == [(0, errno.ENOSPC)]
    assert len(writes) == number + 1
    assert contents(replica) == before


@pytest.mark.parametrize("is_new", [False, True])
def test_a_directory_that_cannot_be_made_as_on_the_source(
    source: Path, replica: Path, is_new: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mailbox arrives, and the directory is named once."""
    if is_new:
        shutil.rmtree(replica / "j/user/joe")
    (replica / "j").chmod(0o700)
    dressing = opened_folder.dress

    def dress(descriptor: int, entry: Entry, *, numeric_ids: bool) -> None:
        if os.path.samestat(os.fstat(descriptor), os.stat(replica / "j")):
            raise PermissionError(errno.EPERM, "")
        dressing(descriptor, entry, numeric_ids=numeric_ids)

    monkeypatch.setattr(opened_folder, "dress", dress)
    receiver = Receiver(numeric_ids=False)
    for _ in range(2):
        send(receiver, source, replica, "2.", "cyrus.index")
        receiver.commit()
    assert receiver.end() == [Failure(0, errno.EPERM, os.fsencode(replica / "j"), arrived=True)]
    assert {"2.": b"two", "cyrus.index": b"new"}.items() <= contents(replica / "j/user/joe").items()
    assert (replica / "j/user").stat().st_mtime_ns == NEW
    assert (replica / "j").stat().st_mode & 0o777 == 0o700


def make_way(path: Path) -> None:
    """Put what was at a path elsewhere, and a link to it in its place."""
    aside = path.with_name("aside")
    path.rename(aside)
    path.symlink_to(aside)


@pytest.mark.parametrize("what", ["a link above it", "a link", "a file"])
def test_what_stands_in_a_directorys_place_makes_way(source: Path, replica: Path, what: str) -> None:
    """As for rsync. Nothing is written behind a link."""
    folder = replica / "j/user/joe"
    if what == "a link above it":
        make_way(replica / "j/user")
    elif what == "a link":
        make_way(folder)
    else:
        folder.rename(replica / "elsewhere")
        folder.touch()
    assert put(source, replica, "2.", "cyrus.index") == []
    assert contents(folder) == {".": b"", "2.": b"two", "cyrus.index": b"new"}
    assert not (replica / "j/user").is_symlink() and not folder.is_symlink()
    aside = {"a link above it": "j/aside/joe", "a link": "j/user/aside", "a file": "elsewhere"}[what]
    assert contents(replica / aside) == {".": b"", "1.": b"one", "cyrus.index": b"old", "cyrus.cache": b"gen1"}


def test_a_directory_in_the_place_of_a_message_stays(source: Path, replica: Path) -> None:
    (replica / "j/user/joe/2.").mkdir()
    before = contents(replica)
    failures = put(source, replica, "2.", "cyrus.index")
    assert numbers(failures) == [(0, errno.EISDIR)]
    assert failures[0].path == os.fsencode(replica / "j/user/joe/2.")
    assert contents(replica) == before


@pytest.mark.parametrize("name", ["2.", "cyrus.cache", "cyrus.index"])
def test_a_link_in_the_place_of_a_file_is_replaced(source: Path, replica: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").write_text("theirs")
    path = replica / "j/user/joe" / name
    path.unlink(missing_ok=True)
    path.symlink_to(tmp_path / "outside")
    assert put(source, replica, name) == []
    assert not path.is_symlink() and path.read_bytes() == (source / "j/user/joe" / name).read_bytes()
    assert (tmp_path / "outside").read_text() == "theirs"


def test_a_hidden_directory_that_is_a_link_is_not_followed(source: Path, tmp_path: Path) -> None:
    replica, outside = tmp_path / "empty", tmp_path / "outside"
    replica.mkdir()
    outside.mkdir()
    (replica / os.fsdecode(RENAMED)).symlink_to(outside)
    assert numbers(put(source, replica, "2.")) == [(0, errno.ENOTDIR)]
    assert list(outside.iterdir()) == []


def test_a_symbolic_link_is_one(source: Path, replica: Path) -> None:
    (source / "j/user/joe/defaultbc").symlink_to("my.bc")
    assert put(source, replica, "defaultbc") == []
    assert put(source, replica, "defaultbc") == []
    assert os.readlink(replica / "j/user/joe/defaultbc") == "my.bc"


def test_roots_may_be_links(source: Path, replica: Path, tmp_path: Path) -> None:
    for name, root in (("a", source), ("b", replica)):
        (tmp_path / name).symlink_to(root)
    source.chmod(0o750)
    assert put(tmp_path / "a", tmp_path / "b", "2.") == []
    assert stat.S_IMODE(replica.stat().st_mode) == 0o750


def tail(source: Path, replica: Path, old: Cache, *pieces: bytes) -> Receiver:
    """Send what the cache has grown by, but do not commit."""
    receiver = Receiver(numeric_ids=False)
    send(receiver, source, replica)
    entry = Reader(os.fsencode(source)).entry(os.lstat(source / "j/user/joe/cyrus.cache"))
    receiver.tail(b"cyrus.cache", entry._replace(size=old.size + sum(map(len, pieces))), old, pieces[0])
    for piece in pieces[1:]:
        receiver.more(piece)
    return receiver


def old(cache: Path) -> Cache:
    """What a cache is on the replica, as long as nobody but us writes there."""
    with cache.open("rb") as file:
        status = os.fstat(file.fileno())
        return Cache(status.st_size, status.st_mtime_ns, grown.sample(file.fileno(), status.st_size))


def test_a_cache_that_has_grown_is_lengthened(source: Path, replica: Path) -> None:
    """It has the time of its original only when it is on the disk.

    After a power cut it could have the right size and wrong contents: then the next run has to see a difference.
    """
    cache = replica / "j/user/joe/cyrus.cache"
    inode = cache.stat().st_ino
    receiver = tail(source, replica, old(cache), b" and", b" more")
    receiver.commit()
    assert (cache.stat().st_size, cache.stat().st_mtime_ns) == (len(b"gen1 and more"), 0)
    assert receiver.end() == []
    assert (cache.read_bytes(), cache.stat().st_mtime_ns) == (b"gen1 and more", NEW)
    assert cache.stat().st_ino == inode


def test_a_cache_that_has_not_grown_stays(source: Path, replica: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it has to be brought to the disk."""
    synced: list[bytes] = []
    monkeypatch.setattr("cyrsync.far.receive.to_disk", synced.extend)
    assert put(source, replica, "cyrus.cache") == []
    cache = replica / "j/user/joe/cyrus.cache"
    cache.chmod(0o600)
    inode = cache.stat().st_ino
    receiver = tail(source, replica, old(cache), b"")
    receiver.commit()
    assert receiver.end() == []
    assert (cache.read_bytes(), cache.stat().st_mtime_ns, cache.stat().st_ino) == (b"gen1 and more", NEW, inode)
    assert synced == []
    assert cache.stat().st_mode == (source / "j/user/joe/cyrus.cache").stat().st_mode


def test_what_cannot_be_written_to_the_disk_is_not_in_its_place(
    source: Path, replica: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise OSError(errno.EIO, "")

    monkeypatch.setattr("cyrsync.far.receive.to_disk", fail)
    cache = replica / "j/user/joe/cyrus.cache"
    receiver = tail(source, replica, old(cache), b" and more")
    receiver.commit()
    assert numbers(receiver.end()) == [(0, errno.EIO)]
    assert cache.stat().st_mtime_ns == 0


DIFFERENCES = "longer|shorter|another time|another generation|another end|a second name|a link|gone".split("|")


@pytest.mark.parametrize("what", DIFFERENCES)
def test_the_end_of_another_cache_is_not_written(source: Path, replica: Path, tmp_path: Path, what: str) -> None:
    cache, kept = replica / "j/user/joe/cyrus.cache", tmp_path / "kept"
    cache.write_bytes(b"gen1" + bytes(8000))
    was = old(cache)
    data = {
        "longer": b"gen1" + bytes(8001),
        "shorter": b"gen1" + bytes(7999),
        "another generation": b"gen2" + bytes(8000),
        "another end": b"gen1" + bytes(7999) + b"1",
    }.get(what)
    if data:
        cache.write_bytes(data)
        os.utime(cache, ns=(was.mtime, was.mtime))
    elif what == "another time":
        os.utime(cache, ns=(was.mtime, was.mtime + 1))
    elif what == "a second name":
        os.link(cache, kept)
    else:
        cache.rename(kept)
        if what == "a link":
            cache.symlink_to(kept)
    before = look(replica)
    receiver = tail(source, replica, was, b" and", b" more")
    receiver.commit()
    ((_, number),) = numbers(receiver.end())
    assert number == {"a link": errno.ELOOP, "gone": errno.ENOENT}.get(what, errno.ESTALE)
    assert look(replica) == before
    assert not kept.exists() or kept.read_bytes() == b"gen1" + bytes(8000)


@pytest.mark.parametrize("what", ["a second name", "a link"])
def test_a_cache_that_comes_whole_takes_the_place_of_another(
    source: Path, replica: Path, tmp_path: Path, what: str
) -> None:
    cache = replica / "j/user/joe/cyrus.cache"
    kept = tmp_path / "kept"
    if what == "a second name":
        os.link(cache, kept)
    else:
        cache.rename(kept)
        cache.symlink_to(kept)
    inode = cache.lstat().st_ino
    assert put(source, replica, "cyrus.cache") == []
    assert cache.lstat().st_ino != inode
    assert cache.read_bytes() == b"gen1 and more"
    assert not cache.is_symlink()
    assert kept.read_bytes() == b"gen1"


def test_a_cache_that_is_the_same_is_not_written(source: Path, replica: Path) -> None:
    """By rsync's quick check; an index always."""
    names = ("cyrus.cache", "cyrus.index")
    assert put(source, replica, *names) == []
    inodes = {name: (replica / "j/user/joe" / name).stat().st_ino for name in names}
    assert put(source, replica, *names) == []
    changed = {name for name in names if (replica / "j/user/joe" / name).stat().st_ino != inodes[name]}
    assert changed == {"cyrus.index"}


def test_one_that_fails_keeps_no_other(source: Path, replica: Path, tmp_path: Path) -> None:
    receiver = Receiver(numeric_ids=False)
    send(receiver, source, tmp_path / "nowhere", "2.")
    receiver.commit()
    send(receiver, source, replica, "2.")
    receiver.commit()
    assert numbers(receiver.end()) == [(0, errno.ENOENT)]
    assert (replica / "j/user/joe/2.").read_bytes() == b"two"


def test_temporary_files_are_known_as_rsyncs(source: Path, replica: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed run leaves them: they are found with rsync's own."""
    monkeypatch.setattr(os, "rename", lambda *_, **__: os._exit(0))
    child = os.fork()
    if not child:
        put(source, replica, "2.", "cyrus.index")
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    left = [name for name in os.listdir(os.fsencode(replica / "j/user/joe")) if name.startswith(b".")]
    assert len(left) == 2
    assert all(kinds.is_leftover(name) for name in left)


def link(receiver: Receiver, source: Path, name: int, target: Target) -> None:
    """Send a message of the folder as a link, into the part that was begun."""
    receiver.link(name, Reader(os.fsencode(source)).entry(os.lstat(source / f"j/user/joe/{name}.")), target)


def linked_from(source: Path, replica: Path, target: Target, *names: str) -> list[Failure]:
    """Send message 2 as a link, and these other files."""
    receiver = Receiver(numeric_ids=False)
    send(receiver, source, replica, *names)
    link(receiver, source, 2, target)
    receiver.commit()
    return receiver.end()


@pytest.fixture
def other(replica: Path) -> Path:
    """Message 7 in another folder of the replica, which is message 2 of the source but for its time."""
    folder = replica / "j/user/joe/Sent"
    folder.mkdir()
    (folder / "7.").write_bytes(b"two")
    (folder / "7.").chmod(stat.S_IMODE((replica / "j/user/joe/1.").stat().st_mode))
    return folder


def target_of(replica: Path, path: str, uid: int) -> Target:
    return Target(os.fsencode(replica), path.encode(), uid)


@pytest.mark.parametrize("is_new", [False, True])
def test_a_message_of_another_folder_is_linked(source: Path, replica: Path, other: Path, is_new: bool) -> None:
    if is_new:
        (replica / "j/user/joe").rename(replica / "j/user/ann")
        other = replica / "j/user/ann/Sent"
    path = os.fspath(other.relative_to(replica))
    assert linked_from(source, replica, target_of(replica, path, 7), "cyrus.index") == []
    new = replica / "j/user/joe/2."
    assert new.samefile(other / "7.")
    assert (new.stat().st_mtime_ns, new.stat().st_nlink) == (NEW, 2)
    assert (replica / "j/user/joe/cyrus.index").read_bytes() == b"new"
    assert [name for name in os.listdir(new.parent) if name.startswith(".")] == []


@pytest.mark.parametrize("is_new", [False, True])
def test_two_names_of_one_file_in_a_folder(source: Path, replica: Path, tmp_path: Path, is_new: bool) -> None:
    if is_new:
        (replica / "j/user/joe").rename(tmp_path / "elsewhere")
    os.link(source / "j/user/joe/2.", source / "j/user/joe/3.")
    receiver = Receiver(numeric_ids=False)
    send(receiver, source, replica, "2.")
    link(receiver, source, 3, target_of(replica, "j/user/joe", 2))
    receiver.commit()
    assert receiver.end() == []
    assert (replica / "j/user/joe/2.").samefile(replica / "j/user/joe/3.")
    assert (replica / "j/user/joe/3.").read_bytes() == b"two"


def test_a_second_name_of_a_message_that_was_there(source: Path, replica: Path) -> None:
    (source / "j/user/joe/2.").write_bytes(b"one")
    os.utime(source / "j/user/joe/2.", ns=(NEW, NEW))
    assert linked_from(source, replica, target_of(replica, "j/user/joe", 1)) == []
    assert (replica / "j/user/joe/2.").samefile(replica / "j/user/joe/1.")


def test_a_link_that_is_there_already(source: Path, replica: Path, other: Path) -> None:
    """Of two names of one file, rename(2) leaves both."""
    os.link(other / "7.", replica / "j/user/joe/2.")
    assert linked_from(source, replica, target_of(replica, "j/user/joe/Sent", 7)) == []
    assert (other / "7.").stat().st_nlink == 2
    assert [name for name in os.listdir(replica / "j/user/joe") if name.startswith(".")] == []


@pytest.mark.parametrize(
    ("what", "number"),
    [
        ("gone", errno.ENOENT),
        ("no folder", errno.ENOENT),
        ("longer", errno.ESTALE),
        ("other permissions", errno.ESTALE),
        ("a link", errno.ESTALE),
        ("a directory", errno.EPERM),
        ("a pipe", errno.ESTALE),
        ("a link above it", errno.ENOTDIR),
    ],
)
def test_what_is_no_such_message_is_not_linked(
    source: Path, replica: Path, other: Path, tmp_path: Path, what: str, number: int
) -> None:
    """Nothing of the mailbox takes its place, and nothing that is there changes."""
    path = other / "7."
    path.rename(tmp_path / "7.")
    if what == "no folder":
        other.rmdir()
    elif what == "longer":
        path.write_bytes(b"two and more")
    elif what == "other permissions":
        (tmp_path / "7.").rename(path)
        path.chmod(0o444)
    elif what == "a link":
        path.symlink_to(tmp_path / "7.")
    elif what == "a directory":
        path.mkdir()
    elif what == "a pipe":
        os.mkfifo(path)
    elif what == "a link above it":
        (tmp_path / "7.").rename(path)
        other.rename(tmp_path / "Sent")
        other.symlink_to(tmp_path / "Sent")
    before = look(replica)
    failures = linked_from(source, replica, target_of(replica, "j/user/joe/Sent", 7), "cyrus.index")
    assert numbers(failures) == [(0, number)]
    assert failures[0].path == os.fsencode(replica / "j/user/joe/2.")
    after = look(replica)
    assert {name: data for name, (_, _, data) in after.items()} == {name: data for name, (_, _, data) in before.items()}
    assert after.get("j/user/joe/Sent/7.") == before.get("j/user/joe/Sent/7.")


def test_a_message_of_another_owner_is_not_linked(source: Path, replica: Path, other: Path) -> None:
    """Somebody may have put a link to a file of root's there: it is not given away."""
    requires_root()
    os.chown(source / "j/user/joe/2.", 8, 12)
    assert numbers(linked_from(source, replica, target_of(replica, "j/user/joe/Sent", 7))) == [(0, errno.ESTALE)]
    assert (other / "7.").stat().st_uid == 0


def test_a_link_across_file_systems_fails(source: Path, replica: Path, other: Path) -> None:
    places = [path for path in map(Path, ("/dev/shm", "/tmp", "/var/tmp")) if os.access(path, os.W_OK)]
    elsewhere = [path for path in places if path.stat().st_dev != replica.stat().st_dev]
    if not elsewhere:
        pytest.skip("no other file system")
    with tempfile.TemporaryDirectory(prefix="cyrsync-", dir=elsewhere[0]) as directory:
        (Path(directory) / "7.").write_bytes(b"two")
        target = Target(os.fsencode(directory), b"", 7)
        assert numbers(linked_from(source, replica, target)) == [(0, errno.EXDEV)]


def test_a_folder_on_another_file_system_than_its_root_is_made_in_its_place(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could not be renamed from the root's hidden directory."""
    replica = tmp_path / "new"
    (replica / "j/user").mkdir(parents=True)
    mounted, real = (replica / "j/user").stat().st_ino, os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        return os.stat_result((*status[:2], 999, *status[3:])) if status.st_ino == mounted else status

    receiver = Receiver(numeric_ids=False)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", fstat)
        send(receiver, source, replica, "2.", "cyrus.index")
    assert len(os.listdir(replica / "j/user/joe")) == 2
    receiver.commit()
    assert not receiver.end()
    assert sorted(os.listdir(replica / "j/user/joe")) == ["2.", "cyrus.index"]
    assert not (replica / os.fsdecode(RENAMED)).exists()


def test_as_many_links_as_there_can_be(
    source: Path, replica: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))

    monkeypatch.setattr(os, "link", full)
    assert numbers(linked_from(source, replica, target_of(replica, "j/user/joe/Sent", 7))) == [(0, errno.EMLINK)]


def test_a_link_of_no_part_is_refused(source: Path, replica: Path) -> None:
    receiver = Receiver(numeric_ids=False)
    link(receiver, source, 2, target_of(replica, "j/user/joe", 1))
    receiver.commit()
    assert numbers(receiver.end()) == [(0, errno.EINVAL)]


def test_no_right_is_given_behind_a_link(
    source: Path, replica: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory that its owner may not read is swapped for a link right after that is seen."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o500)
    folder, real = replica / os.fsdecode(PATH), os.open
    folder.rename(tmp_path / "away")
    folder.symlink_to(elsewhere)

    def fail_first(path: bytes, flags: int, *rest: int, dir_fd: int | None = None) -> int:
        if path == b"joe" and not flags & os.O_PATH:
            raise PermissionError(errno.EACCES, "")
        return real(path, flags, *rest, dir_fd=dir_fd)

    monkeypatch.setattr(opened_folder.os, "open", fail_first)
    assert numbers(put(source, replica, "2.")) == [(0, errno.ENOTDIR)]
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o500
