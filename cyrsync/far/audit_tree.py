"""The audit of a tree without its imapd.conf: a partition, or a replica of one.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import errno
import os
from typing import TYPE_CHECKING

from cyrsync.cyrus.mailbox.snapshot import beside
from cyrsync.far.audit_mailbox import Place, audit
from cyrsync.far.descent import Descent
from cyrsync.far.finding import Audited, Problem
from cyrsync.far.walk import walk

if TYPE_CHECKING:
    from collections.abc import Iterator


def audit_tree(root: bytes, content: bool) -> "Iterator[Audited]":
    """Audit every folder that has something of Cyrus's in it."""
    descent = Descent(root)
    for folder in walk(root):
        if folder.problem:
            found = _unreadable(folder.path, folder.problem)
        elif folder.is_cyrus():
            try:
                directory = descent.where(folder.path)
            except OSError as error:
                found = _unreadable(folder.path, error.errno or errno.EIO)
            else:
                found = audit(Place(folder.path, directory, b"", beside(directory)), folder.messages, content)
        else:
            continue
        if not _is_gone(os.path.join(root, folder.path) if folder.path else root):
            yield found


def _unreadable(path: bytes, number: int) -> Audited:
    return Audited(path, problems=(Problem("unreadable", detail=os.strerror(number)),))


def _is_gone(directory: bytes) -> bool:
    """Tell whether a mailbox was renamed or deleted meanwhile."""
    try:
        os.lstat(directory)
    except FileNotFoundError:
        return True
    except OSError:
        pass  # it cannot be reached, which is a problem
    return False
