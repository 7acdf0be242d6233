"""Files beside the partitions of which a full comparison finds that the replica has them as they are here.

Of these it stays known what was sent: whether that is what they have now, the look at the source tells.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby

from cyrsync.far.folder import Entry, Folder
from cyrsync.far.walk import Reader
from cyrsync.server.replica import Replica
from cyrsync.server.same_there import policy_there
from cyrsync.spool.compare import unchanged
from cyrsync.state.conf_table import ConfRow
from cyrsync.sync.policy import Policy


def same_there(
    rows: Iterable[ConfRow], replica: Replica, policy: Policy, is_link: Callable[[bytes], bool]
) -> Iterator[ConfRow]:
    """Yield those of the rows whose files are there with the size, time, owner and mode that they have here.

    The directories that they are in must have owner and mode, too. A path that `is_link` is followed.
    """
    known = sorted((row for row in rows if row.digest), key=lambda row: row.root)
    for root, some in groupby(known, key=lambda row: row.root):
        reader = Reader(root)
        yield from _below(root, list(some), replica, reader, policy_there(policy, replica, reader), is_link)


def _below(
    root: bytes, rows: list[ConfRow], replica: Replica, reader: Reader, policy: Policy, is_link: Callable[[bytes], bool]
) -> Iterator[ConfRow]:
    by_directory: dict[bytes, list[ConfRow]] = {}
    for row in rows:
        by_directory.setdefault(os.path.dirname(row.path[len(root) + 1 :]), []).append(row)
    directories = sorted({above for path in by_directory for above in _leading_to(path)})
    differing: set[bytes] = set()
    for folder in replica.tree.look(replica.root(root), directories):
        here = _entry(reader, os.path.join(root, folder.path), follow=True)
        if not _is_same_directory(here, folder, policy) or not differing.isdisjoint(_leading_to(folder.path)):
            differing.add(folder.path)
            continue
        for row in by_directory.get(folder.path, ()):
            there = {**folder.metadata, **folder.other_files}.get(os.path.basename(row.path))
            if unchanged(_entry(reader, row.path, follow=is_link(row.path)), there, policy):
                yield row


def _leading_to(path: bytes) -> list[bytes]:
    """Return the directories from the root down to a path, itself the last."""
    parts = path.split(b"/") if path else []
    return [b"/".join(parts[:depth]) for depth in range(len(parts) + 1)]


def _is_same_directory(here: Entry | None, folder: Folder, policy: Policy) -> bool:
    """Compare owner and mode: others than those who are looked for here make files there, too."""
    there = folder.attributes
    return here is not None and there is not None and unchanged(here._replace(mtime=there.mtime), there, policy)


def _entry(reader: Reader, path: bytes, *, follow: bool) -> Entry | None:
    try:
        status = os.stat(path, follow_symlinks=follow)
        target = os.readlink(path).decode("latin-1") if os.path.islink(path) and not follow else ""
    except OSError:
        return None
    return reader.entry(status, target)
