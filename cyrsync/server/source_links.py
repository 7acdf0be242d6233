"""Links below the roots of a partition on the source: Cyrus follows them, and mailboxes may lie on other disks."""

from __future__ import annotations

import os

from cyrsync.server.roots import Roots


class SourceLinks:
    """Tells which mailboxes of one partition lie behind a link; looks at each directory once."""

    def __init__(self, roots: Roots) -> None:
        self._roots = roots.all()
        self._known: dict[bytes, bool] = {b"": False}  # the roots themselves may be links

    def hide(self, path: bytes) -> bool:
        """Tell whether a mailbox's directory, or one that it is in, is a link below any of the roots."""
        chain = []
        while path not in self._known:
            chain.append(path)
            path = path.rpartition(b"/")[0]
        found = self._known[path]
        for directory in reversed(chain):
            found = found or any(os.path.islink(os.path.join(root, directory)) for root in self._roots)
            self._known[directory] = found
        return found


def broken(root: bytes, path: bytes) -> bytes | None:
    """Return a link that leads nowhere or in a circle, among the directories of a mailbox below a root, else None."""
    while path:
        whole = os.path.join(root, path)
        if os.path.islink(whole) and not os.path.exists(whole):
            return whole
        path = path.rpartition(b"/")[0]
    return None
