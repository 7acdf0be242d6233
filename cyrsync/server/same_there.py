"""Mailboxes of which a full comparison finds the metadata on the replica as it is here: it need not be sent again.

Size, time, owner and mode have to be the same, of the directories, too. That alone would be no proof: a file may have
changed twice within the grain of its time, and have been sent in between. So header and index must also be as they were
when they were sent, by what the state has of that: it has nothing of files that were read so soon after a change.
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far.folder import Entry, Folder, owner_names
from cyrsync.far.walk import Reader
from cyrsync.server.replica import Replica
from cyrsync.server.roots import Roots
from cyrsync.spool.compare import unchanged
from cyrsync.state.mailbox_row import UNSEEN, Key, Location, MailboxRow, seen_of
from cyrsync.sync.policy import Policy


class SameThere:
    """Those of one partition, found while the replica is listed."""

    def __init__(self, roots: Roots, policy: Policy, reader: Reader, left_out: frozenset[bytes]) -> None:
        """`policy` is for what is on the replica; metadata files that are `left_out` may differ."""
        self._roots = roots
        self._policy = policy
        self._reader = reader
        self._names: dict[bytes, set[bytes]] = {root: set() for root in roots.all()}
        for root, name in ((root, name) for name, root in roots.homes.items() if name not in left_out):
            self._names[root].add(name)
        if kinds.CACHE not in left_out:
            self._names[roots.archive_cache].add(kinds.CACHE)
        self._as_sent: dict[bytes, bytes] = {}  # by path, what the state has of header and index
        self._listed: set[tuple[bytes, bytes]] = set()  # roots and paths
        self._differing: set[bytes] = set()

    def note(self, root: bytes, folder: Folder) -> None:
        """Compare a folder of the replica with the one below this root of the source."""
        self._listed.add((root, folder.path))
        if folder.problem or not self._is_same(root, folder):
            self._differing.add(folder.path)

    def add(self, location: Location, row: MailboxRow | None) -> None:
        """Note a mailbox on the replica that is the source's, by its index; `row` is what the state has of it."""
        if row is None or row.seen == UNSEEN:
            return
        try:
            now = seen_of(os.stat(location.header_path), os.stat(location.index_path))
        except OSError:
            return  # whoever reads the mailbox will say why
        if now == row.seen:
            self._as_sent[location.key.path] = now

    def found(self) -> dict[Key, bytes]:
        """Return the mailboxes, when all is listed; each with how header and index were when they were compared."""
        return {
            Key(self._roots.name, path): seen
            for path, seen in self._as_sent.items()
            if path not in self._differing and not any(self._is_missing(root, path) for root in self._names)
        }

    def _is_missing(self, root: bytes, path: bytes) -> bool:
        """Return whether a mailbox has a directory here that was not listed on the replica."""
        return (root, path) not in self._listed and self._directory(root, path) is not None

    def _is_same(self, root: bytes, folder: Folder) -> bool:
        directory = self._directory(root, folder.path)
        if directory is None:
            return not self._names[root].intersection(folder.metadata)
        if not unchanged(directory, folder.attributes, self._policy):
            return False
        for name in self._names[root]:
            here, there = self._entry(os.path.join(root, folder.path, name)), folder.metadata.get(name)
            if here != there and not unchanged(here, there, self._policy):
                return False
        return True

    def _directory(self, root: bytes, path: bytes) -> Entry | None:
        """Return what is said of a directory of the source, which may lie behind a link; None for none."""
        found = self._entry(os.path.join(root, path), follow=True)
        return found if found and stat.S_ISDIR(found.mode) else None

    def _entry(self, path: bytes, *, follow: bool = False) -> Entry | None:
        try:
            return self._reader.entry(os.stat(path, follow_symlinks=follow))
        except OSError:
            return None


def policy_there(policy: Policy, replica: Replica, reader: Reader) -> Policy:
    """Return which differences matter, by the rights and the users on the replica's host."""
    try:
        names = owner_names(reader.entry(os.stat(reader.root)).owner)
    except OSError:
        names = set()
    return replace(policy, rights=replica.tree.rights, numbers=replica.tree.numbers(names))
