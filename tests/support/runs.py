"""Runs that never were, for those that keep, show and tell of them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from cyrsync.state import history
from cyrsync.state.history import Record
from cyrsync.sync.result import RunResult


def result(minute: int = 0, code: int = 0, **more: Any) -> RunResult:
    """The result of a run in a minute since 1970."""
    started = datetime.fromtimestamp(60 * minute, timezone.utc).isoformat(timespec="seconds")
    facts = {"source": "/spool", "destination": "host:/one", "engine": "walk", "dry_run": False, "seconds": 1.5}
    return RunResult(**{**facts, "started": started, "exit": code, **more})


def record(minute: int = 0, code: int = 0, pair: str = "one", run: RunResult | None = None, **more: Any) -> Record:
    """The record of such a run."""
    run = run or result(minute, code)
    kept = Record(
        pair=pair,
        replica=f"host::/{pair}",
        source=run.source,
        destination=f"host:/{pair}",
        engine=run.engine,
        partitions="",
        users="",
        started=run.started,
        seconds=run.seconds,
        exit=run.exit,
        json=history.brief(run.to_json()),
    )
    return kept._replace(**more)
