"""A deletion that is cut short leaves no index whose messages are gone."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest

from cyrsync.far.remove import Removal, Remover

NAMES = [*(f"{uid}." for uid in range(1, 30)), "cyrus.annotations", "cyrus.cache", "cyrus.header", "cyrus.index"]


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files as they go, in their order."""
    names: list[str] = []
    real: Callable[..., None] = os.unlink

    def unlink(name: bytes | str, *, dir_fd: int | None = None) -> None:
        names.append(os.fsdecode(name))
        real(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", unlink)
    return names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "joe"
    made.mkdir()
    for name in NAMES:
        (made / name).touch()
    return made


@pytest.mark.parametrize("whole", [True, False], ids=["folder", "files of a folder"])
def test_the_index_goes_first_and_then_what_is_bound_to_it(folder: Path, gone: list[str], whole: bool) -> None:
    metadata = tuple(os.fsencode(name) for name in NAMES if name.startswith("cyrus."))
    some = Removal(b"joe", array("I", range(1, 30)), metadata)
    removal = Removal(b"", folders=(b"joe",)) if whole else some
    Remover(os.fsencode(folder.parent), keep_times=False, wanted=lambda: True).remove([removal])
    assert sorted(gone) == sorted(NAMES)
    assert gone[0] == "cyrus.index"
    assert set(gone[1:3]) == {"cyrus.annotations", "cyrus.header"}


@pytest.mark.parametrize("whole", [True, False], ids=["folder", "files of a folder"])
def test_cut_short_no_index_is_left_without_its_messages(
    folder: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """After any number of files."""
    real: Callable[..., None] = os.unlink

    def unlink(name: bytes | str, *, dir_fd: int | None = None) -> None:
        real(name, dir_fd=dir_fd)
        there = {path.name for path in folder.iterdir()}
        assert "cyrus.index" not in there or there == set(NAMES)

    monkeypatch.setattr(os, "unlink", unlink)
    some = Removal(b"joe", array("I", range(1, 30)), (b"cyrus.header", b"cyrus.index"))
    removal = Removal(b"", folders=(b"joe",)) if whole else some
    Remover(os.fsencode(folder.parent), keep_times=False, wanted=lambda: True).remove([removal])
    left = {path.name for path in folder.iterdir()} if folder.exists() else set()
    assert left == (set() if whole else {"cyrus.annotations", "cyrus.cache"})
