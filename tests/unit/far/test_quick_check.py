"""Messages that the replica may have: which of them are as on the source; what else stands there is left alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cyrsync.far.folder import Entry
from cyrsync.far.quick_check import Question, same
from cyrsync.far.walk import Reader

MODES = {1: 0o600, 2: 0o640, 3: 0o600, 4: 0o600}


@pytest.fixture
def replica(tmp_path: Path) -> Path:
    folder = tmp_path / "replica" / "joe"
    folder.mkdir(parents=True)
    for uid, mode in MODES.items():
        (folder / f"{uid}.").write_bytes(b"message")
        (folder / f"{uid}.").chmod(mode)
        os.utime(folder / f"{uid}.", ns=(0, 10**18))
    return folder


def asked(replica: Path, *uids: int) -> list[int]:
    """Ask for messages that have the mode 0600 on the source."""
    reader = Reader(os.fsencode(replica.parent))
    entry = reader.entry(os.stat(replica / "1."))
    messages: tuple[tuple[int, Entry], ...] = tuple((uid, entry) for uid in uids)
    return same(Question(os.fsencode(replica.parent), b"joe", messages), numeric_ids=False).tolist()


def test_those_of_another_size_or_time_are_not_the_same(replica: Path) -> None:
    os.utime(replica / "3.", ns=(0, 10**18 + 1))
    (replica / "4.").write_bytes(b"a message")
    os.utime(replica / "4.", ns=(0, 10**18))
    assert asked(replica, 1, 2, 3, 4, 5) == [1, 2]
    assert (replica / "2.").stat().st_mode & 0o777 == 0o600


def test_a_link_to_another_file_gives_that_no_rights(replica: Path, tmp_path: Path) -> None:
    """Whoever owns the folder may have put it there: a file of root's is not given away."""
    other = tmp_path / "other"
    (replica / "2.").rename(other)
    (replica / "2.").hardlink_to(other)
    (replica / "3.").unlink()
    (replica / "3.").symlink_to(other)
    assert asked(replica, 1, 2, 3) == [1]
    assert other.stat().st_mode & 0o777 == 0o640


def test_messages_that_are_one_file_are_the_same(replica: Path) -> None:
    (replica / "2.").unlink()
    (replica / "2.").hardlink_to(replica / "1.")
    assert asked(replica, 1, 2) == [1, 2]


def test_a_folder_that_is_not_there_has_none(replica: Path) -> None:
    entry = Reader(os.fsencode(replica)).entry(os.stat(replica / "1."))
    assert not same(Question(os.fsencode(replica), b"none", ((1, entry),)), numeric_ids=False)
