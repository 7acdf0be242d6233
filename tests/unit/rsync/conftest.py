"""Fixtures for tests of what drives rsync."""

from __future__ import annotations

import pytest

from cyrsync import process
from support.fake_rsync import FakeProcess


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeProcess:
    found = FakeProcess()
    monkeypatch.setattr(process, "run", found.run)
    return found
