"""Where a replica's directories were at the last run: no link is followed that leads elsewhere now.

At the first run, no link of somebody else's is followed: rsync 3.5.0 refuses those, and is given a path without links.
"""

from __future__ import annotations

import os
from pathlib import Path

from cyrsync.ends.address import Address
from cyrsync.ends.tree import Status
from cyrsync.errors import DoubtfulError, UnusableError
from cyrsync.text import path_text


def name_of(address: Address, path: bytes) -> str:
    """Return what the record calls a directory of a replica, which is at `path`, before links are resolved."""
    if address.host is None:
        return os.fsdecode(os.path.abspath(path))
    return f"{address.host.rpartition('@')[2]}:{os.fsdecode(path.rstrip(b'/'))}"


def check(state: Path, name: str, status: Status, *, anew: bool) -> None:
    """Raise DoubtfulError for a directory that is another than at the last run, and has no owner file, unless `anew`.

    Whoever owns the directory above it could lead us, as root, to any other. So could who owns a link on the way there:
    raise UnusableError for that, if nothing is known of the last run.
    """
    if status.owner_file or anew:
        return
    from cyrsync.state import history  # SQLite is only loaded where there is no owner file

    try:
        before = history.root_of(state, name)
    except UnusableError:
        before = ""  # a run never depends on the record
    if status.others_link and not before:
        raise UnusableError(
            f"{name}: {path_text(status.others_link)} is a link that is neither root's nor yours, and its owner can "
            "lead it anywhere: name the directory itself, or let `cyrsync sync --full` accept the link"
        )
    now = os.fsdecode(status.root)
    if before not in ("", now):
        raise DoubtfulError(
            f"{name}: at the last run it was {before}, now it is {now}, which has no owner file: "
            "has somebody put a link there? `cyrsync sync --full` accepts it"
        )
