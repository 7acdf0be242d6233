"""cyrsync in the process of the tests: nothing has to start, and what it does can be watched and hindered."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import typer.testing
from typer.testing import CliRunner, Result

from cyrsync.cli.commands import app

typer.testing._get_command = cache(typer.main.get_command)  # type: ignore[attr-defined] # each run would make all anew


def run_here(*args: str | Path | bytes, env: Mapping[str, str] | None = None) -> Result:
    """Do what `support.tree.run_cyrsync` does."""
    done = CliRunner().invoke(app, [os.fsdecode(arg) for arg in args], env=env)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def sync_here(*args: str | Path | bytes, expect: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """Do what `support.tree.sync` does, `cyrsync sync --json ARGS`, and return the report."""
    done = run_here("sync", "--json", *args)
    assert done.exit_code in expect, f"exit {done.exit_code}\n{done.stdout}\n{done.stderr}"
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def sync_server_here(conf: Path, *words: str | Path, expect: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """Do what `support.servers.sync_server` does, the pause included."""
    time.sleep(0.03)
    return sync_here("-C", conf, *words, expect=expect)
