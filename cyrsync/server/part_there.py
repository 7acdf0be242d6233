"""Which folders on the replica belong to the part of a run, when the state is made anew from them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox import header
from cyrsync.far.folder import Folder
from cyrsync.server.replica import Replica
from cyrsync.server.roots import Roots
from cyrsync.server.selection import Selection
from cyrsync.state.location_table import MailboxName
from cyrsync.state.mailbox_row import Key, MailboxRow
from cyrsync.state.store import Store


class PartThere:
    """Goes by the names that are known, and asks the replica's headers for others."""

    def __init__(self, selection: Selection, store: Store, replica: Replica) -> None:
        self._selection = selection
        self._store = store
        self._replica = replica
        self._names = {one.key: one.name for one in store.locations.names()}
        self._found: list[MailboxName] = []

    def may_have(self, partition: str) -> bool:
        """Tell whether anything of a partition may belong to the part."""
        return self._selection.part.may_have(partition)

    def accepts(self, partition: str) -> Callable[[Folder], bool]:
        """Return what tells whether a folder of a partition, or what is below it, may belong to the part."""

        def may_belong(folder: Folder) -> bool:
            name = self._names.get(Key(partition, folder.path))
            return self._selection.may_have(partition, folder.path, name)

        return may_belong

    def settle(self, roots: Roots, rows: Iterable[MailboxRow]) -> Iterator[MailboxRow]:
        """Yield those mailboxes of a partition that belong to the part."""
        for row in rows:
            name = self._names.get(row.key)
            if not self._selection.is_known(row.key.path, name):
                name = self._name_there(roots, row)
                if name is None:
                    continue  # nobody knows whose it is: a run for all finds it gone
                self._found.append(MailboxName(row.key, name, is_live=False))
            if self._selection.has(*row.key, name):
                yield row

    def remember(self) -> None:
        """Keep the names that only the replica knew."""
        self._store.locations.remember(self._found)
        self._selection.learn(self._store.locations.names())

    def _name_there(self, roots: Roots, row: MailboxRow) -> bytes | None:
        root = self._replica.root(roots.homes[kinds.HEADER])
        try:
            return header.read(self._replica.agent.read(os.path.join(root, row.key.path, kinds.HEADER))).name
        except (OSError, header.HeaderError):
            return None
