"""Where metadata is staged."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from cyrsync.ends.own_directory import remove_tree
from cyrsync.sync import scratch
from cyrsync.sync.scratch import staging_directory
from support.deep import dig
from support.tools import requires_root


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    memory = tmp_path / "memory"
    memory.mkdir()
    monkeypatch.setattr(scratch, "_MEMORY", memory)
    monkeypatch.setattr(scratch, "_PLENTY", 0)
    return memory


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def otherwise(tmp_path: Path) -> Path:
    return tmp_path / "otherwise"


def test_it_is_in_memory_and_nobody_elses(memory: Path, state: Path, otherwise: Path) -> None:
    with staging_directory(state, "key", otherwise) as directory:
        assert directory.parent == memory
        assert directory.stat().st_mode & 0o777 == 0o700
        (directory / "cyrus.index").touch()
    assert not list(memory.iterdir())
    assert not otherwise.exists()


def test_what_a_killed_run_of_any_pair_left_goes(memory: Path, state: Path, otherwise: Path) -> None:
    with staging_directory(state, "other", otherwise) as directory:
        left = directory
    deep = left / "below" / "deeper"
    deep.mkdir(parents=True)
    (deep / "cyrus.index").touch()
    deep.chmod(0o400)
    with staging_directory(state, "key", otherwise) as directory:
        assert list(memory.iterdir()) == [directory]
        assert not list(directory.iterdir())


def test_what_a_living_run_uses_stays(memory: Path, state: Path, otherwise: Path) -> None:
    with staging_directory(state, "key", otherwise) as first:
        (first / "cyrus.index").touch()
        with staging_directory(otherwise, "key", otherwise) as second:
            assert second not in (first, otherwise)
            assert second.name.rpartition("-")[0] != first.name.rpartition("-")[0], "the state is in the name"
        assert (first / "cyrus.index").exists()
    assert not list(memory.iterdir())


def test_a_new_one_that_another_run_takes_for_left_is_made_again(
    memory: Path, state: Path, otherwise: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed = []

    def lock(descriptor: int, how: int) -> None:
        if not removed:
            (directory,) = memory.iterdir()
            directory.rmdir()
            removed.append(directory)
        locked(descriptor, how)

    locked = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", lock)
    with staging_directory(state, "key", otherwise) as directory:
        assert directory.exists()
        assert directory not in removed


@pytest.mark.parametrize("what", ["link", "file", "foreign"])
def test_what_somebody_else_has_put_there_stays_as_it_is(
    memory: Path, state: Path, otherwise: Path, tmp_path: Path, what: str
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "mail").touch()
    planted = memory / f"cyrsync-staging-{os.geteuid()}-x"
    if what == "link":
        planted.symlink_to(victim)
    elif what == "file":
        planted.touch()
    else:
        requires_root()
        victim = victim.rename(planted)
        os.chown(planted, 4711, 4711)
    with staging_directory(state, "key", otherwise) as directory:
        assert directory.parent == memory
    assert list(memory.iterdir()) == [planted]
    assert what == "file" or (victim / "mail").exists()


def test_memory_in_which_anybody_may_rename_is_not_used(memory: Path, state: Path, otherwise: Path) -> None:
    memory.chmod(0o777)
    with staging_directory(state, "key", otherwise) as directory:
        assert directory == otherwise
    memory.chmod(0o1777)
    with staging_directory(state, "key", otherwise) as directory:
        assert directory.parent == memory


def test_with_little_memory_it_is_beside_the_state(
    memory: Path, state: Path, otherwise: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "_PLENTY", 1 << 62)
    with staging_directory(state, "key", otherwise) as directory:
        assert directory == otherwise
        assert directory.stat().st_mode & 0o777 == 0o700
    assert not list(memory.iterdir())


def test_where_there_is_no_such_file_system(
    state: Path, otherwise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "_MEMORY", tmp_path / "nowhere")
    with staging_directory(state, "key", otherwise) as directory:
        assert directory == otherwise


def test_a_deep_tree_goes(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    deepest = dig(top, 1500)
    os.close(os.open("cyrus.index", os.O_CREAT | os.O_WRONLY, dir_fd=deepest))
    os.close(deepest)
    (tmp_path / "kept").mkdir()
    (top / "link").symlink_to(tmp_path / "kept")
    remove_tree(top)
    assert not top.exists()
    assert (tmp_path / "kept").exists()
