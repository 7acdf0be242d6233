"""Far ends that do not run what they are sent, remembered so that not every rsync line waits for them again."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from cyrsync.state import own_file

_DAY = 86400.0  # seconds that it is remembered


def remember(state: Path, pair: str, rsh: str | None, reason: str) -> None:
    """Note that the far end of a pair, by this remote shell, has an answer of its own to everything."""
    try:
        own_file.write(_path(state, pair), json.dumps([_shell(rsh), reason]))
    except OSError:
        pass  # then the next one waits, too


def recall(state: Path, pair: str, rsh: str | None) -> str:
    """Return why the far end is not to be asked today, else ""."""
    try:
        path = _path(state, pair)
        age = time.time() - path.stat().st_mtime
        shell, reason = json.loads(path.read_bytes())
    except (OSError, TypeError, ValueError):
        return ""
    if not 0 <= age < _DAY or shell != _shell(rsh):
        return ""
    return f"{reason} (asked {age / 3600:.0f} hours ago; remove {path} to ask again)"


def _path(state: Path, pair: str) -> Path:
    return state / f"{pair}.plain"


def _shell(rsh: str | None) -> str:
    return rsh or os.environ.get("RSYNC_RSH") or "ssh"
