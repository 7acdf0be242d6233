"""The audit of a tree without its imapd.conf: a partition, or a replica of one.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import os
from typing import TYPE_CHECKING

from cyrsync.audit.finding import Audited, Problem
from cyrsync.audit.mailbox import Place, audit
from cyrsync.cyrus.snapshot import MetaFiles
from cyrsync.tree.walk import walk

if TYPE_CHECKING:
    from collections.abc import Iterator


def audit_tree(root: bytes, content: bool) -> "Iterator[Audited]":
    """Audit every folder that has something of Cyrus's in it."""
    for folder in walk(root):
        if folder.problem:
            yield Audited(folder.path, problems=(Problem("unreadable", detail=os.strerror(folder.problem)),))
        elif folder.is_cyrus():
            directory = os.path.join(root, folder.path) if folder.path else root
            yield audit(Place(folder.path, directory, b"", meta_files(directory)), folder.messages, content)


def meta_files(directory: bytes) -> MetaFiles:
    """Return the metadata files where all are in one directory."""
    names = (b"cyrus.header", b"cyrus.index", b"cyrus.expunge")
    return MetaFiles(*[os.path.join(directory, name) for name in names])
