"""What of a replica, or of a source, cannot be looked at is not taken for what is not there."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import samplespool
from support.replicas import Pair
from support.spool import leaves
from support.tree import snapshot, sync

#: What a failing disk, a lost server and a full table of files say.
ERRORS = (errno.EIO, errno.ESTALE, errno.EMFILE, errno.EACCES)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    pair = Pair(tmp_path)
    pair.sync()
    return pair


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, name: str, place: Path, number: int = errno.EIO) -> Iterator[None]:
    """A call of the system's that fails for one path."""
    call = getattr(os, name)

    def fail(path: Any = ".", *args: Any, **words: Any) -> Any:
        if path == os.fsencode(place):
            raise OSError(number, os.strerror(number), path)
        return call(path, *args, **words)

    with monkeypatch.context() as patch:
        patch.setattr(os, name, fail)
        yield


@contextmanager
def closed(place: Path) -> Iterator[None]:
    """A directory that cannot be listed."""
    mode = place.stat().st_mode
    place.chmod(0)
    try:
        yield
    finally:
        place.chmod(mode)


def sync_as_user(pair: Pair, *words: str, expect: int = 0) -> dict[str, Any]:
    return sync("-C", pair.conf, "--delete", *words, pair.replica, user=True, expect=(expect,))


def test_expunged_mail_in_a_folder_of_the_replica_that_cannot_be_listed(pair: Pair) -> None:
    """It goes as soon as the folder can be listed again: nothing is forgotten, and nothing taken for known."""
    folder = leaves(pair.server.spool)[0]
    samplespool.expunge(folder, 2)
    with closed(pair.there(folder)):
        (error,) = sync_as_user(pair, "--full", expect=23)["errors"]
        assert "cannot be listed on the replica: Permission denied" in error
        # Nor does the next run take what is known for all there is.
        assert sync_as_user(pair, expect=23)["errors"] == [error]
    sync_as_user(pair)
    pair.assert_same()


def test_a_deleted_mailbox_whose_folder_cannot_be_listed(pair: Pair) -> None:
    folder = leaves(pair.server.spool)[0]
    pair.server.delete(folder)
    before = snapshot(pair.there(folder))
    with closed(pair.there(folder)):
        sync_as_user(pair, "--full", expect=23)
    assert snapshot(pair.there(folder)) == before
    sync_as_user(pair)
    pair.assert_same()


def test_a_mailbox_made_anew_whose_folder_cannot_be_listed(pair: Pair) -> None:
    """What lies there is not taken for its own."""
    folder = leaves(pair.server.spool)[0]
    samplespool.recreate_folder(folder, 3)
    before = snapshot(pair.there(folder))
    with closed(pair.there(folder)):
        sync_as_user(pair, "--full", expect=23)
    assert snapshot(pair.there(folder)) == before
    sync_as_user(pair)
    pair.assert_same()


def test_other_mailboxes_are_served(pair: Pair) -> None:
    one, other = leaves(pair.server.spool)[:2]
    with closed(pair.there(one)):
        samplespool.deliver(other, 3)
        sync_as_user(pair, "--full", expect=23)
    assert snapshot(pair.there(other)) == snapshot(other)


def test_files_beside_the_partitions_in_a_directory_that_cannot_be_listed(pair: Pair) -> None:
    users = pair.there(pair.home / "user" / "j")
    (pair.home / "user" / "j" / "joe.sub").unlink()
    pair.write("user/j/ann.sub")
    with closed(users):
        sync_as_user(pair, "--full", expect=23)
    assert (users / "joe.sub").exists()
    sync_as_user(pair)
    pair.assert_same()


@pytest.mark.parametrize("number", ERRORS)
def test_a_replica_that_cannot_be_seen_is_not_one_that_is_not_there(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    pair.change()
    before = pair.everything()
    with failing(monkeypatch, "lstat", pair.there(pair.server.spool), number):
        (error,) = pair.sync(expect=3)["errors"]
    assert error.endswith(f"what is there cannot be seen: {os.strerror(number)}")
    assert pair.everything() == before


@pytest.mark.parametrize("number", ERRORS)
def test_an_index_on_the_replica_that_cannot_be_seen_is_not_one_that_is_gone(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    pair.change()
    index = pair.there(leaves(pair.server.spool)[-1]) / "cyrus.index"
    with failing(monkeypatch, "lstat", index, number):
        report = pair.sync(expect=23)
    assert report["errors"] == [f"{index}: {os.strerror(number)}"]
    assert report["warnings"] == []
    pair.assert_same()


@pytest.mark.parametrize("number", ERRORS)
def test_a_mailbox_of_which_it_cannot_be_seen_whether_it_is_gone(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """mailboxes.db does not have it, and its directory cannot be looked at."""
    folder = leaves(pair.server.spool)[0]
    pair.server.record(folder)
    before = snapshot(pair.there(folder))
    with failing(monkeypatch, "lstat", folder / "cyrus.index", number):
        (error,) = pair.sync(expect=23)["errors"]
    assert f"whether it is gone cannot be seen: {os.strerror(number)}" in error
    assert snapshot(pair.there(folder)) == before


def test_a_metadata_file_of_which_it_cannot_be_seen_whether_it_is_there(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = leaves(pair.server.spool)[0]
    samplespool.deliver(folder, 1)
    before = snapshot(pair.there(folder))
    with failing(monkeypatch, "lstat", folder / "cyrus.cache"):
        (error,) = pair.sync(expect=23)["errors"]
    assert error.endswith("cyrus.cache: Input/output error: look for a failing disk in the kernel's log")
    assert snapshot(pair.there(folder)) == before
    pair.sync()
    pair.assert_same()


def test_a_file_beside_the_partitions_of_which_it_cannot_be_seen_whether_it_is_there(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = pair.home / "user" / "j" / "joe.sub"
    gone.unlink()
    with failing(monkeypatch, "lstat", gone):
        report = pair.sync(expect=23)
    assert report["errors"] == [f"{gone}: Input/output error: it stays as it is on the replica"]
    assert pair.there(gone).exists()
    pair.sync()
    pair.assert_same()
