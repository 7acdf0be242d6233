"""What was being sent when the replica's host lost its power: there, names prove nothing. All else is as it was left.

The state has the key of a mailbox before anything is written to it, and keeps it until the disks are synced. The state
is right about a mailbox's identity only if that is older than the last sync of the disks: of a mailbox that was made
again, files of the former one may be back.
"""

from __future__ import annotations

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far.folder import Folder
from cyrsync.server.absence import ABSENT
from cyrsync.server.rebuild import add
from cyrsync.server.replica import Replica
from cyrsync.server.roots import Roots
from cyrsync.state.mailbox_row import Key, MailboxRow
from cyrsync.state.store import Store
from cyrsync.state.unsynced_table import UnsyncedMailbox


def rows_there(store: Store, replica: Replica, partitions: dict[str, Roots]) -> list[MailboxRow] | None:
    """Return what the replica has of the mailboxes that were under way, all of it unproven; None for no answer."""
    found: dict[Key, MailboxRow] = {}
    unsynced = {one.key: one for one in store.unsynced.mailboxes()}
    if any(key.partition not in partitions for key in unsynced):
        return None
    for name, roots in partitions.items():
        paths = sorted(key.path for key in unsynced if key.partition == name)
        for root in roots.all() if paths else ():
            for folder in replica.tree.look(replica.root(root), paths):
                if folder.problem in ABSENT:
                    continue
                if folder.problem:
                    return None
                if folder.is_cyrus() or folder.metadata:
                    key = Key(name, folder.path)
                    row = found.setdefault(key, MailboxRow(key))
                    add(row, folder, root, roots, last_uid=0)
                    if root == roots.homes[kinds.INDEX]:
                        row.uniqueid, row.uidvalidity = _identity(unsynced[key], store.row(key), folder)
    return list(found.values())


def _identity(unsynced: UnsyncedMailbox, row: MailboxRow | None, folder: Folder) -> tuple[str, int]:
    """Return the identity of the mailbox with these files, "" and 0 if unknown."""
    unknown = ("", 0)
    if row is None or (row.uniqueid, row.uidvalidity) != unsynced[1:]:
        return unknown
    if folder.incarnation and folder.incarnation[:2] != unsynced[1:]:
        return unknown
    return unsynced[1:]
