"""The state made from what the replica has: at the first run, with --full, and if the state is about something else."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable
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
from cyrsync.sync.policy import Policy
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
    for name, roots in partitions.items():
        reader = Reader(roots.data)
        policy = policy_there(session.options.policy, replica, reader)
        same = SameThere(roots, policy, reader, kinds.DERIVED if policy.skip_derived else frozenset())

        def look(
            root: bytes,
            folder: Folder,
            name: str = name,
            policy: Policy = policy,
            reader: Reader = reader,
            same: SameThere = same,
        ) -> Provenance:
            key = Key(name, folder.path)
            location = store.locations.get(key) if store.locations.has(key) else None
            trust = ownership.look(location, root, folder)
            if trust is Provenance.PROVEN and location and is_another_owners(location, folder, policy, reader):
                return Provenance.DOUBTED
            if trust is Provenance.PROVEN and location and not doubted:
                same.add(location, store.row(key))
            return trust

        unlisted: dict[bytes, int] = {}

        def note(root: bytes, folder: Folder, unlisted: dict[bytes, int] = unlisted, same: SameThere = same) -> None:
            there.folders += 1
            there.messages += len(folder.messages)
            session.progress.scan(there.folders, there.messages)
            same.note(root, folder)
            if folder.problem and folder.problem not in ABSENT:
                unlisted[folder.path] = folder.problem
            if folder.leftovers:
                plan = FolderPlan(folder.path, State.CHANGED, leftovers=folder.leftovers)
                there.leftovers.setdefault(root, []).append(plan)

        left = {key.path for key in store.left() if key.partition == name}
        rows += _rows_there(roots, replica, look, note, part, left)
        there.same.update(same.found())
        for path, number in unlisted.items():
            there.unlisted.add(Key(name, path))
            reason = f"it cannot be listed on the replica: {os.strerror(number)}: it stays as it is there"
            session.result.errors.append(f"{path_text(path) or name}: {reason}")
    ownership.foreign_writes.refuse_newer()
    # What is known of folders that could not be listed stays; of the others, nothing else than what they have.
    kept = [row for row in store.all_rows() if row.key in there.unlisted]
    store.begin_anew([*there.unlisted.without(rows), *kept])
    if part:
        part.remember()
    return there


def _rows_there(
    roots: Roots,
    replica: Replica,
    look: Callable[[bytes, Folder], Provenance],
    note: Callable[[bytes, Folder], None],
    part: PartThere | None,
    left: Container[bytes],
) -> Iterable[MailboxRow]:
    """Return what the replica has of a partition, or of the part of it that the run is for; see `rebuild`."""
    if part and not part.may_have(roots.name):
        return []
    where = (roots, replica.tree, {root: replica.root(root) for root in roots.all()})
    if part:
        return part.settle(roots, [*rebuild(*where, look, note, part.accepts(roots.name), left)])
    return rebuild(*where, look, note, left=left)
