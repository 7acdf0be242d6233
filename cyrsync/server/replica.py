"""The replica of a whole server: each of the source's directories under its own path below a prefix, or mapped."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cyrsync.errors import UnusableError, UsageError
from cyrsync.far.store import STORE
from cyrsync.server.mapping import mapped
from cyrsync.server.throttle import Throttle, Throttled
from cyrsync.sync.options import History, Options

if TYPE_CHECKING:
    from cyrsync.ends.address import Address
    from cyrsync.ends.child_tree import ReplicaTree
    from cyrsync.ends.connections import Connections
    from cyrsync.ends.shell import RemoteShell
    from cyrsync.ends.sink import Sink
    from cyrsync.ends.tree import Status


def _making(address: Address) -> str:
    """Return the command that makes the directory, as a line for the shell."""
    command = shlex.join(["mkdir", "-p", os.fsdecode(address.path)])
    return command if address.local else shlex.join(["ssh", address.host or "", command])


class Replica:
    """Opened when it is first needed: a run that finds nothing does not connect."""

    def __init__(self, address: Address, options: Options, directory: Path) -> None:
        if address.daemon:
            raise UsageError(f"{address.text}: an rsync daemon cannot be asked what it has: give SRC and DEST for it")
        self.address = address
        self.maps = options.maps
        self.numeric_ids = options.policy.preserve.numeric_ids
        self._options = options
        rate = options.bwlimit.bytes if options.bwlimit else 0
        self._throttle = Throttle(rate) if rate else None
        self._directory = directory
        self._connections: Connections | None = None
        self._resolved: dict[bytes, bytes] = {}
        self._more: list[ReplicaTree] = []  # beside the first
        self._kept: dict[bytes, bytes] | None = None  # roots of which something is kept; None: nobody has looked

    def begin_stream(self, number: int = 0, *, much: bool) -> Sink:
        """Return what writes mailboxes there; its side is asked for nothing else until the stream has ended."""
        options = self._options
        aside = options.jobs == 1 and options.part.shard is None  # else others write there at the same time
        tree = self.stream_tree(number)
        sink = tree.begin_stream(
            numeric_ids=self.numeric_ids, aside=aside, much=much or number > 0, compressed=options.compress
        )
        return Throttled(sink, self._throttle) if self._throttle else sink

    def stream_tree(self, number: int) -> ReplicaTree:
        """Return the agent for a stream: the first one, or another one beside it."""
        while len(self._more) < number:
            self._more.append(self._open())
        return self._more[number - 1] if number else self.tree

    @cached_property
    def agent(self) -> ReplicaTree:
        """The agent for the replica, which need not exist. Raise UsageError if no agent is possible."""
        from cyrsync.ends.connections import Connections  # what a run that finds nothing does not need is not loaded

        options = self._options
        self._connections = Connections(
            *(self.address, options.rsh, options.connection, self._directory), options.patience
        )
        return self._open()

    def _open(self) -> ReplicaTree:
        from cyrsync.ends.child_tree import ReplicaTree

        assert self._connections
        tree = self._connections.open(self.address, is_replica=True)
        if not isinstance(tree, ReplicaTree):
            raise UsageError(f"{self.address.text}: -C needs python3 there: give SRC and DEST for it")
        self._have_kept(tree)
        return tree

    @cached_property
    def tree(self) -> ReplicaTree:
        """The agent for a replica that exists. Raise UnusableError if it does not."""
        if not self.agent.resolve(self.address.path).directory:
            raise UnusableError(
                f"{self.address.text}: no such directory: is its disk mounted? "
                f"For a first copy make it: {_making(self.address)}"
            )
        return self.agent

    def keep(self, homes: Mapping[bytes, bytes]) -> None:
        """Keep what is replaced or deleted from now on; `homes`, by root of the source, are those with the indexes.

        Once told, that holds as long as the connections are open. Where something was kept before, runs keep on that
        were not asked to: what is kept must have all its messages.
        """
        if self._kept is not None:
            return
        kept = {self.root(root): self.root(home) for root, home in homes.items()}
        stores = [os.path.join(root, STORE) for root in kept]
        is_kept = self._options.history or any(look is not None for look in self.tree.stat(stores))
        self._kept = kept if is_kept else {}
        for tree in (self.tree, *self._more):
            self._have_kept(tree)

    def _have_kept(self, tree: ReplicaTree) -> None:
        if self._kept:
            tree.keep(self._kept, (self._options.history or History()).spacing * 10**9)

    @property
    def is_kept(self) -> bool:
        """Tell whether what is replaced or deleted is kept: then deletions make no room."""
        return bool(self._kept)

    def pack(self) -> str:
        """Make what was kept smaller; return why that cannot be done, "" if it is."""
        return self.tree.pack() if self._kept else ""

    @property
    def shell(self) -> RemoteShell | None:
        """The remote shell that leads to the agent; None before one was asked for, or where there is none."""
        return self._connections.shell if self._connections else None

    def close(self) -> None:
        """Close processes and connections."""
        if self._connections:
            self._connections.close()

    def status(self, source: bytes) -> Status:
        """Return what is at the replica of a directory of the source."""
        return self.tree.resolve(self.path(source))

    def path(self, source: bytes) -> bytes:
        """Return the replica's path for a path of the source."""
        return mapped(self.maps, source) or self.address.path.rstrip(b"/") + source

    def root(self, source: bytes, *, make: bool = False) -> bytes:
        """Return the replica's path for a directory of the source, links resolved; with `make`, it is made."""
        if source not in self._resolved:
            path = self.path(source)
            if make:
                self.tree.make(path)
            status = self.tree.resolve(path)
            if make and not status.directory:
                raise UnusableError(f"{os.fsdecode(path)}: not a directory")
            if not make:
                return status.root
            self._resolved[source] = status.root
        return self._resolved[source]
