"""A replica that is full: what could not be sent is named, nothing counts as done, and the next run completes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import samplespool
from support.servers import SampleServer, below
from support.spool import leaves
from support.tools import requires, requires_root, unavailable
from support.tree import assert_same_tree, messages, run_cyrsync, sync
from support.whole import History, assert_indexed_messages_exist


@pytest.fixture
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB, or of another size."""
    requires("mount", "umount")
    requires_root()
    path = tmp_path / "small"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={getattr(request, 'param', '1m')}", "none", str(path)], check=False
    )
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


# --- It heals without a larger disk


def heal(words: tuple[str | Path, ...]) -> int:
    """Run until all is there, and return how many runs that took."""
    for number in range(1, 6):
        done = run_cyrsync(*words)
        if done.returncode == 0:
            return number
        assert done.returncode in (11, 23), done
        assert "No space left on device" in done.stderr
    pytest.fail("it never heals")


@pytest.mark.parametrize("small_disk", ["400k"], indirect=True)
@pytest.mark.parametrize("engine", ["walk", "index", "drop-in"])
def test_what_is_expunged_makes_room_in_a_first_copy(small_disk: Path, tmp_path: Path, engine: str) -> None:
    """No folder has an index yet: nothing names what is deleted."""
    server = SampleServer(tmp_path / "server", messages=4, folder_count=4)
    for folder in leaves(server.spool):
        samplespool.deliver(folder, 120 // len(leaves(server.spool)), size=4000)
    there = small_disk / "replica"
    there.mkdir()
    replica = below(there, server.spool) if engine == "index" else there
    words = command(engine, server, there)
    assert run_cyrsync(*words).returncode == 11
    assert not list(replica.rglob("cyrus.index"))
    for folder in leaves(server.spool):
        samplespool.expunge(folder, len(list(folder.glob("[0-9]*."))) // 2)
    heal(words)
    assert_same_tree(server.spool, replica, dir_mtimes=False)


@pytest.mark.parametrize("small_disk", ["600k"], indirect=True)
@pytest.mark.parametrize("engine", ["walk", "index", "drop-in"])
def test_mailboxes_that_are_gone_make_room(small_disk: Path, tmp_path: Path, engine: str) -> None:
    """Though others could not be sent; and what an index names stays until another is there."""
    server = SampleServer(tmp_path / "server", messages=4, folder_count=4)
    for folder in leaves(server.spool)[:2]:
        samplespool.deliver(folder, 20, size=4000)
    there = small_disk / "replica"
    there.mkdir()
    replica = below(there, server.spool) if engine == "index" else there
    words = command(engine, server, there)
    assert run_cyrsync(*words).returncode == 0
    first, second, *_ = leaves(server.spool)
    samplespool.deliver(first, 60, size=5000)
    samplespool.expunge(first, 2)
    server.delete(second)
    history = History()
    history.remember(server.spool)
    done = run_cyrsync(*words)
    assert done.returncode == 11, done
    assert not (replica / second.relative_to(server.spool)).exists()
    assert_indexed_messages_exist(replica)
    samplespool.expunge(first, 40)
    server.record()
    heal(words)
    assert_same_tree(server.spool, replica, dir_mtimes=False)


def command(engine: str, server: SampleServer, there: Path) -> tuple[str | Path, ...]:
    if engine == "index":
        return "sync", "--delete", "--no-config", "-C", server.conf, there
    return (
        "rsync" if engine == "drop-in" else "sync",
        *["-a"][: engine == "drop-in"],
        "--delete",
        f"{server.spool}/",
        f"{there}/",
    )
