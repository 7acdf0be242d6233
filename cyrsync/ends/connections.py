"""The way to either side: a process of our own, a remote shell with one connection for all, a daemon."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from cyrsync.ends import bundle
from cyrsync.ends.address import Address
from cyrsync.ends.agent_tree import AgentTree
from cyrsync.ends.child_tree import ChildTree
from cyrsync.ends.link import DEFAULT_PATIENCE, Link, Patience
from cyrsync.ends.shell import HAS_POSIX, HAS_PYTHON, RemoteShell, agent_command
from cyrsync.ends.tree import NearTree, Tree

#: A socket's path has room for 108 bytes, of which ssh wants some for itself while it connects.
_SOCKET_ROOM = 80
#: What ssh would make something else of, where it reads an option with a path in it.
_SPECIAL = re.compile(rb"[^A-Za-z0-9/._,@:=+-]")


class Connections:
    """What was opened, to be closed together."""

    def __init__(
        self,
        far: Address | None,
        rsh: str | None,
        connection: tuple[str, ...],
        directory: Path,
        patience: Patience = DEFAULT_PATIENCE,
    ) -> None:
        """`connection` are rsync's words to reach a daemon; `directory` is for this run alone."""
        self._patience = patience
        self._connection = connection
        self._directory = directory
        self._socket_directory: str | None = None
        self._trees: list[Tree] = []
        self.shell: RemoteShell | None = None
        if far and far.host is not None and not far.daemon:
            self.shell = RemoteShell(far.host, rsh, self._room_for_socket())

    def open(self, address: Address, *, is_replica: bool) -> Tree:
        """Return the side at an address."""
        tree = self._choose(address, is_replica=is_replica)
        self._trees.append(tree)
        return tree

    def close(self) -> None:
        """Close all."""
        for tree in self._trees:
            tree.close()
        if self._socket_directory:
            shutil.rmtree(self._socket_directory, ignore_errors=True)

    def _choose(self, address: Address, *, is_replica: bool) -> Tree:
        if address.daemon:
            from cyrsync.ends.daemon_tree import DaemonTree  # what few runs need is not loaded by all

            return DaemonTree(address, self._connection, self._directory, self._patience.silence)
        if address.local:
            return ChildTree() if is_replica else NearTree()
        assert self.shell and address.host
        opened = _open_far(self.shell, address.host, self._patience)
        if isinstance(opened, AgentTree):
            return opened
        from cyrsync.ends.posix_tree import PosixTree

        return PosixTree(opened)

    def _room_for_socket(self) -> Path:
        path = os.fsencode(self._directory)
        if len(path) <= _SOCKET_ROOM and not _SPECIAL.search(path):
            return self._directory
        self._socket_directory = tempfile.mkdtemp(prefix="cyrsync-", dir="/tmp")
        return Path(self._socket_directory)


def _open_far(shell: RemoteShell, host: str, patience: Patience) -> AgentTree | Link:
    """Start an agent at the far end; where there is no python3, return the link to the shell that answered.

    Raise NoAgentError where another command is run than was sent.
    """
    link = Link(shell.words(agent_command(bundle.BOOTSTRAP), first=True), host, patience.silence)
    try:
        answer = link.first_answer((HAS_PYTHON, HAS_POSIX), patience.answer, shell.is_logged_in)
    except BaseException:
        link.close()
        raise
    if answer == HAS_POSIX:
        return link
    link.send(bundle.program())
    return AgentTree(lambda: link, compressed=True)
