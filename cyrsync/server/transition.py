"""Mailboxes that cannot be read: those that are being made, renamed or deleted now, and those that are damaged.

mailboxes.db is a moment older than the directories: a mailbox that it names may be on its way to another name, or be
gone. So it is read again before each further look. What tells a damaged mailbox is that nothing moves: in several
looks, some time apart, its record is the same, and so are its directory, its header and its index, there or not.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from cyrsync.state.mailbox_row import Key, Location

#: So many looks with nothing moved between them, and a mailbox is what it is.
_STILL = 3


@dataclass(slots=True)
class Transitions:
    """What several looks at the same mailboxes saw."""

    _seen: dict[Key, tuple[object, int]] = field(default_factory=dict)

    def look(self, location: Location) -> bool:
        """Look at a mailbox right before it is read, and tell whether it has been the same for long enough."""
        now = _signature(location)
        before, count = self._seen.get(location.key, (None, 0))
        self._seen[location.key] = (now, count + 1 if now == before else 1)
        return self.is_still(location.key)

    def is_still(self, key: Key) -> bool:
        """Tell whether nothing has moved in the last looks: then it is no passing state."""
        return self._seen.get(key, (None, 0))[1] >= _STILL


def _signature(location: Location) -> object:
    """Return what changes when a mailbox is made, renamed or deleted, but not when mail arrives or is read."""
    header = _status(location.header_path)
    return (
        location.name,
        location.uniqueid,
        _inode(_status(os.path.dirname(location.header_path))),
        header and (header.st_ino, header.st_mtime_ns, header.st_ctime_ns),
        _inode(_status(location.index_path)),
    )


def _inode(status: os.stat_result | None) -> int | None:
    return status and status.st_ino


def _status(path: bytes) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None
