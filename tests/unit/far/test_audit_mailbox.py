"""What Cyrus does between two glances at a mailbox is no damage; what is damaged is found, whatever Cyrus does."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import samplespool
from cyrsync.cyrus.mailbox.locks import LockTimeout
from cyrsync.cyrus.mailbox.snapshot import MetaFiles, Snapshot, beside
from cyrsync.far import audit_mailbox as mailbox
from cyrsync.far.audit_mailbox import Place, audit, list_files
from cyrsync.far.audit_tree import audit_tree
from cyrsync.far.finding import NO_INDEX, Audited, Problem

Step = Callable[[], object]


class Folder:
    """A mailbox with messages 1 to 9, to which something happens each time before its metadata is read."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.rng = path, random.Random(1)
        self.path = samplespool.create_folder(path, "user/joe/Sent", rng=self.rng)
        samplespool.deliver(self.path, 9, rng=self.rng, size=500)
        self.steps: list[Step] = []
        self._read = mailbox.snapshot.read
        monkeypatch.setattr(mailbox.snapshot, "read", self.read)

    def read(self, files: MetaFiles) -> Snapshot:
        if self.steps:
            self.steps.pop(0)()
        return self._read(files)

    def audited(self, *steps: Step, archive: Path | None = None) -> Audited:
        self.steps = list(steps)
        directory = os.fsencode(self.path)
        place = Place(b"Sent", directory, os.fsencode(archive) if archive else b"", beside(directory))
        return audit(place, list_files(directory), content=True)

    def deliver(self) -> None:
        samplespool.deliver(self.path, 2, rng=self.rng, size=500)

    def expunge(self) -> None:
        samplespool.expunge(self.path, 2, rng=self.rng)

    def flag(self) -> None:
        samplespool.set_flags(self.path, rng=self.rng)

    def recreate(self) -> None:
        samplespool.recreate_folder(self.path, 2, rng=self.rng)

    def tear(self) -> None:
        os.truncate(self.path / "cyrus.index", 300)

    def remove(self, *uids: int) -> None:
        for uid in uids:
            (self.path / f"{uid}.").unlink()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    return Folder(tmp_path, monkeypatch)


def test_a_mailbox_that_rests(folder: Folder) -> None:
    size = sum(path.stat().st_size for path in folder.path.glob("[0-9]*."))
    assert folder.audited() == Audited(b"Sent", messages=9, files=9, bytes_read=size, mailbox=b"user.joe.Sent")


@pytest.mark.parametrize("looks", [1, 2, 3])
@pytest.mark.parametrize("names", ["deliver", "expunge", "flag", "recreate", "deliver expunge", "expunge deliver"])
def test_a_mailbox_at_work(folder: Folder, names: str, looks: int) -> None:
    def step() -> None:
        for name in names.split():
            getattr(folder, name)()

    assert folder.audited(*[step] * looks).problems == ()


def test_an_index_that_is_written_meanwhile(folder: Folder) -> None:
    whole = (folder.path / "cyrus.index").read_bytes()
    assert folder.audited(folder.tear, lambda: (folder.path / "cyrus.index").write_bytes(whole)).problems == ()


@pytest.mark.parametrize("looks", [0, 1, 3])
def test_damage_in_a_mailbox_at_work(folder: Folder, looks: int) -> None:
    folder.remove(2, 3)
    (folder.path / "4000000000.").write_text("x")
    os.truncate(folder.path / "5.", 20)
    kinds = {problem.kind: problem.uids for problem in folder.audited(*[folder.deliver] * looks).problems}
    assert kinds == {"missing": (2, 3), "orphan": (4000000000,), "size": (5,)}


def test_a_torn_index(folder: Folder) -> None:
    folder.tear()
    (problem,) = folder.audited().problems
    assert (problem.kind, "torn" in problem.detail) == ("index", True)


def test_nothing_but_messages(folder: Folder) -> None:
    for path in folder.path.glob("cyrus.*"):
        path.unlink()
    assert folder.audited().problems == (NO_INDEX, Problem("header", detail="cyrus.header: there is none"))


def test_messages_on_their_way_to_the_archive(folder: Folder, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()

    def move() -> None:
        path = min(folder.path.glob("[0-9]*."))
        shutil.copy2(path, archive)
        path.unlink()

    for steps in range(4):
        assert folder.audited(*[move] * steps, archive=archive).problems == ()


@pytest.mark.parametrize("error", [LockTimeout(b"cyrus.index", 5), PermissionError(13, "Permission denied")])
def test_what_cannot_be_read(folder: Folder, error: Exception) -> None:
    def fail() -> None:
        raise error

    (problem,) = folder.audited(fail).problems
    assert problem.kind == "unreadable" and problem.detail in str(error)


@pytest.mark.parametrize("change", [shutil.rmtree, lambda path: path.rename(path.with_name("Renamed"))])
def test_a_mailbox_that_goes_away(folder: Folder, change: Callable[[Path], object]) -> None:
    folder.steps = [lambda: change(folder.path)]
    assert list(audit_tree(os.fsencode(folder.root), content=True)) == []
