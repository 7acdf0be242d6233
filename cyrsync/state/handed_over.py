"""Which lines of `cyrsync rsync` are left to plain rsync, and why: a small file for each pair.

It is for people: no run depends on it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.errors import UnusableError
from cyrsync.state import own_file
from cyrsync.state.lock import state_directory

_DIRECTORY = "handed-over"
#: Directories that are looked into for a mailbox: in a spool, one of the first few has one.
_LOOKS = 200


class HandedOver(NamedTuple):
    """A line that is left to plain rsync. `line` is a digest of its words."""

    source: str  # a whole path, if it is here, as is the destination
    destination: str
    reason: str
    since: str  # ISO 8601, in UTC
    line: str


def note(state: Path, key: str, source: str, destination: str, reason: str, words: Sequence[str]) -> bool:
    """Note that a line of a pair is left to plain rsync. Tell whether that is new, and was noted."""
    line = hashlib.sha256("\0".join(words).encode("utf-8", "surrogateescape")).hexdigest()
    with suppress(OSError, UnusableError):
        path = state_directory(state) / _DIRECTORY / f"{key}.json"
        before = _read(path)
        if before and before.line == line:
            return False
        path.parent.mkdir(mode=0o700, exist_ok=True)
        since = datetime.now(timezone.utc).isoformat(timespec="seconds")
        own_file.write(path, json.dumps(HandedOver(source, destination, reason, since, line)))
        return True
    return False


def forget(state: Path, key: str) -> None:
    """Note that a pair's line is no longer left to plain rsync."""
    with suppress(OSError, UnusableError):
        (state / _DIRECTORY / f"{key}.json").unlink(missing_ok=True)


def forget_replica(state: Path, is_replica: Callable[[str], bool]) -> int:
    """Forget all that was handed over to a replica's destination, and return how many lines there were."""
    count = 0
    with suppress(OSError, UnusableError):
        for path in (state / _DIRECTORY).glob("*.json"):
            one = _read(path)
            if one and is_replica(one.destination):
                path.unlink(missing_ok=True)
                count += 1
    return count


def known(state: Path) -> list[HandedOver]:
    """Return all that is known, by destination."""
    with suppress(OSError, UnusableError):
        found = [_read(path) for path in (state / _DIRECTORY).glob("*.json")]
        return sorted((one for one in found if one), key=lambda one: (one.destination, one.source))
    return []


def may_be_spool(path: bytes) -> bool:
    """Tell whether a tree here may hold mailboxes; a look at a few directories, names only."""
    pending, looks = [path], 0
    while pending and looks < _LOOKS:
        looks += 1
        with suppress(OSError), os.scandir(pending.pop()) as entries:
            for found in entries:
                if found.name in kinds.MAIN_FILES:
                    return True
                if found.is_dir(follow_symlinks=False):
                    pending.append(os.path.join(os.fsencode(found.path)))
    return bool(pending)


def _read(path: Path) -> HandedOver | None:
    with suppress(OSError, ValueError, TypeError):
        return HandedOver(*json.loads(path.read_text()))
    return None
