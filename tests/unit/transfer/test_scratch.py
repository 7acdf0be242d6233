"""Where metadata is staged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cyrsync.transfer import scratch
from cyrsync.transfer.scratch import staging_directory


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    memory = tmp_path / "memory"
    memory.mkdir()
    monkeypatch.setattr(scratch, "_MEMORY", memory)
    monkeypatch.setattr(scratch, "_PLENTY", 0)
    return memory


def test_it_is_in_memory_and_nobody_elses(memory: Path, tmp_path: Path) -> None:
    with staging_directory("key", tmp_path / "state") as directory:
        assert directory.parent == memory
        assert directory.stat().st_mode & 0o777 == 0o700
        (directory / "cyrus.index").touch()
    assert not list(memory.iterdir())
    assert not (tmp_path / "state").exists()


def test_what_a_killed_run_left_goes(memory: Path, tmp_path: Path) -> None:
    with staging_directory("key", tmp_path / "state") as directory:
        name = directory.name
    (memory / name / "below").mkdir(parents=True)
    (memory / name / "below" / "cyrus.index").touch()
    with staging_directory("key", tmp_path / "state") as directory:
        assert directory == memory / name
        assert not list(directory.iterdir())


def test_a_link_that_somebody_has_put_there_is_not_followed(memory: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "mail").touch()
    (memory / f"cyrsync-{os.geteuid()}-key").symlink_to(victim)
    with staging_directory("key", tmp_path / "state") as directory:
        assert directory == tmp_path / "state"
    assert (victim / "mail").exists()
    assert not (tmp_path / "state").exists()


def test_with_little_memory_it_is_beside_the_state(
    memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "_PLENTY", 1 << 62)
    with staging_directory("key", tmp_path / "state") as directory:
        assert directory == tmp_path / "state"
        assert directory.stat().st_mode & 0o777 == 0o700
    assert not list(memory.iterdir())


def test_where_there_is_no_such_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "_MEMORY", tmp_path / "nowhere")
    with staging_directory("key", tmp_path / "state") as directory:
        assert directory == tmp_path / "state"
