"""The audit of a whole server, as its imapd.conf and its mailboxes.db have it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from cyrsync.audit.finding import Audited, Problem
from cyrsync.audit.mailbox import Place, audit
from cyrsync.cyrus import header
from cyrsync.cyrus.config import Config
from cyrsync.cyrus.server import Located
from cyrsync.inspection import places
from cyrsync.tree.folder import Folder
from cyrsync.tree.message_files import MessageFiles
from cyrsync.tree.walk import walk


def audit_server(config: Config, content: bool) -> Iterator[Audited]:
    """Audit every mailbox, and tell of mailboxes without a directory and directories without a mailbox.

    The paths are absolute. Raise UnusableError where mailboxes.db cannot be read.
    """
    expected = _by_directory(config)
    strange: dict[bytes, Folder] = {}
    for root in sorted({partition.data for partition in config.partitions.values()}):
        for directory, folder in _folders(root):
            place = expected.pop(directory, None)
            if folder.problem:
                yield Audited(directory, problems=(Problem("unreadable", detail=os.strerror(folder.problem)),))
            elif place:
                yield _audit(place, folder.messages, content)
            elif folder.is_cyrus():
                strange[directory] = folder
    lost = {}
    for directory, place in expected.items():
        # With a metapartition, a mailbox without messages needs no directory for them.
        if place.data and os.path.isdir(os.path.dirname(place.files.index_path)):
            yield _audit(place, MessageFiles(), content)
        else:
            lost[directory] = place
    strange.update(_strange_elsewhere(config))
    if lost or strange:
        yield from _mismatches(config, lost, strange)


def _folders(root: bytes) -> Iterator[tuple[bytes, Folder]]:
    """Yield the folders below a root, by their whole paths."""
    for folder in walk(root):
        yield (os.path.join(root, folder.path) if folder.path else root), folder


def _strange_elsewhere(config: Config) -> dict[bytes, Folder]:
    """Return the folders on meta- and archive partitions that have something in them and are no mailbox's."""
    partitions = config.partitions.values()
    roots = {root for one in partitions for root in (one.meta, one.archive, *one.elsewhere.values())}
    known = {path for place in places(config) for path in _directories(place)}
    found = {}
    for root in sorted(roots - {one.data for one in partitions}):
        for directory, folder in _folders(root):
            if directory not in known and folder.is_cyrus():
                found[directory] = folder
    return found


def _directories(place: Located) -> set[bytes]:
    files = (place.files.header_path, place.files.index_path)
    return {place.data, place.meta, place.archive, *map(os.path.dirname, files)}


def _by_directory(config: Config) -> dict[bytes, Located]:
    """Return the mailboxes by their directories, those of an unknown partition by their names."""
    return {place.data or place.mailbox.name: place for place in places(config)}


def _audit(place: Located, listed: MessageFiles, content: bool) -> Audited:
    found = audit(Place(place.data, place.data, place.archive, place.files), listed, content)
    problem = _other_uniqueid(place)
    return found._replace(problems=(*found.problems, problem)) if problem else found


def _other_uniqueid(place: Located) -> Problem | None:
    """Tell of a header with another uniqueid than mailboxes.db has; up to 2.4 that has none."""
    try:
        with open(place.files.header_path, "rb") as stream:
            found = header.uniqueid(stream.read(header.READ_SIZE))
    except OSError:
        return None  # told of already
    known = place.mailbox.uniqueid
    return Problem("uniqueid", detail=f"{found} instead of {known}") if found and known and found != known else None


def _mismatches(config: Config, lost: dict[bytes, Located], strange: dict[bytes, Folder]) -> Iterator[Audited]:
    """Tell of what has no counterpart, unless mailboxes were made, renamed or deleted meanwhile."""
    now = _by_directory(config)
    for directory, place in lost.items():
        if directory in now and not os.path.isdir(place.data):
            lacks = "its directory" if place.data else f"partition {place.mailbox.partition} in imapd.conf"
            detail = f"{os.fsdecode(place.mailbox.name)} lacks {lacks}"
            yield Audited(directory, problems=(Problem("no directory", detail=detail),))
    owned = {path for place in now.values() for path in _directories(place)}
    for directory, folder in strange.items():
        if directory not in owned and os.path.isdir(directory):
            yield Audited(directory, files=len(folder.messages), problems=(Problem("no mailbox"),))
