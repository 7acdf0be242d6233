"""The staged tree looks like the original: modes, times and owners of the files, and of all directories above them."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
from pathlib import Path

import pytest

import samplespool
from cyrsync.far.locked_folder import read_under_locks
from cyrsync.far.owner import owner_here
from cyrsync.far.walk import Reader
from cyrsync.spool.staging import Staging
from support.tools import requires_root

FOLDERS = (b"j/user/joe", b"j/user/joe/Sent", b"j/user/joe/Trash")
FILES = ("cyrus.header", "cyrus.index")


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Every file and directory has a time of its own, and some have other modes."""
    root = tmp_path / "spool"
    samplespool.make(root, messages=20, folder_count=3)
    (root / "j/user/joe/Sent").chmod(0o750)
    (root / "j/user").chmod(0o2711)
    (root / "j/user/joe/cyrus.index").chmod(0o640)
    for number, path in enumerate(sorted([root, *root.rglob("*")], reverse=True)):
        os.utime(path, ns=(1, 10**18 + number * 1_000_000_007))
    return root


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return Staging(tmp_path / "state" / "staging")


def add(staging: Staging, spool: Path, *paths: bytes) -> None:
    reader = Reader(os.fsencode(spool))
    for path in paths:
        staging.add(read_under_locks(reader, path))


def looks(root: Path) -> dict[str, tuple[int, int, int, int, bytes]]:
    """Mode, time, owner and content of everything but messages and caches."""
    found = {}
    for path in [root, *root.rglob("*")]:
        if path.is_dir() or path.name in FILES:
            status = path.stat()
            content = b"" if path.is_dir() else path.read_bytes()
            name = os.path.relpath(path, root)
            found[name] = (status.st_mode, status.st_mtime_ns, status.st_uid, status.st_gid, content)
    return found


def test_it_looks_like_the_original(spool: Path, staging: Staging) -> None:
    add(staging, spool, *FOLDERS)
    staging.finish()
    assert looks(staging.tree) == looks(spool)


def test_nothing_but_what_was_taken(spool: Path, staging: Staging) -> None:
    add(staging, spool, b"j/user/joe/Sent")
    staging.finish()
    expected = [".", "j", "j/user", "j/user/joe", "j/user/joe/Sent", *(f"j/user/joe/Sent/{name}" for name in FILES)]
    assert looks(staging.tree) == {name: look for name, look in looks(spool).items() if name in expected}
    assert sum(1 for _ in staging.tree.rglob("*")) + 1 == len(expected)


def test_it_is_nobody_elses_while_it_is_filled(spool: Path, staging: Staging) -> None:
    add(staging, spool, b"j/user/joe")
    for path in (staging.tree, staging.tree / "j/user"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_nobody_else_can_reach_it_when_its_root_is_somebody_elses(spool: Path, staging: Staging) -> None:
    requires_root()
    os.chown(spool, 4711, 4711)
    spool.chmod(0o777)
    add(staging, spool, b"j/user/joe")
    staging.finish()
    assert (staging.tree.stat().st_uid, stat.S_IMODE(staging.tree.stat().st_mode)) == (4711, 0o777)
    status = staging.directory.stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (0, 0o700)


@pytest.mark.parametrize("how", ["link", "mode", "owner"])
def test_a_directory_that_is_not_ours_is_not_used(spool: Path, tmp_path: Path, how: str) -> None:
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    directory = tmp_path / "staging"
    if how == "link":
        directory.symlink_to(other)
    else:
        other.rename(directory)
        if how == "mode":
            directory.chmod(0o750)
        else:
            requires_root()
            os.chown(directory, 4711, 4711)
    with pytest.raises(OSError, match=r"Not a directory|not ours alone"):
        add(Staging(directory), spool, b"j/user/joe")
    assert not any(directory.iterdir())


@pytest.mark.parametrize("where", [b"", b"j", b"j/user/joe/Sent"])
def test_a_link_in_the_tree_is_not_followed(spool: Path, staging: Staging, tmp_path: Path, where: bytes) -> None:
    add(staging, spool, *FOLDERS)
    staging.finish()
    elsewhere = tmp_path / "elsewhere"
    place = staging.tree / os.fsdecode(where)
    place.rename(elsewhere)
    place.symlink_to(elsewhere)
    before = looks(elsewhere)
    samplespool.deliver(spool / "j/user/joe/Sent", 3)
    with pytest.raises(OSError, match="Not a directory"):
        add(staging, spool, b"j/user/joe/Sent")
    assert looks(elsewhere) == before


def test_what_was_staged_is_removed_by_somebody(spool: Path, staging: Staging) -> None:
    add(staging, spool, b"j/user/joe/Sent")
    staging.finish()
    shutil.rmtree(staging.tree / "j")
    with pytest.raises(OSError, match="emptied while in use"):
        add(staging, spool, b"j/user/joe/Sent")
    staging.clear()
    add(staging, spool, b"j/user/joe/Sent")
    staging.finish()


def test_what_is_taken_again_replaces_what_was(spool: Path, staging: Staging) -> None:
    add(staging, spool, *FOLDERS)
    staging.finish()
    samplespool.deliver(spool / "j/user/joe/Sent", 3)
    add(staging, spool, b"j/user/joe/Sent")
    staging.finish()
    assert looks(staging.tree) == looks(spool)


def test_a_shorter_file_leaves_nothing_of_the_longer(spool: Path, staging: Staging) -> None:
    add(staging, spool, b"j/user/joe")
    index = spool / "j/user/joe/cyrus.index"
    index.write_bytes(index.read_bytes()[:160])
    add(staging, spool, b"j/user/joe")
    assert (staging.tree / "j/user/joe/cyrus.index").read_bytes() == index.read_bytes()


def test_clearing_makes_room(spool: Path, staging: Staging) -> None:
    add(staging, spool, *FOLDERS)
    staging.finish()
    staging.clear()
    assert not staging.tree.exists()
    staging.clear()
    add(staging, spool, b"j/user/joe/Trash")
    staging.finish()
    assert (staging.tree / "j/user/joe/Trash/cyrus.index").exists()
    assert not (staging.tree / "j/user/joe/cyrus.index").exists()


def test_clearing_what_was_never_finished(spool: Path, staging: Staging) -> None:
    add(staging, spool, *FOLDERS)
    staging.clear()
    add(staging, spool, b"j/user/joe/Trash")
    staging.finish()
    assert (staging.tree / "j/user/joe/Trash/cyrus.index").exists()


def test_a_mailbox_in_the_root(spool: Path, staging: Staging) -> None:
    add(staging, spool / "j/user/joe/Sent", b"")
    staging.finish()
    assert looks(staging.tree) == looks(spool / "j/user/joe/Sent")


def test_no_room(spool: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        add(Staging(tmp_path / "file" / "staging"), spool, b"j/user/joe")


def test_a_name_of_any_bytes(spool: Path, staging: Staging) -> None:
    name = b"j/user/joe/\xff\n\x1b[31m"
    os.rename(os.path.join(os.fsencode(spool), b"j/user/joe/Trash"), os.path.join(os.fsencode(spool), name))
    add(staging, spool, name)
    assert os.path.exists(os.path.join(os.fsencode(staging.tree), name, b"cyrus.index"))


def test_owners_are_the_originals(spool: Path, staging: Staging) -> None:
    requires_root()
    os.chown(spool / "j/user/joe/cyrus.index", 1, 2)
    os.chown(spool / "j/user", 3, 4)
    add(staging, spool, b"j/user/joe")
    staging.finish()
    names = ("j/user", "j/user/joe", "j/user/joe/cyrus.index", "j/user/joe/cyrus.header")
    assert {name: looks(staging.tree)[name] for name in names} == {name: looks(spool)[name] for name in names}


ROOT = pwd.getpwuid(0).pw_name
ROOT_GROUP = grp.getgrgid(0).gr_name


@pytest.mark.parametrize(
    ("owner", "numeric", "here"),
    [
        (f"4711:4712:{ROOT}:{ROOT_GROUP}", False, (0, 0)),
        (f"4711:4712:{ROOT}:{ROOT_GROUP}", True, (4711, 4712)),
        (f"4711:4712:{ROOT}:", False, (0, 4712)),
        (f"4711:4712::{ROOT_GROUP}", False, (4711, 0)),
        ("4711:4712::", False, (4711, 4712)),
        ("4711:4712:nobody-of-here:nobody-of-here", False, (4711, 4712)),
        (f"4711:4712:nobody-of-here:{ROOT_GROUP}", False, (4711, 0)),
    ],
)
def test_owners_go_by_name(owner: str, numeric: bool, here: tuple[int, int]) -> None:
    assert owner_here(owner, numeric) == here
