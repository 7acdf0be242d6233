"""Folders of the replica that could not be listed: what mailboxes have there is unknown, and stays as it is."""

from __future__ import annotations

from collections.abc import Iterable

from cyrsync.state.mailbox_row import Key, MailboxRow


class UnlistedFolders:
    """A set of folders, and of all that is below them."""

    def __init__(self) -> None:
        self._folders: list[Key] = []

    def add(self, folder: Key) -> None:
        """Add a folder; the path "" is a whole partition's."""
        self._folders.append(folder)

    def __bool__(self) -> bool:
        return bool(self._folders)

    def __contains__(self, key: Key) -> bool:
        return any(
            key.partition == partition and (not path or (key.path + b"/").startswith(path + b"/"))
            for partition, path in self._folders
        )

    def without(self, rows: Iterable[MailboxRow]) -> list[MailboxRow]:
        """Return the rows of other mailboxes."""
        return [row for row in rows if row.key not in self]
