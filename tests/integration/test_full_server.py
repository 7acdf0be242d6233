"""`sync -C --full`: the replica is listed and compared, and what is the same there is not sent again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import samplespool
from support.pairs import Pair
from support.sshd import Sshd
from support.tree import assert_same_tree


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path, None, "--no-config")


def inodes(root: Path) -> dict[Path, tuple[int, int]]:
    """What changes if a file is written, or given anything."""
    found = {path: path.lstat() for path in root.rglob("*") if not path.name.startswith(".cyrsync")}
    return {path: (status.st_ino, status.st_ctime_ns) for path, status in found.items() if not path.is_dir()}


def test_nothing_has_changed(pair: Pair) -> None:
    before = inodes(pair.replica)
    for words in (("-n",), (), ("--jobs", "3"), ("--skip-derived",)):
        report = pair.sync("--full", *words)
        counts = report["folders"]["changed"], report["metadata"]["send"], report["files"]["planned"]
        assert counts == (0, 0, 0), (words, report)
        assert report["folders"]["seen"] == len(pair.folders)
        assert report["messages"]["present"] == report["messages"]["seen"] == 300
        assert report["bytes_sent"] == 0
    assert inodes(pair.replica) == before
    pair.assert_same()


def test_over_ssh(tmp_path: Path, sshd: Sshd) -> None:
    assert Pair(tmp_path, sshd, "--no-config").sync("--full")["files"]["planned"] == 0


def touched(path: Path) -> None:
    os.utime(path, ns=(0, path.stat().st_mtime_ns - 1))


def cut(path: Path) -> None:
    status = path.stat()
    os.truncate(path, status.st_size - 1)
    os.utime(path, ns=(0, status.st_mtime_ns))


def made_open(path: Path) -> None:
    path.chmod(0o777)


def given_away(path: Path) -> None:
    os.chown(path, 54321, 54321)


def removed(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    ("harm", "name"),
    [
        *((harm, name) for harm in (touched, cut, removed) for name in ("cyrus.header", "cyrus.cache", "cyrus.index")),
        *((harm, name) for harm in (made_open, given_away) for name in ("cyrus.header", "cyrus.cache", "")),
        (removed, ""),
        (removed, "2."),
    ],
)
def test_one_mailbox_is_mended(pair: Pair, harm: Callable[[Path], None], name: str) -> None:
    """All that the listing tells of its metadata and its directory, and the names of its messages."""
    if harm is given_away and os.geteuid():
        pytest.skip("only root gives files away")
    folder = next(folder for folder in pair.folders if (folder / "2.").exists() and folder.name != "joe")
    others = {path: found for path, found in inodes(pair.replica).items() if path.parent != pair.there(folder)}
    harm(pair.there(folder) / name)
    report = pair.sync("--full")
    pair.assert_same()
    if name != "cyrus.index" and (harm, name) != (removed, ""):  # these put all in doubt
        counts = report["folders"]
        assert counts["changed"] + counts["recreated"] == 1, report
        now = inodes(pair.replica)
        assert {path: found for path, found in now.items() if path.parent != pair.there(folder)} == others


def test_what_changed_on_the_source_unseen(pair: Pair) -> None:
    """With its size and its time: the replica has what looks the same, but was not read after that."""
    folder = pair.folders[0]
    index = folder / "cyrus.index"
    before = index.stat()
    samplespool.set_flags(folder)
    os.utime(index, ns=(0, before.st_mtime_ns))
    assert index.stat().st_size == before.st_size
    assert pair.sync("--full")["folders"]["changed"] == 1
    pair.assert_same()


def test_without_a_state(pair: Pair, state_dir: Path) -> None:
    """Nothing says that what looks the same was read after its last change: metadata is sent."""
    shutil.rmtree(state_dir)
    report = pair.sync("--full")
    assert (report["folders"]["changed"], report["messages"]["send"]) == (len(pair.folders), 0)
    pair.assert_same()


@pytest.fixture
def whole(tmp_path: Path) -> Pair:
    """With files beside the partition."""
    pair = Pair(tmp_path)
    conf = pair.server.root / "conf"
    for name in "user/j/joe.sub", "user/a/ann.seen", "quota/j/user.joe", "annotations.db":
        (conf / name).parent.mkdir(parents=True, exist_ok=True)
        (conf / name).write_bytes(name.encode())
    assert pair.sync()["config"]["send"] == 4
    return pair


def test_no_file_beside_the_partitions_has_changed(whole: Pair) -> None:
    before = inodes(whole.replica)
    for words in (("-n",), (), ()):
        report = whole.sync("--full", *words)
        assert (report["config"]["send"], report["files"]["planned"], report["bytes_sent"]) == (0, 0, 0), report
    assert inodes(whole.replica) == before


@pytest.mark.parametrize("harm", [touched, cut, made_open, given_away, removed])
@pytest.mark.parametrize("name", ["user/j/joe.sub", "annotations.db", "mailboxes.db"])
def test_one_file_is_mended(whole: Pair, harm: Callable[[Path], None], name: str) -> None:
    if harm is given_away and os.geteuid():
        pytest.skip("only root gives files away")
    harm(whole.there(whole.server.root / "conf" / name))
    assert whole.sync("--full")["files"]["planned"] == 1
    assert_same_tree(whole.server.root / "conf", whole.there(whole.server.root / "conf"))


def test_a_directory_of_files_is_mended(whole: Pair) -> None:
    """With what is below it."""
    made_open(whole.there(whole.server.root / "conf/user"))
    assert whole.sync("--full")["files"]["planned"] == 2
    assert_same_tree(whole.server.root / "conf", whole.there(whole.server.root / "conf"))


def test_a_file_that_changed_is_sent_by_a_full_run(whole: Pair) -> None:
    path = whole.server.root / "conf/user/j/joe.sub"
    before = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    os.utime(path, ns=(0, before.st_mtime_ns))
    assert whole.sync("--full")["config"]["send"] == 1
    assert_same_tree(whole.server.root / "conf", whole.there(whole.server.root / "conf"))
