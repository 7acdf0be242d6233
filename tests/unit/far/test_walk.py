"""The walk sees every kind of entry for what it is, and never stops for one it cannot read."""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

import samplespool
from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox import index
from cyrsync.far import walk as walking
from cyrsync.far.folder import Folder, Incarnation, sort_key
from cyrsync.far.walk import walk
from support.random_tree import RandomTree

DAY = 86400


def make(root: Path, *paths: bytes | str) -> Path:
    """Make files, and with a slash at the end folders, below `root`."""
    for path in paths:
        raw = os.path.join(os.fsencode(root), os.fsencode(path))
        os.makedirs(os.path.dirname(raw), exist_ok=True)
        if not raw.endswith(b"/"):
            with open(raw, "wb") as file:
                file.write(b"x" * len(path))
    return root


def walked(root: Path, *users: str, leftovers: bool = False) -> dict[bytes, Folder]:
    found = list(walk(os.fsencode(root), frozenset(users), leftovers))
    assert [folder.path for folder in found] == sorted((folder.path for folder in found), key=sort_key)
    return {folder.path: folder for folder in found}


def only(root: Path) -> Folder:
    """The root of a tree without folders."""
    (folder,) = walked(root).values()
    return folder


def meant(path: bytes, dir_fd: int | None = None) -> bytes:
    """Which path a call of the system is about: of something in an open directory, or of that itself."""
    if path.startswith(b"/proc/self/fd/"):
        return os.readlink(path)
    return path if dir_fd is None else os.path.join(os.readlink(b"/proc/self/fd/%d" % dir_fd), path)


def failing(monkeypatch: pytest.MonkeyPatch, name: str, victim: Path, number: int) -> None:
    """Let os.NAME fail for one path."""
    real: Callable[..., object] = getattr(os, name)

    def fails(path: bytes, *args: object, dir_fd: int | None = None, **kwargs: object) -> object:
        if meant(path, dir_fd) == os.fsencode(victim):
            raise OSError(number, os.strerror(number), path)
        return real(path, *args, **kwargs) if dir_fd is None else real(path, *args, dir_fd=dir_fd, **kwargs)

    monkeypatch.setattr(os, name, fails)


def test_kinds(tmp_path: Path) -> None:
    root = make(
        tmp_path, "1.", "20.", "3.", "007.", "0.", "4294967296.", "cyrus.index", "cyrus.odd", "cyrus.x.NEW", ".hidden",
        "stray", "12", "1.2.", "Sub/9.", "#calendars/", ";x/", b"\xff\n/1.", "stage./1-1", "sync./x", "lost+found/x",
    )  # fmt: skip
    found = walked(root)
    assert list(found) == [b"", b"#calendars", b";x", b"Sub", b"\xff\n"]
    top = found[b""]
    assert list(top.messages.uids) == [1, 3, 20]
    assert top.messages.nonstandard == (b"0.", b"007.", b"4294967296.")
    assert set(top.metadata) == {b"cyrus.index", b"cyrus.odd"}
    assert set(top.other_files) == {b"stray", b"12", b"1.2."}
    assert top.folders == (b"#calendars", b";x", b"Sub", b"\xff\n")
    assert list(found[b"Sub"].messages.uids) == [9]
    assert list(found[b"\xff\n"].messages.uids) == [1]
    assert not any(folder.problem for folder in found.values())


def test_transient_at_the_root_only(tmp_path: Path) -> None:
    names = [b"stage.", b"sync.", b"lost+found"]
    root = make(tmp_path, *(name + b"/1." for name in names), *(b"user/" + name + b"/1." for name in names))
    assert walked(root)[b""].folders == (b"user",)
    assert walked(root)[b"user"].folders == (b"lost+found", b"stage.", b"sync.")


def test_transient_files_at_the_root(tmp_path: Path) -> None:
    assert not only(make(tmp_path, "stage.", "sync.", "lost+found")).other_files


def test_hidden_folders_and_rewrites_are_not_entered(tmp_path: Path) -> None:
    root = make(tmp_path, ".git/1.", "user/.snapshots/1.", "user/cyrus.x.NEW/1.")
    assert list(walked(root)) == [b"", b"user"]


def test_attributes(tmp_path: Path) -> None:
    path = make(tmp_path, "cyrus.index") / "cyrus.index"
    os.utime(path, ns=(0, 1_500_000_000_123_456_789))
    path.chmod(0o640)
    tmp_path.chmod(0o750)
    folder = only(tmp_path)
    entry = folder.metadata[b"cyrus.index"]
    assert entry is not None
    assert (stat.S_IMODE(entry.mode), entry.size, entry.mtime) == (0o640, 11, 1_500_000_000_123_456_789)
    uid, gid, *_ = entry.owner.split(":")
    assert (int(uid), int(gid)) == (path.stat().st_uid, path.stat().st_gid)
    assert folder.attributes
    assert folder.attributes.mode == stat.S_IFDIR | 0o750


def test_owners_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(number: int) -> object:
        raise KeyError(number)

    monkeypatch.setattr(walking.pwd, "getpwuid", unknown)
    monkeypatch.setattr(walking.grp, "getgrgid", unknown)
    folder = only(tmp_path)
    assert folder.attributes
    assert folder.attributes.owner == f"{tmp_path.stat().st_uid}:{tmp_path.stat().st_gid}::"


def test_folders_under_a_message_name(tmp_path: Path) -> None:
    found = walked(make(tmp_path, "1.", "2./x", "3.", "007./y", "x./z"))
    assert list(found[b""].messages.uids) == [1, 3]
    assert found[b""].messages.nonstandard == ()
    assert found[b""].folders == (b"007.", b"2.", b"x.")
    assert set(found) == {b"", b"007.", b"2.", b"x."}


def test_folders_under_a_message_name_where_links_are_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on btrfs, where every directory has one link."""
    make(tmp_path, "1.", "2./x", "Sub/1.")
    real = os.lstat

    def lstat(path: bytes) -> os.stat_result:
        status = real(path)
        return os.stat_result((*status[:3], 1, *status[4:])) if stat.S_ISDIR(status.st_mode) else status

    monkeypatch.setattr(os, "lstat", lstat)
    top = walked(tmp_path)[b""]
    assert (list(top.messages.uids), top.folders) == ([1], (b"2.", b"Sub"))


def test_no_look_at_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "1.", "007.", "cyrus.index", "Sub/2.")
    looked = []

    def watched(real: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def look(path: bytes, **how: int) -> os.stat_result:
            looked.append(os.path.basename(path))
            return real(path, **how)

        return look

    monkeypatch.setattr(os, "lstat", watched(os.lstat))
    monkeypatch.setattr(os, "stat", watched(os.stat))
    walked(tmp_path)
    assert set(looked) == {b"cyrus.index", b"Sub"}


def test_symlinks_are_strays(tmp_path: Path) -> None:
    make(tmp_path, "real/1.")
    os.symlink(b"real", os.fsencode(tmp_path / "link"))
    os.symlink(b"/gone/\xff", os.fsencode(tmp_path / "broken"))
    os.symlink(b"real", os.fsencode(tmp_path / "cyrus.link"))
    found = walked(tmp_path)
    assert list(found) == [b"", b"real"]
    link, broken = found[b""].other_files[b"link"], found[b""].other_files[b"broken"]
    assert link and broken
    assert (link.extra, broken.extra) == ("real", "/gone/\xff")
    assert stat.S_ISLNK(link.mode)
    assert set(found[b""].metadata) == {b"cyrus.link"}


def test_fifos_and_sockets_are_strays(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        directory = os.open(tmp_path, os.O_RDONLY)
        try:
            server.bind(f"/proc/self/fd/{directory}/socket")
        finally:
            os.close(directory)
    assert set(only(tmp_path).other_files) == {b"fifo", b"socket"}


def test_the_root_is_no_directory(tmp_path: Path) -> None:
    root = make(tmp_path, "file") / "file"
    assert only(root) == Folder(b"", problem=errno.ENOTDIR)
    assert only(tmp_path / "gone") == Folder(b"", problem=errno.ENOENT)


@pytest.mark.parametrize(("call", "number"), [("listdir", errno.EACCES), ("stat", errno.EIO), ("listdir", errno.EIO)])
def test_an_unreadable_folder_has_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    make(tmp_path, "a/1.", "b/1.", "b/Sub/1.", "c/1.")
    failing(monkeypatch, call, tmp_path / "b", number)
    found = walked(tmp_path)
    if call == "listdir":
        assert found[b"b"] == Folder(b"b", problem=number)
        assert list(found) == [b"", b"a", b"b", b"c"]
    else:  # its kind is not even known: it may be a folder
        assert found[b""].other_files == {b"b": None}
        assert list(found) == [b"", b"a", b"b", b"b/Sub", b"c"]
    assert list(found[b"c"].messages.uids) == [1]


def test_a_vanishing_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a/1.", "b/1.", "b/Sub/1.")
    folders = walk(os.fsencode(tmp_path))
    assert next(folders).folders == (b"a", b"b")
    (tmp_path / "b").rename(tmp_path / "elsewhere")
    assert [(folder.path, folder.problem) for folder in folders] == [(b"a", 0), (b"b", errno.ENOENT)]


def test_a_folder_that_becomes_a_link(tmp_path: Path) -> None:
    make(tmp_path, "a/1.", "b/1.")
    folders = walk(os.fsencode(tmp_path))
    next(folders)
    (tmp_path / "b").rename(tmp_path / "elsewhere")
    (tmp_path / "b").symlink_to("elsewhere")
    assert [(folder.path, folder.problem) for folder in folders] == [(b"a", 0), (b"b", errno.ENOTDIR)]


def test_metadata_that_vanishes_is_still_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no look must not be taken for absent, or it would be deleted."""
    make(tmp_path, "cyrus.cache", "stray")
    failing(monkeypatch, "stat", tmp_path / "cyrus.cache", errno.ENOENT)
    failing(monkeypatch, "stat", tmp_path / "stray", errno.EACCES)
    folder, other_file = walked(tmp_path).values()
    assert (folder.metadata, folder.other_files) == ({b"cyrus.cache": None}, {b"stray": None})
    assert other_file == Folder(b"stray", problem=errno.ENOTDIR)


def test_large_directories_are_read_in_portions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, *(f"{uid}." for uid in range(1, 100)), "007.", "cyrus.index", "stray", "500./x", b"\xff.")
    expected = walked(tmp_path)
    monkeypatch.setattr(walking, "_LARGE_DIRECTORY", 0)
    for portion in (1, 7, 1000):
        monkeypatch.setattr(walking, "_PORTION", portion)
        assert walked(tmp_path) == expected


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return make(
        tmp_path / "spool", "j/user/joe/1.", "j/user/joe/Sub/1.", "j/user/jane/1.", "a/user/ann/1.",
        "u/DELETED/user/joe/Old/65000000/1.", "s/shared/1.", "domain/e/example.com/j/user/joe/1.", "uuid/a/b/ab/1.",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("users", "paths"),
    [
        (["joe"], {b"j/user/joe", b"j/user/joe/Sub", b"u/DELETED/user/joe/Old/65000000", b"u/DELETED/user/joe/Old"}),
        (["jane"], {b"j/user/jane"}),
        (["ann", "jane"], {b"a/user/ann", b"j/user/jane"}),
        (["joe@example.com"], {b"domain/e/example.com/j/user/joe"}),
        (["nobody"], set()),
    ],
)
def test_users(spool: Path, users: list[str], paths: set[bytes]) -> None:
    assert {path for path, folder in walked(spool, *users).items() if folder.messages.uids or path in paths} == paths


def test_other_users_are_not_read(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    real = os.listdir

    def listdir(path: bytes) -> list[bytes]:
        read.append(os.path.relpath(meant(path), os.fsencode(spool)))
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    walked(spool, "ann")
    assert b"a/user/ann" in read
    assert not {b"j", b"s", b"uuid", b"domain/e", b"u/DELETED/user/joe"} & set(read)


def test_problems_above_the_users_are_told(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, "listdir", spool / "j" / "user", errno.EACCES)
    assert walked(spool, "joe")[b"j/user"].problem == errno.EACCES


def test_leftovers(tmp_path: Path) -> None:
    make(tmp_path, ".1..AbCdEf", ".2..AbCdEf", ".cyrus.index.AbCdEf", ".hidden", ".x.AbCdEf", "1.")
    now = time.time()
    for name in (".1..AbCdEf", ".cyrus.index.AbCdEf", ".hidden", ".x.AbCdEf", "1."):
        os.utime(tmp_path / name, (now, now - DAY - 60))
    os.utime(tmp_path / ".2..AbCdEf", (now, now - DAY + 60))
    assert only(tmp_path).leftovers == ()
    (folder,) = walked(tmp_path, leftovers=True).values()
    assert set(folder.leftovers) == {b".1..AbCdEf", b".cyrus.index.AbCdEf"}


def test_metadata_that_never_came_to_its_place_is_a_leftover(tmp_path: Path) -> None:
    make(tmp_path, ".~tmp~/cyrus.index", "new/.~tmp~/cyrus.index", "file/.~tmp~")
    for name in (".~tmp~", "file/.~tmp~"):
        os.utime(tmp_path / name, (0, 0))
    found = walked(tmp_path, leftovers=True)
    assert {path: folder.leftovers for path, folder in found.items()} == {b"": (b".~tmp~",), b"new": (), b"file": ()}


def test_a_folder_is_no_leftover(tmp_path: Path) -> None:
    make(tmp_path, ".1..AbCdEf/x")
    os.utime(tmp_path / ".1..AbCdEf", (0, 0))
    assert walked(tmp_path, leftovers=True)[b""].leftovers == ()


def test_incarnation(tmp_path: Path) -> None:
    samplespool.create_folder(tmp_path, "user/joe")
    (folder,) = [folder for folder in walked(tmp_path).values() if folder.is_cyrus()]
    assert folder.incarnation
    assert folder.incarnation.uniqueid
    path = tmp_path / os.fsdecode(folder.path)
    expected = index.head((path / "cyrus.index").read_bytes())
    assert expected == folder.incarnation[1:]


@pytest.mark.parametrize("spoil", ["header", "index", "no header", "no index", "link", "fifo", "unreadable"])
def test_no_incarnation(tmp_path: Path, spoil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    samplespool.create_folder(tmp_path, "user/joe")
    (path,) = samplespool.folders(tmp_path)
    header, index_file = path / "cyrus.header", path / "cyrus.index"
    if spoil == "header":
        header.write_bytes(header.read_bytes()[:100])
    elif spoil == "index":
        index_file.write_bytes(index_file.read_bytes()[:40] + b"\xff\xff\xff\xff" + index_file.read_bytes()[44:])
    elif spoil in ("no header", "no index"):
        (path / f"cyrus.{spoil[3:]}").unlink()
    elif spoil == "link":
        header.rename(path / "cyrus.real")
        header.symlink_to("cyrus.real")
    elif spoil == "fifo":
        index_file.unlink()
        os.mkfifo(index_file)
    else:
        failing(monkeypatch, "open", header, errno.EACCES)
    (folder,) = [folder for folder in walked(tmp_path).values() if folder.is_cyrus()]
    assert folder.incarnation is None
    assert folder.problem == 0


def test_a_header_that_becomes_a_link_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samplespool.create_folder(tmp_path, "user/joe")
    (path,) = samplespool.folders(tmp_path)
    real = os.open

    header = os.fsencode(path / "cyrus.header")

    def swapped(name: bytes, flags: int, dir_fd: int | None = None) -> int:
        if meant(name, dir_fd) == header and not os.path.islink(header):
            os.rename(header, header + b".real")
            os.symlink(header + b".real", header)
        return real(name, flags, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", swapped)
    (folder,) = [folder for folder in walked(tmp_path).values() if folder.is_cyrus()]
    assert (path / "cyrus.header").is_symlink()
    assert folder.incarnation is None


def test_a_torn_index_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samplespool.create_folder(tmp_path, "user/joe")
    answers = iter([None, None, index.IndexHead(7, 8)])
    monkeypatch.setattr(index, "head", lambda data: next(answers))
    (folder,) = [folder for folder in walked(tmp_path).values() if folder.is_cyrus()]
    assert isinstance(folder.incarnation, Incarnation)
    assert folder.incarnation[1:] == (7, 8)


@pytest.mark.parametrize("seed", range(5))
def test_random_trees(tmp_path: Path, seed: int) -> None:
    """Every entry of any tree is accounted for, once."""
    tree = RandomTree(os.fsencode(tmp_path / "tree"), Random(seed))
    tree.change(40)
    seen = [
        os.path.join(folder.path, name)
        for folder in walk(tree.root)
        for name in [
            *(b"%d." % uid for uid in folder.messages.uids),
            *folder.messages.nonstandard,
            *folder.metadata,
            *folder.other_files,
        ]
    ]
    there = []
    for top, directories, files in os.walk(tree.root):
        at_root = top == tree.root
        directories[:] = [n for n in directories if not kinds.is_left_alone(n, at_root)]
        links = [n for n in directories if os.path.islink(os.path.join(top, n))]
        names = [n for n in files + links if not kinds.is_left_alone(n, at_root)]
        there += [os.path.relpath(os.path.join(top, name), tree.root) for name in names]
    assert sorted(seen) == sorted(there)
