"""Mailboxes found by their directories, where no mailboxes.db tells: named by cyrus.header, else by their paths."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from cyrsync.cyrus.mailbox import entry, header, regular_file
from cyrsync.cyrus.mailbox.snapshot import MetaFiles
from cyrsync.cyrus.server import layout
from cyrsync.cyrus.server.config import Config, Partition
from cyrsync.cyrus.server.mailboxes import Mailbox
from cyrsync.cyrus.server.server import Located
from cyrsync.far.walk import walk

#: What the root of a partition ends before: a uniqueid's directory, that of users, of deleted ones, of a domain.
_INSIDE = re.compile(rb"(?:^|/)(?:uuid/[^/]/[^/]/[^/]+\Z|(?:[A-Za-z]/)?(?:user|DELETED/user)/|domain/)")


def in_partitions(config: Config) -> Iterator[Located]:
    """Yield the mailboxes in the partitions of an imapd.conf."""
    for partition in config.partitions.values():
        for path in _paths(partition.root_of("header")):
            yield _located(partition, path, config.hashimapspool)


def anywhere(top: bytes) -> Iterator[Located]:
    """Yield the mailboxes below a directory: a partition, or what has one or more somewhere in it."""
    found = list(_paths(top))
    roots = {match.start() and path[: match.start()] for path in found if (match := _INSIDE.search(path))}
    tops = sorted({root or b"" for root in roots}, key=len, reverse=True)
    for path in found:
        root = next((one for one in tops if not one or path.startswith(one + b"/")), b"")
        where = os.path.join(top, root) if root else top
        partition = Partition("", where, where, frozenset(), where, {})
        yield _located(partition, path[len(root) :].lstrip(b"/"), None)


def _paths(root: bytes) -> Iterator[bytes]:
    for folder in walk(root):
        if entry.HEADER in folder.metadata:
            yield folder.path


def _located(partition: Partition, path: bytes, hashed: bool | None) -> Located:
    """Return a mailbox by its path below the root; whether there are letters in it may be not known (None)."""
    header_path, index_path = (
        os.path.join(partition.root_of(word), path, b"cyrus." + word.encode()) for word in ("header", "index")
    )
    known = _header(header_path)
    by_path = next(
        filter(None, (layout.name_of_legacy(path, way) for way in ([True, False] if hashed is None else [hashed]))),
        None,
    )
    name = (known.name if known else None) or by_path or path.replace(b"/", b".")
    mailbox = Mailbox(
        name=name,
        partition=partition.name,
        uniqueid=known.uniqueid if known else "",
        uidvalidity=0,
        kind=known.mbtype if known else "",
        deleted=False,
        intermediate=False,
        remote="",
        moving=False,
        reserved=False,
        legacy=not path.startswith(b"uuid/"),
        acl=(),
    )
    files = MetaFiles(header_path, index_path, os.path.join(os.path.dirname(index_path), entry.EXPUNGE))
    data, meta, archive = (os.path.join(root, path) for root in (partition.data, partition.meta, partition.archive))
    return Located(mailbox, data, meta, archive, files)


def _header(path: bytes) -> header.Header | None:
    try:
        return header.read(regular_file.read(path, header.READ_SIZE << 8))
    except (OSError, header.HeaderError):
        return None
