"""A replica that is full: what could not be sent is named, nothing counts as done, and the next run completes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import samplespool
from support.tools import requires, requires_root, unavailable
from support.tree import assert_same_tree, messages, sync
from support.whole import History, assert_indexed_messages_exist


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    requires("mount", "umount")
    requires_root()
    path = tmp_path / "small"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(path)], check=False)
    if mounted.returncode:
        unavailable("not allowed to mount")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def enlarge(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)


@pytest.mark.parametrize("already", [0, 150], ids=["first copy", "replica there"])
def test_a_full_disk(small_disk: Path, tmp_path: Path, already: int) -> None:
    source, replica = tmp_path / "source", small_disk / "replica"
    samplespool.make(source, messages=already or 500, folder_count=5, size=4000)
    arguments = ("--delete", f"{source}/", f"{replica}/")
    if already:
        sync(*arguments)
        samplespool.change(source, new=3, flags=0.5, size=4000)
    history = History()
    history.remember(source)

    report = sync(*arguments, expect=(23, 11))
    assert report["errors"]
    history.assert_whole(replica)
    assert_indexed_messages_exist(replica)
    assert len(messages(replica)) < len(messages(source))

    enlarge(small_disk)
    sync(*arguments)
    assert_same_tree(source, replica)
