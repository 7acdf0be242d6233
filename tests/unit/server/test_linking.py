"""Which of the files that a run has sent another message is a name of."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import cast

import pytest

from cyrsync.far import uids as uid_sets
from cyrsync.far.folder import NOBODY
from cyrsync.far.frames import Target
from cyrsync.server.engine import MailboxChange, plan_mailbox
from cyrsync.server.linking import Linker, Linking, SentFile
from cyrsync.server.reading import MailboxState
from cyrsync.server.replica import Replica
from cyrsync.server.roots import Roots
from cyrsync.state.mailbox_row import Key, Location
from cyrsync.state.store import Store

DATA, ARCHIVE = b"/spool", b"/archive"
ROOTS = Roots("default", DATA, ARCHIVE, {}, DATA)
DIGEST = b"1" * 20


def change(path: bytes) -> MailboxChange:
    """A mailbox of which nothing but the place matters: its index does not have the messages."""
    location = Location(Key("default", path), b"", "", b"", b"", b"", b"")
    return plan_mailbox(location, None, MailboxState(NOBODY, b"", uid_sets.empty()), ROOTS)


class FakeReplica:
    """A replica whose roots are there."""

    def root(self, source: bytes, *, make: bool) -> bytes:
        return b"/replica" + source


def new_linker() -> Linker:
    return Linker(cast(Store, None), cast(Replica, FakeReplica()), {"default": ROOTS}, b"DELETED")


def linking(linker: Linker, path: bytes = b"user/joe", going: dict[bytes, SentFile] | None = None) -> Linking:
    return linker.of(change(path), going if going is not None else {})


@pytest.fixture
def status(tmp_path: Path) -> os.stat_result:
    """Of a file with two names."""
    (tmp_path / "1.").write_bytes(b"one")
    os.link(tmp_path / "1.", tmp_path / "2.")
    return os.stat(tmp_path / "1.")


def sent(status: os.stat_result, path: bytes = b"user/joe") -> Linker:
    """A run that has sent message 1 of a mailbox."""
    linker = new_linker()
    one = linking(linker, path)
    one.add(DATA, 1, status, DIGEST)
    linker.arrived(one.files)
    return linker


@pytest.mark.parametrize("path", [b"user/joe", b"user/ann"])
def test_a_file_that_has_arrived_is_found(status: os.stat_result, path: bytes) -> None:
    found = linking(sent(status), path)
    assert found.find(DATA, 7, status, lambda: DIGEST) == Target(b"/replica/spool", b"user/joe", 1)
    assert (found.count, found.roots) == (1, {(b"/replica/spool", b"/replica/spool")})


def test_a_file_on_its_way_is_found_by_the_same_stream(status: os.stat_result) -> None:
    linker = new_linker()
    one = linking(linker)
    one.add(DATA, 1, status, DIGEST)
    assert one.find(DATA, 2, status, lambda: DIGEST)
    assert linking(linker, b"user/ann", one.files).find(DATA, 7, status, lambda: DIGEST)
    assert linking(linker, b"user/ann").find(DATA, 7, status, lambda: DIGEST) is None


def test_another_file_of_the_same_number_is_not_found(status: os.stat_result) -> None:
    """The first may have gone since."""
    assert linking(sent(status)).find(DATA, 7, status, lambda: b"2" * 20) is None


def test_a_file_with_one_name_is_not_looked_for(tmp_path: Path) -> None:
    (tmp_path / "1.").touch()
    status = os.stat(tmp_path / "1.")
    linker = sent(status)
    one = linking(linker)
    one.add(DATA, 1, status, DIGEST)
    assert (one.files, one.find(DATA, 1, status, lambda: DIGEST)) == ({}, None)


def test_parts_of_one_mailbox_are_not_linked(status: os.stat_result) -> None:
    """They take their places together."""
    assert linking(sent(status)).find(ARCHIVE, 7, status, lambda: DIGEST) is None
    assert linking(sent(status), b"user/ann").find(ARCHIVE, 7, status, lambda: DIGEST)


def test_roots_that_are_apart_are_not_linked(status: os.stat_result) -> None:
    linker = sent(status)
    linker.apart.add((b"/replica/spool", b"/replica/archive"))
    assert linking(linker, b"user/ann").find(ARCHIVE, 7, status, lambda: DIGEST) is None
    assert linking(linker, b"user/ann").find(DATA, 7, status, lambda: DIGEST)


def test_there_is_no_room_to_remember_files(status: os.stat_result, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then they are sent."""

    def fail(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(sqlite3, "connect", fail)
    assert linking(sent(status)).find(DATA, 7, status, lambda: DIGEST) is None
