"""Links in a spool behind which mailboxes lie: rsync -a copies the link alone.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import os
from typing import TYPE_CHECKING

from cyrsync.cyrus.mailbox import entry as kinds

if TYPE_CHECKING:
    from collections.abc import Iterable

#: So deep, and into so many directories, is looked for a mailbox: `b` -> /disk2/b, with user/bob/Sent in it.
_DEPTH, _MOST = 4, 1000


def with_mailboxes(root: bytes, paths: "Iterable[bytes]") -> "list[bytes]":
    """Return those of these links below a root that lead to mailboxes elsewhere; one inside leads to what is copied."""
    inside = os.path.join(os.path.realpath(root), b"")
    found = []
    for path in paths:
        target = os.path.realpath(os.path.join(root, path))
        if not os.path.join(target, b"").startswith(inside) and os.path.isdir(target) and _has_mailbox(target):
            found.append(path)
    return found


def _has_mailbox(top: bytes) -> bool:
    level = [top]
    looked = 0
    for _ in range(_DEPTH):
        below = []
        for directory in level:
            looked += 1
            if looked > _MOST:
                return False
            try:
                with os.scandir(directory) as entries:
                    names = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
            except OSError:
                continue
            if kinds.HEADER in names or kinds.INDEX in names:
                return True
            below += [os.path.join(directory, name) for name, is_folder in names.items() if is_folder]
        level = below
    return False
