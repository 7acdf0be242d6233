"""Fixtures for tests of the state."""

from __future__ import annotations

from pathlib import Path

import pytest

from cyrsync.state.store import Store
from support.states import PAIR


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "key.sqlite"


@pytest.fixture
def store(path: Path) -> Store:
    return Store(path, PAIR)
