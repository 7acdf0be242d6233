"""Links below the roots of a partition on the source: Cyrus follows them, so mailboxes may lie on other disks."""

from __future__ import annotations

import os


def broken(root: bytes, path: bytes) -> bytes | None:
    """Return a link that leads nowhere or in a circle, among the directories of a mailbox below a root, else None."""
    while path:
        whole = os.path.join(root, path)
        if os.path.islink(whole) and not os.path.exists(whole):
            return whole
        path = path.rpartition(b"/")[0]
    return None
