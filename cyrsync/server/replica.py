"""The replica of a whole server: below a prefix, each of the source's directories under its own path."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from cyrsync.ends.address import Address
from cyrsync.ends.agent_side import AgentSide
from cyrsync.ends.connections import Connections
from cyrsync.ends.shell import RemoteShell
from cyrsync.ends.side import Status
from cyrsync.errors import UnusableError, UsageError
from cyrsync.rsync import features
from cyrsync.rsync.driver import Ends, Rsync
from cyrsync.rsync.jobs import Jobs
from cyrsync.sync.options import Options


def _making(address: Address) -> str:
    """Return the command that makes the directory, as a line for the shell."""
    command = shlex.join(["mkdir", "-p", os.fsdecode(address.path)])
    return command if address.local else shlex.join(["ssh", address.host or "", command])


class Replica:
    """Opened when something is first asked of it: a run that finds nothing never is at the far end."""

    def __init__(self, address: Address, options: Options, jobs: Jobs, directory: Path, top: bytes = b"") -> None:
        """`address` stands for the source's directory `top`: / unless told otherwise."""
        if address.daemon:
            raise UsageError(f"{address.text}: an rsync daemon cannot be asked what it has: give SRC and DEST for it")
        self.address = address
        self._top = top
        self.numeric_ids = options.policy.preserve.numeric_ids
        self._options = options
        self._jobs = jobs
        self._directory = directory
        self._connections: Connections | None = None
        self._resolved: dict[bytes, bytes] = {}
        self._rsyncs: dict[bytes, Rsync] = {}

    @cached_property
    def agent(self) -> AgentSide:
        """The agent on the replica, whether there is anything or not. Raise UsageError where none is to be had."""
        options = self._options
        self._connections = Connections(
            *(self.address, options.rsh, options.connection, self._directory), options.patience
        )
        side = self._connections.open(self.address, is_replica=True)
        if not isinstance(side, AgentSide):
            raise UsageError(f"{self.address.text}: -C needs python3 there: give SRC and DEST for it")
        return side

    @cached_property
    def side(self) -> AgentSide:
        """The agent on a replica that is there. Raise UnusableError where it is not."""
        if not self.agent.resolve(self.address.path).directory:
            raise UnusableError(
                f"{self.address.text}: no such directory: is its disk mounted? "
                f"For a first copy make it: {_making(self.address)}"
            )
        return self.agent

    @property
    def shell(self) -> RemoteShell | None:
        """The remote shell that leads to the agent; None before one was asked for, or where there is none."""
        return self._connections.shell if self._connections else None

    def close(self) -> None:
        """Let go of processes and connections."""
        if self._connections:
            self._connections.close()

    def status(self, source: bytes) -> Status:
        """Return what stands where a directory of the source has its replica."""
        return self.side.resolve(self.path(source))

    def path(self, source: bytes) -> bytes:
        """Return where something of the source has its replica."""
        return self.address.path.rstrip(b"/") + source.removeprefix(self._top)

    def root(self, source: bytes, *, make: bool = False) -> bytes:
        """Return where a directory of the source has its replica, links resolved; with `make`, it is made."""
        if source not in self._resolved:
            path = self.path(source)
            if make:
                self.side.make(path)
            status = self.side.resolve(path)
            if self.address.local and os.path.realpath(source) == status.root:
                raise UnusableError(f"{self.address.text}: that is the server itself: {os.fsdecode(source)}")
            if make and not status.directory:
                raise UnusableError(f"{os.fsdecode(path)}: not a directory")
            if not make:
                return status.root
            self._resolved[source] = status.root
        return self._resolved[source]

    def rsync(self, source: bytes) -> Rsync:
        """Return what transfers to the replica of one of the source's directories."""
        if source not in self._rsyncs:
            root = self.root(source, make=True)
            shell = self.shell
            ends = Ends(
                source=os.fsdecode(source.rstrip(b"/") + b"/"),
                destination=replace(self.address, path=root).for_rsync(root),
                roots=(os.path.realpath(source), root, source),
                rsh=shell.for_rsync() if shell else None,
                silence=self._options.patience.silence if shell else 0.0,
            )
            words = self._options.words_of_job()
            self._rsyncs[source] = Rsync(ends, self._features, words, self._directory, verbatim=False, jobs=self._jobs)
        return self._rsyncs[source]

    def try_words(self) -> None:
        """See that rsync accepts the words that the user gave. Raise RsyncFailed or ConnectionFailed if not."""
        if self._options.trial:
            where = self.address.for_rsync(self.side.resolve(self.address.path).root)
            rsh = self.shell.for_rsync() if self.shell else None
            silence = self._options.patience.silence if rsh else 0.0
            ends = Ends(source=f"{self._directory}/", destination=where, roots=(), rsh=rsh, silence=silence)
            rsync = Rsync(ends, self._features, (), self._directory, verbatim=False)
            rsync.try_words(self._options.trial)

    def runs(self) -> int:
        """Return how often rsync was run."""
        return sum(rsync.runs for rsync in self._rsyncs.values())

    @cached_property
    def _features(self) -> features.Features:
        known = features.near()
        if self.shell:
            known &= features.far(self.shell.words, self._options.rsync_path, self._options.patience.silence)
        return known
