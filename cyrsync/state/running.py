"""Which runs and watchers are at work now: the holders of run locks, found without touching a lock."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from cyrsync.cyrus.mailbox import regular_file
from cyrsync.far import hold
from cyrsync.state.lock import WATCHING
from cyrsync.text import printable

_LARGEST = 1 << 16


class Holder(NamedTuple):
    """A process that holds a run lock."""

    key: str  # of the lock: that of the pair, with "-KofN" behind it for a shard
    pid: int
    since: float  # seconds since 1970, 0 for unknown
    watching: bool
    source: str  # printable, "" for unknown, as is `destination`
    destination: str

    @property
    def pair(self) -> str:
        """The key of the pair."""
        return self.key.partition("-")[0]


def holders(state: Path) -> list[Holder]:
    """Return the processes that hold run locks of this state directory, ordered by their locks."""
    return list(_holders(state))


def _holders(state: Path) -> Iterator[Holder]:
    for path in sorted(state.glob("*.lock")):
        with suppress(OSError):
            descriptor, status = regular_file.opened(bytes(path))
            try:
                pid, began = hold.holder(status)
                text = regular_file.contents(descriptor, _LARGEST).decode("utf-8", "replace") if pid else ""
            finally:
                os.close(descriptor)
            head, _, pair = text.partition("\t")
            named, _, since = head.strip().partition(" ")
            # The kernel's list may mean a file of another file system. Who has just got the lock has not written yet.
            if pid and named == str(pid):
                yield _holder(path.stem, pid, since, began, pair)


def _holder(key: str, pid: int, since: str, began: float, pair: str) -> Holder:
    """Return what the file says of the process that holds the lock; `began` is since when that runs."""
    when, source, destination = began, "", ""
    with suppress(ValueError):
        when = datetime.fromisoformat(since.removesuffix(f" {WATCHING}")).timestamp()
    with suppress(ValueError, TypeError, RecursionError):
        source, destination = (printable(str(one)) for one in json.loads(pair))
    return Holder(key, pid, when, since.endswith(f" {WATCHING}"), source, destination)
