"""Source and replica of a run, opened: where each is, and what is there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from cyrsync.ends.address import Address
from cyrsync.ends.connections import Connections
from cyrsync.ends.link import DEFAULT_PATIENCE, Patience
from cyrsync.ends.tree import Other, Status, Tree
from cyrsync.errors import UnusableError, UsageError
from cyrsync.far.folder import Folder, owner_names
from cyrsync.far.walk import Reader


class TreePair:
    """The source and the replica of a run. Use as a context manager."""

    def __init__(
        self,
        source: Address,
        replica: Address | None,
        rsh: str | None,
        connection: tuple[str, ...],
        directory: Path,
        hold: Callable[[Tree], bool] | None = None,
        patience: Patience = DEFAULT_PATIENCE,
    ) -> None:
        """Without a replica, everything is taken for missing there.

        `connection` are rsync's words to reach a daemon; `directory` is for this run alone. `hold` locks the replica
        before it is looked at, and returns whether it could.
        """
        if replica and not source.local and not replica.local:
            raise UsageError("source and destination cannot both be remote")
        self.source_address = source
        self.replica_address = replica
        self.held = False  # whether nobody else can write to the replica
        self._hold = hold
        far = source if not source.local else replica
        self._connections = Connections(far, rsh, connection, directory, patience)
        self.shell = self._connections.shell

    def __enter__(self) -> TreePair:
        try:
            if self.replica_address:
                self.replica = self._connections.open(self.replica_address, is_replica=True)
            self.source = self._connections.open(self.source_address, is_replica=False)
            self.source_status = self._check_source()
            self.hold()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._connections.close()

    def hold(self) -> None:
        """Hold the replica, and look at its root."""
        if self._hold:
            self.held = self._hold(self.replica)
        self.replica_status = self._check_replica(self.replica_address)

    def folders(self, users: frozenset[str], below: bytes = b"") -> tuple[Iterator[Folder], Iterator[Folder]]:
        """Return the streams of both sides' folders, or of those `below` a directory, which may be a link."""
        source_root, replica_root = self.roots(below)
        if not self.replica_status.exists:
            return self.source.walk(source_root, users), iter(())
        if self.source.wants_other:
            theirs = list(self.replica.walk(replica_root, users))
            return self.source.walk(source_root, users, Other(replica_root, theirs)), iter(theirs)
        if self.replica.wants_other:
            ours = list(self.source.walk(source_root, users))
            return iter(ours), self.replica.walk(replica_root, users, Other(source_root, ours))
        # The replica's agent is asked first: it reads while the source is being read.
        replica = self.replica.walk(replica_root, users)
        return self.source.walk(source_root, users), replica

    def roots(self, below: bytes = b"") -> tuple[bytes, bytes]:
        """Return where both sides are, or have a directory `below`."""
        roots = (self.source_status.root, self.replica_status.root)
        return (os.path.join(roots[0], below), os.path.join(roots[1], below)) if below else roots

    def names_of_owner(self) -> set[str]:
        """Return the names of the source's owner, who owns most files; none for a source on another host."""
        if not self.source_address.local:
            return set()
        root = self.source_status.root
        return owner_names(Reader(root).entry(os.stat(root)).owner)

    def _check_source(self) -> Status:
        status = self.source.resolve(self.source_address.path)
        if not status.exists:
            raise UnusableError(f"{self.source_address.text}: no such directory: is the partition mounted?")
        if not status.directory:
            raise UnusableError(f"{self.source_address.text}: not a directory")
        return status

    def _check_replica(self, address: Address | None) -> Status:
        if address is None:
            return Status(b"", exists=False, directory=False, parent=False)
        text = address.text
        status = self.replica.resolve(address.path)
        if status.exists and not status.directory:
            raise UnusableError(f"{text}: not a directory")
        if not status.exists and not status.parent:
            raise UnusableError(f"{text}: neither it nor the directory above it exists: make that first")
        if self.source_address.local and address.local:
            ours, theirs = self.source_status.root.rstrip(b"/") + b"/", status.root.rstrip(b"/") + b"/"
            if ours.startswith(theirs) or theirs.startswith(ours):
                raise UnusableError(f"{text}: one of source and destination lies inside the other")
        return status
