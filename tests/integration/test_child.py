"""What a child does between fork and exec, where another thread of ours may have held a lock for ever."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import pytest

from cyrsync import process


def test_no_library_is_loaded_after_the_fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = tmp_path / "loaded"

    def load(*args: Any, load: Any = ctypes.CDLL) -> Any:
        with where.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return load(*args)

    monkeypatch.setattr(ctypes, "CDLL", load)
    assert process.run(["true"], None, None) == 0
    assert set(where.read_text().split()) == {str(os.getpid())}
