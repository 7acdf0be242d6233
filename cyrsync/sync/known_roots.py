"""Where a replica's directories were at the last run: one that a link leads elsewhere now is not followed."""

from __future__ import annotations

import os
from pathlib import Path

from cyrsync.ends.address import Address
from cyrsync.ends.tree import Status
from cyrsync.errors import DoubtfulError, UnusableError


def name_of(address: Address, path: bytes) -> str:
    """Return what the record calls a directory of a replica, which is at `path`, before links are resolved."""
    if address.host is None:
        return os.fsdecode(os.path.abspath(path))
    return f"{address.host.rpartition('@')[2]}:{os.fsdecode(path.rstrip(b'/'))}"


def check(state: Path, name: str, status: Status, *, anew: bool) -> None:
    """Raise DoubtfulError for a directory that is another than at the last run, and has no owner file, unless `anew`.

    Whoever owns the directory above it could lead us, as root, to any other.
    """
    if status.owner_file or anew:
        return
    from cyrsync.state import history  # SQLite is only loaded where there is no owner file

    try:
        before = history.root_of(state, name)
    except UnusableError:
        return  # a run never depends on the record
    now = os.fsdecode(status.root)
    if before not in ("", now):
        raise DoubtfulError(
            f"{name}: at the last run it was {before}, now it is {now}, which has no owner file: "
            "has somebody put a link there? `cyrsync sync --full` accepts it"
        )
