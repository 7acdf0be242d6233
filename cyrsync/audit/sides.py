"""The audit of a tree wherever it is, alone or beside its replica."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cyrsync.audit.compare import compare
from cyrsync.audit.finding import Audited
from cyrsync.errors import UnusableError
from cyrsync.plan.compare import Policy
from cyrsync.tree import direction
from cyrsync.tree.address import Address
from cyrsync.tree.both import BothSides


@contextmanager
def audits(
    source: Address, replica: Address | None, content: bool, rsh: str | None, warnings: list[str]
) -> Iterator[Iterator[Audited]]:
    """Give what is found in a tree, or between a source and its replica, folder by folder.

    To `warnings` is added what tells that source and replica are swapped.
    """
    with (
        tempfile.TemporaryDirectory(prefix="cyrsync-") as directory,
        BothSides(source, replica, rsh, (), Path(directory)) as sides,
    ):
        if replica is None:
            yield sides.source.audit(sides.source_status.root, content)
            return
        if not sides.replica_status.exists:
            raise UnusableError(f"{replica.text}: no such directory")
        cyrus = direction.cyrus_on(sides.replica, [sides.replica_status.root])
        warnings += filter(None, (direction.replica_at(sides.source_status), *cyrus))
        numbers = sides.replica.numbers(sides.names_of_owner())
        policy = Policy(rights=sides.replica.rights, numbers=numbers, whole_seconds=source.daemon or replica.daemon)
        yield compare(*sides.folders(frozenset()), policy)
