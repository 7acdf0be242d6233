"""Mailboxes found by their directories, without a mailboxes.db: named by their paths, else by cyrus.header."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator

from cyrsync.cyrus.mailbox import entry, header, regular_file
from cyrsync.cyrus.mailbox.snapshot import MetaFiles
from cyrsync.cyrus.server import layout
from cyrsync.cyrus.server.config import Config, Partition
from cyrsync.cyrus.server.mailboxes import Mailbox
from cyrsync.cyrus.server.server import Located
from cyrsync.far.folder import Folder
from cyrsync.far.walk import walk
from cyrsync.sync.progress import Reporter
from cyrsync.text import path_text

#: What the root of a partition ends before: a uniqueid's directory, that of users, of deleted ones, of a domain.
_INSIDE = re.compile(rb"(?:^|/)(?:uuid/[^/]/[^/]/[^/]+/?\Z|(?:[A-Za-z]/)?(?:user|DELETED/user)/|domain/)")

#: Receives a line for each directory that cannot be read.
Unreadable = Callable[[str], None]

_METADATA = frozenset(["header", "index", "cache", "expunge", "annotations"])


def in_partitions(config: Config, unreadable: Unreadable, reporter: Reporter) -> Iterator[Located]:
    """Yield the mailboxes in the partitions of an imapd.conf."""
    for partition in config.partitions.values():
        for folder in _folders(partition.root_of("header"), unreadable, reporter):
            if entry.HEADER in folder.metadata:
                yield located_at(partition, folder.path, config.hashimapspool)


def anywhere(top: bytes, unreadable: Unreadable, reporter: Reporter) -> Iterator[Located]:
    """Yield the mailboxes below a directory: a partition, what has one or more somewhere in it, or a part of one.

    Messages that are not with their header are where another root has the same path.
    """
    with_header, with_messages = [], []
    for folder in _folders(top, unreadable, reporter):
        if entry.HEADER in folder.metadata:
            with_header.append(folder.path)
        if folder.messages:
            with_messages.append(folder.path)
    above = _above(top) if b"" in with_header or os.path.basename(top) == b"user" else top
    inside = top[len(above) :].lstrip(b"/")
    with_header, with_messages = ([_join(inside, path) for path in paths] for paths in (with_header, with_messages))
    found = (_INSIDE.search(path) for path in (*with_header, *with_messages))
    roots = sorted({one.string[: one.start()] for one in found if one}, key=len, reverse=True)
    messages: dict[bytes, list[bytes]] = {}
    for path in with_messages:
        root = _root(path, roots)
        messages.setdefault(_below(path, root), []).append(root)
    for path in with_header:
        root = _root(path, roots)
        below = _below(path, root)
        # Its own directory first, if there are messages in it.
        data = sorted(messages.get(below, [root]), key=lambda one: one != root)
        home, first, last = (_join(above, one) for one in (root, data[0], data[-1]))
        partition = Partition("", first, home, _METADATA, last, {})
        yield located_at(partition, below, None)


def _folders(root: bytes, unreadable: Unreadable, reporter: Reporter) -> Iterator[Folder]:
    messages = 0
    for number, folder in enumerate(walk(root), 1):
        messages += len(folder.messages)
        reporter.scan(number, messages)
        if folder.problem:
            unreadable(f"{path_text(_join(root, folder.path))}: {os.strerror(folder.problem)}")
        else:
            yield folder


def _above(top: bytes) -> bytes:
    """Return the root that a mailbox's directory, or one above it, is below of, as far as its path tells."""
    found = list(_INSIDE.finditer(top + b"/"))
    return top[: found[-1].start()] if found and found[-1].start() else os.path.dirname(top)


def _join(above: bytes, below: bytes) -> bytes:
    return os.path.join(above, below) if below else above


def _root(path: bytes, roots: list[bytes]) -> bytes:
    """Return the innermost of the roots that a path is below of, b"" for none."""
    return next((one for one in roots if path.startswith(one + b"/")), b"")


def _below(path: bytes, root: bytes) -> bytes:
    return path[len(root) :].lstrip(b"/")


def located_at(partition: Partition, path: bytes, hashed: bool | None) -> Located:
    """Return a mailbox by its path below the root; whether there are letters in it may be not known (None)."""
    header_path, index_path = (
        os.path.join(partition.root_of(word), path, b"cyrus." + word.encode()) for word in ("header", "index")
    )
    mailbox = mailbox_at(path, partition.name, _header(header_path), hashed)
    files = MetaFiles(header_path, index_path, os.path.join(os.path.dirname(index_path), entry.EXPUNGE))
    data, meta, archive = (os.path.join(root, path) for root in (partition.data, partition.meta, partition.archive))
    return Located(mailbox, data, meta, archive, files)


def mailbox_at(path: bytes, partition: str, known: header.Header | None, hashed: bool | None) -> Mailbox:
    """Return what is known of a mailbox by its path below the root, and its cyrus.header."""
    return Mailbox(
        name=_name(path, known, hashed),
        partition=partition,
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


def _name(path: bytes, known: header.Header | None, hashed: bool | None) -> bytes:
    """Return the name by the path, which a header keeps the old one of when Cyrus renames its directory."""
    ways = [True, False] if hashed is None else [hashed]
    by_path = [name for way in ways if (name := layout.name_of_legacy(path, way))]
    by_header = known.name if known else None
    if by_header in by_path or not by_path:
        return by_header or path.replace(b"/", b".")
    return by_path[0]


def _header(path: bytes) -> header.Header | None:
    try:
        return header.read(regular_file.read(path, header.READ_SIZE << 8))
    except (OSError, header.HeaderError):
        return None
