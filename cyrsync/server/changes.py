"""Which mailboxes have changed since they were sent: two stats for each tell, of its header and its index."""

from __future__ import annotations

import os
from typing import NamedTuple

from cyrsync.state.mailbox_row import UNSEEN, Key, seen_of
from cyrsync.state.store import Store
from cyrsync.sync.progress import Reporter

#: After so many mailboxes, progress is reported.
_STEP = 1000


class Changes(NamedTuple):
    """What a look at all mailboxes has found."""

    total: dict[str, int]  # mailboxes, by partition
    missing: dict[str, int]  # those of which no header or no index is there
    changed: list[Key]  # header or index is not as it was, or something is still to be deleted
    known_before: dict[Key, bool]  # of those that are not as they were when they were last sent; False: never sent


def find(store: Store, progress: Reporter, *, delete: bool) -> Changes:
    """Look at every mailbox; with `delete`, also for what an earlier run was to delete."""
    total: dict[str, int] = {}
    missing: dict[str, int] = {}
    changed: list[Key] = []
    known_before: dict[Key, bool] = {}
    for number, (partition, path, header, index, seen, settled) in enumerate(store.files(), 1):
        total[partition] = total.get(partition, 0) + 1
        try:
            now = seen_of(os.stat(header), os.stat(index))
        except FileNotFoundError:
            missing[partition] = missing.get(partition, 0) + 1
            now = b""
        except OSError:
            now = b""  # whoever opens it will say why
        if now != seen or not seen or (delete and not settled):
            changed.append(Key(partition, path))
            if now and now != seen != UNSEEN:
                known_before[Key(partition, path)] = seen is not None
        if not number % _STEP:
            progress.scan(number, 0)
    return Changes(total, missing, changed, known_before)
