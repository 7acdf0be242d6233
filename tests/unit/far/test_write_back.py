"""What a run writes is on its way to the disks before it ends; a disk that fails meanwhile is an error at the end."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator

import pytest

from cyrsync.far import write_back
from cyrsync.far.write_back import WriteBack

LONG = 30.0  # seconds


class Disk:
    """Counts how often it is written to."""

    def __init__(self) -> None:
        self.roots: list[list[bytes]] = []
        self.fails = False
        self.often = threading.Event()  # twice and more

    def write(self, roots: tuple[bytes, ...] | list[bytes]) -> None:
        self.roots.append(list(roots))
        if len(self.roots) >= 2:
            self.often.set()
        if self.fails:
            self.often.set()
            raise OSError(errno.EIO, os.strerror(errno.EIO), roots[0])


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(write_back, "to_disk", disk.write)
    return disk


@pytest.fixture
def written(disk: Disk) -> Iterator[WriteBack]:
    written = WriteBack()
    yield written
    written.stop()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_back, "PAUSE", 0.001)


@pytest.mark.usefixtures("at_once")
def test_the_disks_are_written_again_and_again(written: WriteBack, disk: Disk) -> None:
    written.begin([b"/a", b"/b"])
    assert disk.often.wait(LONG)
    written.end([b"/a", b"/b"])
    count = len(disk.roots)
    assert disk.roots == [[b"/a", b"/b"]] * count
    assert not threading.Event().wait(0.05)
    assert len(disk.roots) == count  # nobody goes on


def test_a_short_run_writes_them_once(written: WriteBack, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_back, "PAUSE", 3600.0)
    written.begin([b"/a"])
    written.end([b"/a"])
    assert disk.roots == [[b"/a"]]


def test_without_a_beginning(written: WriteBack, disk: Disk) -> None:
    written.end([b"/a"])
    assert disk.roots == [[b"/a"]]


@pytest.mark.usefixtures("at_once")
def test_a_disk_that_failed_meanwhile(written: WriteBack, disk: Disk) -> None:
    disk.fails = True
    written.begin([b"/a"])
    assert disk.often.wait(LONG)
    disk.fails = False  # the system says it once
    with pytest.raises(OSError, match="Input/output error"):
        written.end([b"/a"])
    assert disk.roots == [[b"/a"], [b"/a"]]
    written.end([b"/a"])


@pytest.mark.usefixtures("at_once")
def test_what_begins_anew_is_of_the_new_roots(written: WriteBack, disk: Disk) -> None:
    written.begin([b"/a"])
    assert disk.often.wait(LONG)
    written.begin([b"/b"])
    before = len(disk.roots)
    disk.often.clear()
    assert disk.often.wait(LONG)
    written.end([b"/b"])
    assert {roots[0] for roots in disk.roots[before:]} == {b"/b"}
