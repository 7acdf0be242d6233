"""Who is held: the name of a user's file tells it, and is one in every case."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.far import held
from cyrsync.far.stored import StoreReader


@given(st.binary(min_size=1, max_size=80).filter(lambda name: b"\0" not in name))
def test_every_name_is_a_files_and_none_is_hidden(user: bytes) -> None:
    name = held.file_name(user)
    assert held.user_of(name) == user
    assert b"/" not in name and b"\0" not in name
    assert not name.startswith(b".")


@pytest.mark.parametrize("user", [b"joe", b"jane.doe@example.com", b"a-b_c"])
def test_most_names_stay_as_they_are(user: bytes) -> None:
    assert held.file_name(user) == user


def test_held_and_released(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path)
    os.utime(root, ns=(5, 5))
    for text in (b"{}", b"again"):
        held.hold(root, b"joe", text)
    assert held.read(StoreReader(root)) == {b"joe": b"again"}
    assert tmp_path.stat().st_mtime_ns == 5
    assert (tmp_path / ".cyrsync-history").stat().st_mode & 0o777 == 0o700
    assert held.release(root, b"joe")
    assert not held.release(root, b"joe")
    assert held.read(StoreReader(root)) == {}


def test_a_hold_is_on_the_disk_before_it_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[dict[bytes, bytes]] = []
    monkeypatch.setattr(held, "to_disk", lambda roots: synced.extend(held.read(StoreReader(root)) for root in roots))
    held.hold(os.fsencode(tmp_path), b"joe", b"{}")
    assert synced == [{b"joe": b"{}"}]


def test_one_whose_file_cannot_be_read_is_held(tmp_path: Path) -> None:
    (tmp_path / ".cyrsync-history" / "held").mkdir(parents=True)
    (tmp_path / ".cyrsync-history" / "held" / "joe").symlink_to("/etc/passwd")
    assert held.read(StoreReader(os.fsencode(tmp_path))) == {b"joe": b""}


def test_a_link_in_place_of_a_store_is_not_written_to(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    root.mkdir()
    (root / ".cyrsync-history").symlink_to(outside)
    with pytest.raises(OSError) as caught:  # noqa: PT011 - either of two
        held.hold(os.fsencode(root), b"joe", b"{}")
    assert caught.value.errno in (errno.ENOTDIR, errno.ELOOP)
    assert list(outside.iterdir()) == []


def test_records_are_added_to(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path)
    held.hold(root, b"joe", b"{}")
    for line in (b"one", b"two"):
        held.record(root, line)
    assert (tmp_path / ".cyrsync-history" / "forgotten").read_bytes() == b"one\ntwo\n"
