"""What a folder's index says of messages that are asked for: their SHA-1; nothing of what is no index."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest

import samplespool
from cyrsync.cyrus.mailbox import guids as reading
from cyrsync.cyrus.mailbox.records import UNKNOWN_GUID
from cyrsync.far.guids import Question, answers


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = samplespool.create_folder(tmp_path, "user/joe")
    samplespool.deliver(folder, 20)
    return folder


def asked(folder: Path, *uids: int, heard: bool = True) -> str:
    root, path = folder.parents[2], folder.relative_to(folder.parents[2])
    (answer,) = answers([Question(os.fsencode(path), array("I", uids))], os.fsencode(root), lambda: heard)
    return answer


def guid(folder: Path, uid: int) -> str:
    return hashlib.sha1((folder / f"{uid}.").read_bytes()).hexdigest()


@pytest.mark.parametrize("block", [1, 300, 1 << 20])
def test_those_of_the_messages(folder: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much of it is read at once."""
    monkeypatch.setattr(reading, "_BLOCK", max(block, 112))
    assert asked(folder, 3, 4, 19) == guid(folder, 3) + guid(folder, 4) + guid(folder, 19)
    assert len(list(reading.read(os.fsencode(folder / "cyrus.index")))) == 20


def test_what_the_index_does_not_have(folder: Path) -> None:
    assert asked(folder, 3, 77) == guid(folder, 3) + UNKNOWN_GUID.hex()


def test_a_message_that_was_expunged(folder: Path) -> None:
    expected = guid(folder, 3)
    samplespool.remove(folder, [3], mode="semidelayed")
    assert asked(folder, 3) == expected
    samplespool.remove(folder, [4], mode="immediate")
    assert asked(folder, 3, 4) == 2 * UNKNOWN_GUID.hex()


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("change", [Path.unlink, fifo, link], ids=["gone", "a pipe", "a link"])
def test_an_index_that_cannot_be_read(folder: Path, change: Callable[[Path], None]) -> None:
    change(folder / "cyrus.index")
    assert asked(folder, 3) == ""


@pytest.mark.parametrize("data", [b"", b"none", bytes(500)])
def test_what_is_no_index(folder: Path, data: bytes) -> None:
    (folder / "cyrus.index").write_bytes(data)
    assert asked(folder, 3) == UNKNOWN_GUID.hex()


def test_an_index_that_is_cut_off(folder: Path) -> None:
    data = (folder / "cyrus.index").read_bytes()
    (folder / "cyrus.index").write_bytes(data[: 160 + 112 * 3 + 50])
    assert asked(folder, 3, 4) == guid(folder, 3) + UNKNOWN_GUID.hex()


def test_a_folder_behind_a_link(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere")
    assert asked(folder, 3) == ""


def test_nobody_listens_any_more(folder: Path) -> None:
    assert asked(folder, 3, heard=False) == ""
