"""Metadata that a daemon lists as it is here: rsync compares it, or we do, and what cannot be had is not the same."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

import pytest

import samplespool
from cyrsync.cyrus.mailbox.entry import HEADER, INDEX
from cyrsync.ends.daemon_files import DaemonFiles, Here
from cyrsync.far.folder import Entry
from cyrsync.far.walk import walk
from cyrsync.rsync import features
from cyrsync.rsync.features import Features

OLD, NEW = Features(frozenset({"--info"})), Features(frozenset({"--info", "-@"}))
BOX = b"j/user/joe"


class Daemon:
    """Serves a tree as rsync would: with `nanoseconds`, or as one before 3.1."""

    def __init__(self, directory: Path, *, nanoseconds: bool = True) -> None:
        self.tree, self.copies, self.here = directory / "there", directory / "copies", directory / "here"
        self.grain = 1 if nanoseconds else 10**9
        self.asked: list[tuple[int, str]] = []
        self.failing: set[bytes] = set()
        for name in "joe", "ann":
            samplespool.deliver(samplespool.create_folder(self.tree, f"user/{name}"), 2)
        shutil.copytree(self.tree, self.here)

    def fetch(self, paths: Iterable[bytes], words: tuple[str, ...], listed: int) -> set[bytes]:
        *_, how = words or ("all",)
        paths = list(paths)
        assert listed == sum((self.tree / os.fsdecode(path)).stat().st_size for path in paths)
        self.asked += [(len(paths), how)] if paths else []
        for path in map(os.fsdecode, paths):
            there, here, copy = self.tree / path, self.here / path, self.copies / path
            time = there.stat().st_mtime_ns // self.grain * self.grain
            if os.fsencode(path) in self.failing or (how == "--modify-window=-1" and here.stat().st_mtime_ns == time):
                continue
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(there, copy)
            os.utime(copy, ns=(time, time))
        return self.failing

    def listed(self) -> dict[bytes, dict[bytes, Entry | None]]:
        return {
            folder.path: {
                name: found and found._replace(mtime=found.mtime // 10**9 * 10**9, owner="")
                for name, found in folder.metadata.items()
            }
            for folder in walk(os.fsencode(self.tree))
        }

    def files(self) -> DaemonFiles:
        here = Here(os.fsencode(self.here), {folder.path: folder for folder in walk(os.fsencode(self.here))})
        files = DaemonFiles(self.listed(), here, self.copies, self.fetch)
        files.fetch()
        return files

    def change(self, name: bytes, *, time: int = 0) -> None:
        """Another byte, within the same second."""
        path = self.tree / os.fsdecode(BOX + b"/" + name)
        before = path.stat().st_mtime_ns
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        os.utime(path, ns=(0, before // 10**9 * 10**9 + (time or (before + 1) % 10**9)))


def mailboxes(tree: Path) -> dict[bytes, object]:
    return {folder.path: folder.incarnation for folder in walk(os.fsencode(tree)) if folder.incarnation}


@pytest.mark.parametrize(
    ("here", "nanoseconds", "asked"),
    [
        (NEW, True, ["--modify-window=-1"]),
        (NEW, False, ["--modify-window=-1"]),  # all are fetched, and so all are compared
        (OLD, True, ["--ignore-times"]),
    ],
)
def test_whatever_can_compare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Features, nanoseconds: bool, asked: list[str]
) -> None:
    monkeypatch.setattr(features, "near", lambda: here)
    daemon = Daemon(tmp_path, nanoseconds=nanoseconds)
    files = daemon.files()
    assert (files.differing(), files.incarnations()) == ({}, mailboxes(daemon.here))
    daemon.change(INDEX)
    daemon.asked.clear()
    files = daemon.files()
    assert (files.differing(), files.incarnations()) == ({BOX: {INDEX}}, mailboxes(daemon.tree))
    assert [how for _, how in daemon.asked] == asked


def test_what_was_pulled_without_nanoseconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No time tells whether the daemon sends them: what rsync takes for the same is fetched."""
    monkeypatch.setattr(features, "near", lambda: NEW)
    daemon = Daemon(tmp_path, nanoseconds=False)
    for path in daemon.here.rglob("cyrus.*"):
        os.utime(path, ns=(0, path.stat().st_mtime_ns // 10**9 * 10**9))
    assert daemon.files().differing() == {}
    daemon.change(HEADER)
    assert daemon.files().differing() == {BOX: {HEADER}}
    assert daemon.asked[-2:] == [(4, "--modify-window=-1"), (4, "--ignore-times")]


def test_what_is_the_same_is_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "near", lambda: NEW)
    daemon = Daemon(tmp_path)
    daemon.change(INDEX)
    daemon.files()
    assert [path for path in daemon.copies.rglob("*") if path.is_file()] == [daemon.copies / "j/user/joe/cyrus.index"]
    assert daemon.asked == [(4, "--modify-window=-1")]


@pytest.mark.parametrize("failing", [BOX + b"/" + INDEX, BOX, b""])
def test_what_could_not_be_had_is_not_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: bytes) -> None:
    monkeypatch.setattr(features, "near", lambda: NEW)
    daemon = Daemon(tmp_path)
    daemon.failing = {failing}
    files = daemon.files()
    assert INDEX in files.differing()[BOX]
    assert BOX not in files.incarnations()
    assert (b"a/user/ann" in files.differing()) is (not failing)


def test_a_link_here_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put there after the listing, where the same bytes lie behind it."""
    monkeypatch.setattr(features, "near", lambda: OLD)
    daemon = Daemon(tmp_path)
    files = daemon.files()
    (daemon.here / "j/user/joe").rename(daemon.here / "elsewhere")
    (daemon.here / "j/user/joe").symlink_to(daemon.here / "elsewhere")
    assert files.differing() == {BOX: {HEADER, INDEX}}


def test_without_another_tree(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    files = DaemonFiles(daemon.listed(), Here(b"/", {}), daemon.copies, daemon.fetch)
    files.fetch()
    assert (files.differing(), files.incarnations()) == ({}, mailboxes(daemon.tree))
    assert daemon.asked == [(4, "all")]


def test_only_files_that_are_listed_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another size or second is a difference anyway, and what is no file is not fetched for that."""
    monkeypatch.setattr(features, "near", lambda: NEW)
    daemon = Daemon(tmp_path)
    here = {folder.path: folder for folder in walk(os.fsencode(daemon.here))}
    other = here[BOX].metadata[INDEX]
    assert other
    for change in ({"size": 1}, {"mtime": 0}, {"mode": stat.S_IFLNK | 0o777}):
        there = here[BOX]._replace(metadata={INDEX: other._replace(**change)})
        listed = {BOX: {INDEX: other}}
        files = DaemonFiles(listed, Here(os.fsencode(daemon.here), {BOX: there}), daemon.copies, daemon.fetch)
        files.fetch()
        assert files.differing() == {}
    assert not daemon.asked
