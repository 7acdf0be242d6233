"""What takes a stream of mailboxes."""

from __future__ import annotations

from typing import Protocol

from cyrsync.far.folder import Entry
from cyrsync.far.frames import Part, Target


class Sink(Protocol):
    """Takes a stream of mailboxes: see `Encoder`, which sends it on, and `Receiver`, which writes it."""

    def part(self, part: Part) -> None:
        """Begin a part of the present mailbox."""

    def message(self, uid: int, entry: Entry, data: bytes) -> None:
        """Take a message file of that part, or the first piece of it."""

    def link(self, uid: int, entry: Entry, target: Target) -> None:
        """Take a message file of that part that has another name, where it is a file already."""

    def file(self, name: bytes, entry: Entry, data: bytes) -> None:
        """Take another file, or the first piece of it, or a symbolic link."""

    def tail(self, name: bytes, entry: Entry, offset: int, data: bytes) -> None:
        """Take what a file has beyond so many bytes, which are there, or the first piece of it."""

    def more(self, data: bytes) -> None:
        """Take the next piece of a file."""

    def commit(self) -> None:
        """Give the mailbox its place."""

    def abandon(self) -> None:
        """Leave everything of the mailbox as it was."""
