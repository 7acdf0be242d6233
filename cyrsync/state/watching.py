"""Files of a watcher beside its state, for other processes: its status, and what they ask of it."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from cyrsync.cyrus.mailbox import regular_file
from cyrsync.state.lock import state_directory

_LARGEST = 1 << 20


def write(state: Path, pair: str, status: dict[str, Any]) -> None:
    """Write the status of the watcher of a pair; a reader sees the old or the new one. Raise OSError."""
    path = _status_of(state_directory(state), pair)
    fresh = path.with_suffix(".watch-new")
    with suppress(FileNotFoundError):
        fresh.unlink()
    regular_file.ensure(bytes(fresh))
    fresh.write_text(json.dumps(status))
    os.replace(fresh, path)


def read(state: Path, pair: str) -> dict[str, Any] | None:
    """Return the status of the watcher of a pair; None if none is at work."""
    try:
        found: dict[str, Any] = json.loads(regular_file.read(bytes(_status_of(state, pair)), _LARGEST))
        with suppress(PermissionError):  # somebody else's, but there it is
            os.kill(found["pid"], 0)
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
    return found


def remove(state: Path, pair: str) -> None:
    """Remove the status: no watcher is at work any more."""
    with suppress(OSError):
        _status_of(state_directory(state), pair).unlink()


def ask_for_full(state: Path, pair: str) -> None:
    """Ask the watcher of a pair to compare everything."""
    regular_file.ensure(bytes(_wish_of(state_directory(state), pair)))


def is_asked_for_full(state: Path, pair: str) -> bool:
    """Tell whether somebody has asked so."""
    return _wish_of(state, pair).exists()


def done_in_full(state: Path, pair: str) -> None:
    """Note that everything was compared."""
    with suppress(FileNotFoundError):
        _wish_of(state_directory(state), pair).unlink()


def _status_of(directory: Path, pair: str) -> Path:
    return directory / f"{pair}.watch"


def _wish_of(directory: Path, pair: str) -> Path:
    return directory / f"{pair}.full"
