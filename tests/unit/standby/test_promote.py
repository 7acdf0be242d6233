"""What a promotion tells of itself."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from cyrsync.standby.promote import Options, promote_tree
from cyrsync.standby.promotion import Promotion
from cyrsync.verify.result import AuditResult
from support.servers import SampleServer


def test_it_tells_how_long_the_check_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = str(SampleServer(tmp_path / "standby", messages=10, folder_count=3).spool)
    result = Promotion(None, tree, AuditResult(tree=tree, replica=None, content=False, started=""))
    seconds = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: seconds)

    def tick(*_numbers: int) -> None:
        nonlocal seconds
        seconds += 1.5

    promote_tree(tree, result, Options(run=False, content=False, wait=0), tick)
    assert result.audit.seconds == seconds > 0
