"""The walk concludes nothing from what it cannot look at, on either side."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import samplespool
from support.inside import sync_here
from support.tree import assert_same_tree, messages, rsync, run_cyrsync, snapshot, sync


class Pair:
    """A spool of one user with folders, and its replica."""

    def __init__(self, directory: Path) -> None:
        self.source, self.replica = directory / "source", directory / "replica"
        rng = random.Random(1)
        self.inbox, self.sent, self.old, _ = (
            samplespool.create_folder(self.source, name, rng=rng)
            for name in ("user/joe", "user/joe/Sent", "user/joe/Sent/Old", "user/ann")
        )
        for folder in (self.inbox, self.sent, self.old):
            samplespool.deliver(folder, 3, rng=rng)
        rsync("-a", "-@-1", f"{self.source}/", f"{self.replica}/")

    def there(self, folder: Path) -> Path:
        return self.replica / folder.relative_to(self.source)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


@contextmanager
def closed(place: Path) -> Iterator[None]:
    """A directory that cannot be listed."""
    mode = place.stat().st_mode
    place.chmod(0)
    try:
        yield
    finally:
        place.chmod(mode)


def test_a_folder_of_the_replica_that_cannot_be_listed(pair: Pair) -> None:
    """Neither it nor what is below it is touched, whatever happened on the source; all else is served."""
    samplespool.recreate_folder(pair.sent, 2)
    samplespool.expunge(pair.old, 1)
    samplespool.deliver(pair.inbox, 2)
    before = snapshot(pair.there(pair.sent))
    with closed(pair.there(pair.sent)):
        report = sync("--delete", pair.source, pair.replica, user=True, expect=(23,))
    (error,) = report["errors"]
    assert "user/joe/Sent: cannot be listed on the replica: Permission denied" in error
    assert snapshot(pair.there(pair.sent)) == before
    assert (pair.there(pair.inbox) / "5.").exists()
    sync("--delete", pair.source, pair.replica)
    assert_same_tree(pair.source, pair.replica)


def test_a_deleted_mailbox_whose_folder_cannot_be_listed(pair: Pair) -> None:
    samplespool.delete_folder(pair.old)
    with closed(pair.there(pair.old)):
        (error,) = sync("--delete", pair.source, pair.replica, user=True, expect=(23,))["errors"]
    assert "Sent/Old: cannot be listed on the replica" in error
    sync("--delete", pair.source, pair.replica)
    assert not pair.there(pair.old).exists()


def test_a_replica_that_cannot_be_listed(pair: Pair) -> None:
    with closed(pair.replica):
        done = run_cyrsync("sync", "--delete", pair.source, pair.replica, user=True)
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 1), done


def test_a_list_leaves_such_folders_out(pair: Pair) -> None:
    samplespool.deliver(pair.sent, 1)
    samplespool.deliver(pair.inbox, 1)
    with closed(pair.there(pair.sent)):
        done = run_cyrsync("list", pair.source, pair.replica, user=True)
    assert (done.returncode, "user/joe/Sent" in done.stderr, "Sent" in done.stdout) == (23, True, False), done
    assert "user/joe/4." in done.stdout


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.ENOENT])
def test_a_directory_of_the_source_that_cannot_be_looked_at(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It may be one: what the replica has under its name stays."""

    def failing(call: Callable[..., Any]) -> Callable[..., Any]:
        def fail(path: Any, *args: Any, dir_fd: int | None = None, **words: Any) -> Any:
            where = os.readlink(f"/proc/self/fd/{dir_fd}") if dir_fd is not None else os.fspath(pair.inbox)
            if path == b"Sent" and where == os.fspath(pair.inbox):
                raise OSError(number, os.strerror(number), path)
            return call(path, *args, **words) if dir_fd is None else call(path, *args, dir_fd=dir_fd, **words)

        return fail

    before = messages(pair.replica)
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", failing(os.stat))
        sync_here("--delete", pair.source, pair.replica)  # it can be opened all the same
        patch.setattr(os, "open", failing(os.open))
        code = 0 if number == errno.ENOENT else 23
        report = sync_here("--delete", pair.source, pair.replica, expect=(code,))
    assert messages(pair.replica) == before
    assert len(report["errors"]) == (1 if code else 0)


def test_verify_says_it_once(pair: Pair) -> None:
    with closed(pair.there(pair.sent)):
        done = run_cyrsync("verify", pair.source, pair.replica, user=True)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done
