"""The receiver of a stream of mailboxes."""

from __future__ import annotations

from typing import Protocol

from cyrsync.far.folder import Entry
from cyrsync.far.frames import Part, Target
from cyrsync.far.grown import Cache


class Sink(Protocol):
    """Receives a stream of mailboxes: see `Encoder`, which sends it on, and `Receiver`, which writes it."""

    def part(self, part: Part) -> None:
        """Begin a part of the present mailbox."""

    def message(self, uid: int, entry: Entry, data: bytes) -> None:
        """Receive a message file of that part, or its first piece."""

    def link(self, uid: int, entry: Entry, target: Target) -> None:
        """Link a message file of that part to the name under which it exists already."""

    def file(self, name: bytes, entry: Entry, data: bytes) -> None:
        """Receive another file, or its first piece, or a symbolic link."""

    def tail(self, name: bytes, entry: Entry, old: Cache, data: bytes) -> None:
        """Receive what a cache has grown by, or the first piece of that."""

    def more(self, data: bytes) -> None:
        """Receive the next piece of a file."""

    def commit(self) -> None:
        """Install the mailbox."""

    def abandon(self) -> None:
        """Leave everything of the mailbox as it was."""
