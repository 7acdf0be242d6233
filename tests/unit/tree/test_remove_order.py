"""A deletion that is cut short leaves no index whose messages are gone."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest

from cyrsync.tree.remove import Removal, Remover

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


@pytest.mark.xfail(reason="files go in the order of the directory, or messages first")
@pytest.mark.parametrize("whole", [True, False], ids=["folder", "files of a folder"])
def test_the_index_goes_first(folder: Path, gone: list[str], whole: bool) -> None:
    metadata = tuple(os.fsencode(name) for name in NAMES if name.startswith("cyrus."))
    some = Removal(b"joe", array("I", range(1, 30)), metadata)
    removal = Removal(b"", folders=(b"joe",)) if whole else some
    Remover(os.fsencode(folder.parent), keep_times=False, wanted=lambda: True).remove([removal])
    assert sorted(gone) == sorted(NAMES)
    assert gone[0] == "cyrus.index"
