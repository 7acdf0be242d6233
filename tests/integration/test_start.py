"""What commands load: each takes time at every start, and a run that finds nothing is hardly longer than its start."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from support.tree import cyrsync_argv, plain_env

_PROGRAM = """
import atexit, sys
from cyrsync.cli.app import main
atexit.register(lambda: print("\\nloaded", *sys.modules))
main()
"""


def loaded(*words: str | Path) -> set[str]:
    """The modules that a command has loaded at its end."""
    # Who measures coverage in this process loads modules of its own.
    env = {name: value for name, value in plain_env().items() if not name.startswith("COV")}
    argv = [cyrsync_argv()[0], "-c", _PROGRAM, *map(str, words)]
    done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done
    return set(done.stdout.rpartition("\nloaded ")[2].split())


def ours(modules: set[str]) -> set[str]:
    return {name for name in modules if name.startswith("cyrsync.cli.")}


def test_the_version_needs_no_command() -> None:
    found = loaded("--version")
    assert ours(found) == {
        f"cyrsync.cli.{name}" for name in ("app", "commands", "ending", "exit_codes", "output", "signals", "streams")
    }
    assert not found & {"cyrsync.ends", "cyrsync.report", "cyrsync.server", "cyrsync.spool", "cyrsync.sync"}
    assert not found & {"ctypes", "hashlib", "rich", "sh", "sqlite3", "tempfile", "typer.rich_utils"}


@pytest.mark.parametrize("command", ["config", "inspect", "status"])
def test_a_command_loads_no_other(command: str) -> None:
    others = {"check", "history", "list", "promote", "prune", "restore", "rsync", "run", "sync", "verify"}
    assert not ours(loaded(command, "--help")) & {f"cyrsync.cli.{name}" for name in others}
