"""Directories below a root are opened by name, one in the other: a link that takes the place of one leads nowhere."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

import samplespool
from cyrsync.far import descent as descending
from cyrsync.far import locked_folder as taking
from cyrsync.far import walk as walking
from cyrsync.far.audit_tree import audit_tree
from cyrsync.far.descent import Descent, make
from cyrsync.far.digests import of_folder
from cyrsync.far.host import resolve
from cyrsync.far.locked_folder import read_under_locks
from cyrsync.far.walk import Reader, walk
from tests.support.descriptors import descriptors

SENT = b"j/user/joe/Sent"


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    samplespool.make(tmp_path / "spool", messages=30, folder_count=4)
    return tmp_path / "spool"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Mail that whoever owns the spool may not read."""
    samplespool.make(tmp_path / "secret", messages=60, folder_count=4, seed=7)
    return tmp_path / "secret"


def opened() -> int:
    return len(descriptors())


def swap(spool: Path, path: bytes, secret: Path) -> None:
    """Put a link to the same folder of the secret tree in a directory's place."""
    place = spool / os.fsdecode(path)
    place.rename(place.with_name(f"{place.name}.away"))
    place.symlink_to(secret / os.fsdecode(path))


def once(act: Callable[[], None], function: Callable[..., object]) -> Callable[..., object]:
    """A function before whose first call something happens."""
    left = [act]

    def first(*args: object, **kwargs: object) -> object:
        while left:
            left.pop()()
        return function(*args, **kwargs)

    return first


# --- Opening


def test_any_directory(spool: Path) -> None:
    before = opened()
    descent = Descent(os.fsencode(spool))
    for path in (b"", b"j", SENT, b"j/user/joe", b"j/user/joe/Trash", b"", SENT):
        status = os.stat(os.path.join(os.fsencode(spool), path))
        found = os.fstat(descent.open(path))
        assert (found.st_dev, found.st_ino) == (status.st_dev, status.st_ino)
        assert os.path.samefile(descent.where(path), os.path.join(os.fsencode(spool), path))
    descent.close()
    assert opened() == before


def test_a_neighbour_costs_one_call(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    descent = Descent(os.fsencode(spool))
    descent.open(SENT)
    calls = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda *args, **kwargs: calls.append(args[0]) or real(*args, **kwargs))
    descent.open(b"j/user/joe/Trash")
    descent.open(b"j/user/joe")
    assert calls == [b"Trash"]


@pytest.mark.parametrize("what", ["link", "file", "nothing"])
def test_no_directory(spool: Path, what: str) -> None:
    place = spool / "j/user/joe/odd"
    if what == "link":
        place.symlink_to(spool)
    elif what == "file":
        place.touch()
    descent = Descent(os.fsencode(spool))
    for path in (b"j/user/joe/odd", b"j/user/joe/odd/j"):
        with pytest.raises(OSError) as caught:  # noqa: PT011 - its code is looked at
            descent.open(path)
        assert caught.value.errno == (errno.ENOENT if what == "nothing" else errno.ENOTDIR)
    assert os.path.samefile(descent.where(SENT), spool / os.fsdecode(SENT))


def test_deep_ones_do_not_use_up_the_descriptors(tmp_path: Path) -> None:
    names = [b"d"] * 300
    deepest = os.path.join(os.fsencode(tmp_path), *names)
    os.makedirs(deepest)
    os.mkdir(deepest + b"/last")
    before = opened()
    folders = walk(os.fsencode(tmp_path))
    most = 0
    found = []
    for folder in folders:
        most = max(most, len(os.listdir("/proc/self/fd")) - before)
        found.append(folder.path)
    assert most <= 102
    assert found == [b"/".join(names[:depth]) for depth in range(301)] + [b"/".join([*names, b"last"])]
    assert opened() == before
    descent = Descent(os.fsencode(tmp_path))
    assert [path for path, _ in descent.statuses(b"/".join(names))] == found[:-1]
    assert [status.st_ino for _, status in descent.statuses(b"d/d")] == [
        os.stat(os.path.join(os.fsencode(tmp_path), path)).st_ino for path in (b"", b"d", b"d/d")
    ]


def test_without_proc_it_is_the_path(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = list(walk(os.fsencode(spool)))
    monkeypatch.setattr(descending, "_HAS_PROC", False)
    assert Descent(os.fsencode(spool)).where(SENT) == os.path.join(os.fsencode(spool), SENT)
    assert list(walk(os.fsencode(spool))) == expected


def test_a_walk_that_is_given_up_leaves_nothing_open(spool: Path) -> None:
    before = opened()
    folders = walk(os.fsencode(spool))
    for _ in range(4):
        next(folders)
    folders.close()
    assert opened() == before


# --- A link in a directory's place, at any moment


def test_between_two_folders_of_a_walk(spool: Path, secret: Path) -> None:
    folders = walk(os.fsencode(spool))
    found = {}
    for folder in folders:
        found[folder.path] = folder
        if folder.path == b"j/user/joe":
            swap(spool, SENT, secret)
    assert found[SENT].problem == errno.ENOTDIR
    assert not found[SENT].messages and not found[SENT].metadata


def test_above_a_folder_of_a_walk(spool: Path, secret: Path) -> None:
    """What is below is read where it was."""
    expected = {folder.path: folder for folder in walk(os.fsencode(spool))}
    folders = walk(os.fsencode(spool))
    found = {}
    for folder in folders:
        found[folder.path] = folder
        if folder.path == b"j/user/joe":
            swap(spool, b"j/user", secret)
    assert found[SENT] == expected[SENT]


@pytest.mark.parametrize("moment", ["names_in", "_incarnation"])
def test_within_a_folder_of_a_walk(spool: Path, secret: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    reader = Reader(os.fsencode(spool))
    expected = reader.look(SENT)
    act = once(lambda: swap(spool, SENT, secret), getattr(walking, moment))
    monkeypatch.setattr(walking, moment, act)
    assert reader.look(SENT) == expected
    assert (spool / os.fsdecode(SENT)).is_symlink()
    assert reader.look(SENT).problem == errno.ENOTDIR


@pytest.mark.parametrize("path", [SENT, b"j/user"])
@pytest.mark.parametrize("moment", ["_locked_parts", "_pause", "_taken"])
def test_when_metadata_is_taken(
    spool: Path, secret: Path, monkeypatch: pytest.MonkeyPatch, moment: str, path: bytes
) -> None:
    monkeypatch.setattr(taking, "_PAUSE", 0)
    monkeypatch.setattr(taking, "_LONG_PAUSE", 0)
    reader = Reader(os.fsencode(spool))
    ours = {path.read_bytes() for path in (spool / os.fsdecode(SENT)).glob("cyrus.*")}
    monkeypatch.setattr(taking, moment, once(lambda: swap(spool, path, secret), getattr(taking, moment)))
    for _ in range(2):
        taken = read_under_locks(reader, SENT)
        assert {file.data for file in taken.files} <= ours
        assert taken.folder.problem in (0, errno.ENOTDIR)
    assert taken.folder.problem == errno.ENOTDIR


def test_when_a_tree_is_audited(spool: Path, secret: Path) -> None:
    audits = audit_tree(os.fsencode(spool), content=True)
    found = {}
    for one in audits:
        found[one.path] = one
        if one.path == b"j/user/joe":
            swap(spool, SENT, secret)
    assert [problem.kind for problem in found[SENT].problems] == ["unreadable"]
    assert found[SENT].bytes_read == 0


def test_when_an_index_is_asked_about_messages(spool: Path, secret: Path) -> None:
    uids = Reader(os.fsencode(secret)).look(SENT).messages.uids
    assert of_folder(os.fsencode(secret), SENT, uids) is not None
    swap(spool, SENT, secret)
    assert of_folder(os.fsencode(spool), SENT, uids) is None


# --- Making


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_what_is_made_is_open_to_all(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        make(os.fsencode(tmp_path / "a" / "b" / "c") + b"/")
    finally:
        os.umask(before)
    for path in ("a", "a/b", "a/b/c"):
        assert stat.S_IMODE((tmp_path / path).stat().st_mode) == 0o755
    (tmp_path / "a").chmod(0o2700)
    make(os.fsencode(tmp_path / "a" / "d"))
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o2700, "what was there stays as it is"
    assert stat.S_IMODE((tmp_path / "a" / "d").stat().st_mode) == 0o2755


def test_a_link_above_leads_on(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    make(os.fsencode(tmp_path / "link" / "new"))
    assert (tmp_path / "disk" / "new").is_dir()
    make(os.fsencode(tmp_path / "link"))
    assert resolve(os.fsencode(tmp_path / "link"))[0] == os.fsencode(tmp_path / "disk")


@pytest.mark.parametrize("what", ["file", "link to nowhere"])
def test_what_is_in_the_way(tmp_path: Path, what: str) -> None:
    if what == "file":
        (tmp_path / "way").touch()
    else:
        (tmp_path / "way").symlink_to("nowhere")
    for path in ("way", "way/below"):
        with pytest.raises(OSError, match="Not a directory"):
            make(os.fsencode(tmp_path / path))
    assert not (tmp_path / "nowhere").exists()


def test_a_link_that_takes_the_place_of_what_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    real = os.mkdir

    def mkdir(name: bytes, mode: int, dir_fd: int | None = None) -> None:
        real(name, mode, dir_fd=dir_fd)
        os.rmdir(name, dir_fd=dir_fd)
        os.symlink(tmp_path / "elsewhere", name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(OSError, match="Not a directory"):
        make(os.fsencode(tmp_path / "a" / "b"))
    assert stat.S_IMODE((tmp_path / "elsewhere").stat().st_mode) == 0o700
    assert not list((tmp_path / "elsewhere").iterdir())
