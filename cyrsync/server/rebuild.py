"""The state made anew from the replica itself: if there is none yet, if it is lost, or if it is in doubt."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from enum import Enum

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.ends.tree import Tree
from cyrsync.far import uids as uid_sets
from cyrsync.far.folder import Folder
from cyrsync.server.roots import Roots
from cyrsync.state.mailbox_row import Key, MailboxRow


class Provenance(Enum):
    """How far a mailbox on the replica is trusted, whoever put it there."""

    #: The messages that its index names are the source's.
    PROVEN = "proven"
    #: It is the source's mailbox, but another server may have put mail of its own into it.
    DOUBTED = "doubted"
    #: Another server has.
    FOREIGN = "foreign"


def rebuild(
    roots: Roots,
    tree: Tree,
    replica_roots: dict[bytes, bytes],
    look: Callable[[bytes, Folder], Provenance] = lambda *_: Provenance.PROVEN,
    note: Callable[[bytes, Folder], None] = lambda *_: None,
    accepts: Callable[[Folder], bool] = lambda _: True,
    left: Container[bytes] = (),
) -> Iterator[MailboxRow]:
    """Yield the rows of what the replica has of a partition; `replica_roots` by those of the source.

    Every folder that the run `accepts` is shown to `note`, with the source's root: of what is in and below one that
    cannot be listed nothing is known, whatever is yielded.

    All of it is unseen: every mailbox will be looked into. What has an index is shown to `look`, with the root: that
    says what is known of its messages. Directories that are `left` of mailboxes that are no more count as theirs,
    though nothing may be in them: a run that was killed while it deleted one has left its directory.
    """
    found: dict[bytes, MailboxRow] = {}
    last_uids: dict[bytes, int] = {}
    proven: set[bytes] = set()
    for root in roots.all():
        for folder in tree.walk(replica_roots[root], frozenset()):
            if not accepts(folder):
                continue
            note(root, folder)
            if folder.is_cyrus() or folder.metadata or (folder.path in left and not folder.problem):
                row = found.setdefault(folder.path, MailboxRow(Key(roots.name, folder.path)))
                if folder.incarnation and root == roots.homes[kinds.INDEX]:
                    trust = look(replica_roots[root], folder)
                    last_uids[folder.path] = 0
                    if trust is Provenance.PROVEN:
                        proven.add(folder.path)
                        last_uids[folder.path] = folder.incarnation.last_uid
                    if trust is not Provenance.FOREIGN:
                        row.uniqueid, row.uidvalidity = folder.incarnation[:2]
                add(row, folder, root, roots, last_uids.get(folder.path, uid_sets.MAX_UID))
    for path, row in found.items():
        if path in proven and row.maybe:
            # A run that died before the index has sent them, or they are left of another mailbox that was here: then
            # one of them might pass for the message that has its UID now.
            row.uniqueid, row.uidvalidity = "", 0
        yield row


def add(row: MailboxRow, folder: Folder, root: bytes, roots: Roots, last_uid: int) -> None:
    """Add what a folder below a root of the source has on the replica; messages above the last UID are unproven."""
    row.names = tuple(sorted({*row.names, *folder.metadata}))
    uids = folder.messages.uids
    if root == roots.data:
        # What lies beyond the index there was sent by a run that died before the index: it is not proven.
        row.uids = uid_sets.up_to(uids, last_uid)
        row.maybe = uid_sets.union(row.maybe, uid_sets.above(uids, last_uid))
    elif root == roots.archive:
        row.archived = uid_sets.up_to(uids, last_uid)
        row.maybe = uid_sets.union(row.maybe, uid_sets.above(uids, last_uid))
