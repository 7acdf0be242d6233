"""The state made from what the replica has: at the first run, with --full, and if the state is about something else."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far.folder import Folder
from cyrsync.far.walk import Reader
from cyrsync.server.absence import ABSENT
from cyrsync.server.doubt import is_another_owners
from cyrsync.server.ownership import Ownership
from cyrsync.server.part_there import PartThere
from cyrsync.server.rebuild import Provenance, rebuild
from cyrsync.server.replica import Replica
from cyrsync.server.roots import Roots
from cyrsync.server.same_there import SameThere, policy_there
from cyrsync.server.unlisted import UnlistedFolders
from cyrsync.state.mailbox_row import Key, MailboxRow
from cyrsync.state.store import Store
from cyrsync.sync.folder_plan import FolderPlan, State
from cyrsync.sync.session import Session
from cyrsync.text import path_text


@dataclass(slots=True)
class FullComparison:
    """What was found out about the replica."""

    unlisted: UnlistedFolders = field(default_factory=UnlistedFolders)
    leftovers: dict[bytes, list[FolderPlan]] = field(default_factory=dict)  # old ones, by root
    #: Mailboxes whose metadata is the same there, with how header and index here were then: see `SameThere`.
    same: dict[Key, bytes] = field(default_factory=dict)
    folders: int = 0
    messages: int = 0


def compare_in_full(
    session: Session,
    partitions: dict[str, Roots],
    store: Store,
    replica: Replica,
    ownership: Ownership,
    part: PartThere | None,
    *,
    doubted: bool,
) -> FullComparison:
    """Make the state from what the replica has, or of that the part that the run is for.

    What is known of the rest stays. The caller decides whether the state is complete. If it is `doubted` that the state
    describes what is there, nothing counts as the same.
    """
    there = FullComparison()
    rows: list[MailboxRow] = []
    for roots in partitions.values():
        rows += _Partition(session, roots, store, replica, ownership, there, doubted=doubted).compare(part)
    ownership.foreign_writes.refuse_newer()
    # What is known of folders that could not be listed stays; of the others, nothing else than what they have.
    kept = [row for row in store.all_rows() if row.key in there.unlisted]
    store.begin_anew([*there.unlisted.without(rows), *kept])
    if part:
        part.remember()
    return there


class _Partition:
    """The comparison of one partition."""

    def __init__(
        self,
        session: Session,
        roots: Roots,
        store: Store,
        replica: Replica,
        ownership: Ownership,
        there: FullComparison,
        *,
        doubted: bool,
    ) -> None:
        """What is found out is added to what is known to be `there`."""
        self._progress = session.progress
        self._errors = session.result.errors
        self._roots = roots
        self._store = store
        self._replica = replica
        self._ownership = ownership
        self._there = there
        self._doubted = doubted
        self._reader = Reader(roots.data)
        self._policy = policy_there(session.options.policy, replica, self._reader)
        left_out = kinds.DERIVED if self._policy.skip_derived else frozenset[bytes]()
        self._same = SameThere(roots, self._policy, self._reader, left_out)

    def compare(self, part: PartThere | None) -> list[MailboxRow]:
        """Return what the replica has of the partition, or of the part of it that the run is for; see `rebuild`."""
        rows: list[MailboxRow] = []
        name = self._roots.name
        left = {key.path for key in self._store.left() if key.partition == name}
        where = (self._roots, self._replica.tree, {root: self._replica.root(root) for root in self._roots.all()})
        if part is None:
            rows = [*rebuild(*where, self._look, self._note, left=left)]
        elif part.may_have(name):
            found = rebuild(*where, self._look, self._note, part.accepts(name), left)
            rows = [*part.settle(self._roots, [*found])]
        self._there.same.update(self._same.found())
        return rows

    def _look(self, root: bytes, folder: Folder) -> Provenance:
        """Return how far a mailbox with an index is trusted."""
        key = Key(self._roots.name, folder.path)
        location = self._store.locations.get(key) if self._store.locations.has(key) else None
        trust = self._ownership.look(location, root, folder)
        if trust is Provenance.PROVEN and location:
            if is_another_owners(location, folder, self._policy, self._reader):
                return Provenance.DOUBTED
            if not self._doubted:
                self._same.add(location, self._store.row(key))
        return trust

    def _note(self, root: bytes, folder: Folder) -> None:
        """Note a folder that was listed, or could not be."""
        there = self._there
        there.folders += 1
        there.messages += len(folder.messages)
        self._progress.scan(there.folders, there.messages)
        self._same.note(root, folder)
        if folder.problem and folder.problem not in ABSENT:
            there.unlisted.add(Key(self._roots.name, folder.path))
            reason = f"it cannot be listed on the replica: {os.strerror(folder.problem)}: it stays as it is there"
            error = f"{path_text(folder.path) or self._roots.name}: {reason}"
            self._errors += [] if error in self._errors else [error]
        if folder.leftovers:
            plan = FolderPlan(folder.path, State.CHANGED, leftovers=folder.leftovers)
            there.leftovers.setdefault(root, []).append(plan)
