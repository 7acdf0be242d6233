"""Files put in their places: all of a folder or none, as the originals look, and none where something is in the way."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far.folder import File
from cyrsync.far.place import Placer, Placing, decode, encode, place
from cyrsync.far.walk import Reader
from support import frames
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


def placing(source: Path, replica: Path, *names: str) -> Placing:
    """What takes these files from the source to the replica."""
    reader = Reader(os.fsencode(source))
    folder = source / os.fsdecode(PATH)
    files = [File(n.encode(), reader.entry(os.lstat(folder / n)), (folder / n).read_bytes()) for n in names]
    return Placing(os.fsencode(replica), PATH, reader.above(PATH), tuple(files))


def put(*placings: Placing) -> list[tuple[bytes, bytes]]:
    return place(placings, numeric_ids=False, wanted=lambda: True)


def look(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Mode, time and contents of all that is below a root, and its own."""
    found = {}
    for path in (root, *root.rglob("*")):
        status = path.lstat()
        data = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(root))] = (status.st_mode, status.st_mtime_ns, data)
    return found


def test_it_is_as_on_the_source(source: Path, replica: Path) -> None:
    (source / "j").chmod(0o2711)
    (source / "j/user/joe/2.").chmod(0o640)
    assert put(placing(source, replica, "2.", "cyrus.cache", "cyrus.index")) == []
    os.utime(replica / "j/user/joe/1.", ns=(NEW, NEW))  # was not sent
    assert look(replica) == look(source)


def test_owners_are_set(source: Path, replica: Path) -> None:
    requires_root()
    os.chown(source / "j/user/joe/2.", 8, 12)
    os.chown(source / "j/user/joe", 8, 12)
    assert put(placing(source, replica, "2.")) == []
    for name in ("j/user/joe/2.", "j/user/joe"):
        status = (replica / name).stat()
        assert (status.st_uid, status.st_gid) == (8, 12)
    assert (replica / "j/user").stat().st_uid == os.geteuid()


def test_the_index_is_renamed_last(source: Path, replica: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    renamed = []
    rename = os.rename

    def noting(old: bytes, new: bytes, **where: int) -> None:
        index = replica / "j/user/joe/cyrus.index"
        assert index.read_bytes() == b"old"
        renamed.append(new)
        rename(old, new, **where)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "rename", noting)
    assert put(placing(source, replica, "2.", "cyrus.index")) == []
    assert renamed == [b"2.", b"cyrus.index"]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_full_disk_leaves_all_as_it_was(
    source: Path, replica: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write that is cut off, and then fails, is that of each file in turn."""
    (replica / "j/user/joe/cyrus.cache").unlink()
    before = look(replica)
    writes = []
    write = os.write

    def failing(descriptor: int, data: memoryview) -> int:
        writes.append(descriptor)
        if len(writes) > number:
            raise OSError(errno.ENOSPC, "")
        return write(descriptor, data[: len(data) // 2] if len(writes) == number else data)

    monkeypatch.setattr(os, "write", failing)
    assert put(placing(source, replica, "2.", "cyrus.cache", "cyrus.index")) == [(os.fsencode(replica), PATH)]
    assert len(writes) == number + 1
    after = look(replica)
    after["j/user/joe"] = before["j/user/joe"]  # but for the time of the directory
    assert after == before


def make_way(path: Path) -> None:
    """Put what was at a path elsewhere, and a link to it in its place."""
    aside = path.with_name("aside")
    path.rename(aside)
    path.symlink_to(aside)


@pytest.mark.parametrize("what", ["no folder", "a link above it", "a link", "a file", "rsync's updates", "another dir"])
def test_what_is_in_the_way_stays(source: Path, replica: Path, what: str) -> None:
    folder = replica / "j/user/joe"
    if what == "no folder":
        folder.rename(replica / "elsewhere")
    elif what == "a link above it":
        make_way(replica / "j/user")
    elif what == "a link":
        make_way(folder)
    elif what == "a file":
        folder.rename(replica / "elsewhere")
        folder.touch()
    elif what == "another dir":
        (folder / "2.").mkdir()
    else:
        (folder / ".~tmp~").mkdir()
    before = {name: data for name, (_, _, data) in look(replica).items()}
    assert put(placing(source, replica, "2.", "cyrus.index")) == [(os.fsencode(replica), PATH)]
    assert {name: data for name, (_, _, data) in look(replica).items()} == before


def test_a_source_behind_a_link_goes_into_directories(source: Path, replica: Path) -> None:
    make_way(source / "j/user")
    assert put(placing(source, replica, "2.")) == []
    assert (replica / "j/user/joe/2.").read_bytes() == b"two"
    assert not (replica / "j/user").is_symlink()


def test_what_is_to_be_a_directory_and_is_a_link_is_left(source: Path, replica: Path) -> None:
    one = placing(source, replica, "2.")
    make_way(source / "j/user")
    link = Reader(os.fsencode(source)).entry(os.lstat(source / "j/user"))
    before = look(replica)
    above = tuple((path, link if path == b"j/user" else entry) for path, entry in one.above)
    assert put(one._replace(above=above)) == [(os.fsencode(replica), PATH)]
    assert look(replica) == before


def test_roots_may_be_links(source: Path, replica: Path, tmp_path: Path) -> None:
    for name, root in (("a", source), ("b", replica)):
        (tmp_path / name).symlink_to(root)
    source.chmod(0o750)
    assert put(placing(tmp_path / "a", tmp_path / "b", "2.")) == []
    assert stat.S_IMODE(replica.stat().st_mode) == 0o750


def test_a_cache_that_has_grown_is_lengthened(source: Path, replica: Path) -> None:
    cache = replica / "j/user/joe/cyrus.cache"
    inode = cache.stat().st_ino
    assert put(placing(source, replica, "cyrus.cache")) == []
    assert cache.stat().st_ino == inode
    assert cache.read_bytes() == b"gen1 and more"
    assert cache.stat().st_mtime_ns == NEW


def test_a_lengthened_cache_has_the_time_of_its_original_only_when_it_is_on_the_disk(
    source: Path, replica: Path
) -> None:
    """After a power cut it could have the right size and wrong contents: then the next run has to see a difference."""
    cache = replica / "j/user/joe/cyrus.cache"
    placer = Placer(numeric_ids=False)
    placer.place(placing(source, replica, "cyrus.cache"))
    assert cache.stat().st_size == len(b"gen1 and more") and cache.stat().st_mtime_ns == 0
    assert placer.finish() == []
    assert cache.stat().st_mtime_ns == NEW


def test_what_cannot_be_written_to_the_disk_is_not_in_its_place(
    source: Path, replica: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise OSError(errno.EIO, "")

    monkeypatch.setattr("cyrsync.far.place.to_disk", fail)
    assert put(placing(source, replica, "cyrus.cache")) == [(os.fsencode(replica), PATH)]
    assert (replica / "j/user/joe/cyrus.cache").stat().st_mtime_ns == 0


@pytest.mark.parametrize("what", ["another beginning", "shorter", "empty", "a second name", "a link"])
def test_any_other_cache_is_replaced(source: Path, replica: Path, tmp_path: Path, what: str) -> None:
    cache = replica / "j/user/joe/cyrus.cache"
    kept = tmp_path / "kept"
    if what == "another beginning":
        cache.write_bytes(b"gen0")
    elif what == "shorter":
        cache.write_bytes(b"gen1 and more than that")
    elif what == "empty":
        cache.write_bytes(b"")
    elif what == "a second name":
        os.link(cache, kept)
    else:
        cache.rename(kept)
        cache.symlink_to(kept)
    inode = cache.lstat().st_ino
    assert put(placing(source, replica, "cyrus.cache")) == []
    assert cache.lstat().st_ino != inode
    assert cache.read_bytes() == b"gen1 and more"
    assert not cache.is_symlink()
    assert not kept.exists() or kept.read_bytes() == b"gen1"


def test_what_is_the_same_is_not_written(source: Path, replica: Path) -> None:
    """Messages and caches by rsync's quick check; an index always."""
    names = ("1.", "cyrus.cache", "cyrus.index")
    assert put(placing(source, replica, *names)) == []
    inodes = {name: (replica / "j/user/joe" / name).stat().st_ino for name in names}
    assert put(placing(source, replica, *names)) == []
    changed = {name for name in names if (replica / "j/user/joe" / name).stat().st_ino != inodes[name]}
    assert changed == {"cyrus.index"}


def test_nobody_wants_it_any_more(source: Path, replica: Path) -> None:
    before = look(replica)
    assert place([placing(source, replica, "2.")], numeric_ids=False, wanted=lambda: False) == []
    assert look(replica) == before


def test_one_that_fails_keeps_no_other(source: Path, replica: Path, tmp_path: Path) -> None:
    lost = placing(source, tmp_path / "nowhere", "2.")
    assert put(lost, placing(source, replica, "2.")) == [(os.fsencode(tmp_path / "nowhere"), PATH)]
    assert (replica / "j/user/joe/2.").read_bytes() == b"two"


def test_temporary_files_are_known_as_rsyncs(source: Path, replica: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed run leaves them: they are found with rsync's own."""
    monkeypatch.setattr(os, "rename", lambda *_, **__: os._exit(0))
    child = os.fork()
    if not child:
        put(placing(source, replica, "2.", "cyrus.index"))
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    left = [name for name in os.listdir(os.fsencode(replica / "j/user/joe")) if name.startswith(b".")]
    assert len(left) == 2
    assert all(kinds.is_leftover(name) for name in left)


@given(st.lists(frames.placings(), max_size=3))
def test_it_crosses_a_connection_unchanged(placings: list[Placing]) -> None:
    stream = io.BytesIO(b"".join(map(encode, placings)) + b"null\nmore")
    assert list(decode(stream)) == placings
    assert stream.read() == b"more"


@given(st.lists(frames.placings(), min_size=1, max_size=3), st.data())
def test_what_is_cut_off_is_not_taken_for_whole(placings: list[Placing], data: st.DataObject) -> None:
    whole = b"".join(map(encode, placings)) + b"null\n"
    cut = data.draw(st.integers(0, len(whole) - 2))  # without its newline, `null` is whole
    found = []
    with pytest.raises((EOFError, ValueError)):
        found.extend(decode(io.BytesIO(whole[:cut])))
    assert found == placings[: len(found)]
