"""Whether somebody else has written to a replica: a Cyrus that was started on it, or another server's run.

Its indexes show it: only a Cyrus makes them newer than what was sent.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox.index import READ_SIZE, highest_modseq
from cyrsync.ends.tree import OVERWRITE
from cyrsync.errors import RefusedError
from cyrsync.far.folder import Folder
from cyrsync.far.walk import incarnation_in, start_of
from cyrsync.server.rebuild import Provenance
from cyrsync.server.replica import Replica
from cyrsync.server.roots import Roots
from cyrsync.state.mailbox_row import Key, Location
from cyrsync.text import path_text

_SECOND = 1_000_000_000  # nanoseconds
#: Indexes that the far end is asked for at once.
_HEADS = 10_000


class ForeignWrites:
    """Compares the indexes of a replica with what was sent, and with the source's."""

    def __init__(self, replica: Replica, partitions: dict[str, Roots], *, times: bool, overwrite: bool) -> None:
        """Without `times`, times on the replica are not compared; with `overwrite`, nothing is refused."""
        self._replica = replica
        self._partitions = partitions
        self._times = times
        self._overwrite = overwrite
        self._differing: list[tuple[bytes, bytes, int]] = []  # indexes here and there, with the time of the latter
        #: Mailboxes whose index on the replica cannot be seen: its path, and the errno.
        self.unseen: dict[Key, tuple[bytes, int]] = {}

    def drift(self, expected: Iterable[tuple[Key, int, int]]) -> str:
        """Return an index that is gone or older than what was sent, "" for none; raise RefusedError for a newer one."""
        if not self._times or self._overwrite:
            return ""
        rows = [row for row in expected if row[0].partition in self._partitions]
        roots = {name: self._replica.root(one.homes[kinds.INDEX]) for name, one in self._partitions.items()}
        paths = [os.path.join(roots[key.partition], key.path, kinds.INDEX) for key, _, _ in rows]
        reason = ""
        for path, (key, size, mtime), now in zip(paths, rows, self._replica.tree.stat(paths), strict=True):
            if isinstance(now, int):
                self.unseen[key] = (path, now)
            elif now is None:
                reason = reason or f"{path_text(path)}: it is gone"
            elif is_newer(now[1], mtime):
                raise RefusedError(_written_there(path, now[1]))
            elif now[0] != size or is_newer(mtime, now[1]):
                reason = reason or f"{path_text(path)}: it is older than what was sent"
        return reason

    def look(
        self, location: Location | None, root: bytes, folder: Folder, *, is_ours: bool, is_cut_off: bool
    ) -> Provenance:
        """Return how far to trust a mailbox on the replica that the state does not have; `root` is the replica's.

        If the replica `is_ours`, no other server has sent there; if it `is_cut_off`, by a power cut, names prove
        nothing.
        Raise RefusedError if it has given more UIDs than the source: two servers that were both at work give the same
        UIDs to different messages. `refuse_newer` compares the rest afterwards.
        """
        there = folder.metadata.get(kinds.INDEX)
        if location is None or there is None:
            return Provenance.PROVEN  # of no mailbox of the source: it is deleted, or sent whole
        proven = Provenance.DOUBTED if is_cut_off else Provenance.PROVEN
        try:
            here = os.stat(location.index_path)
        except OSError:
            return proven
        if (here.st_size, here.st_mtime_ns) == (there.size, there.mtime):
            return proven
        if self._overwrite:
            return Provenance.FOREIGN
        ours, path = (
            incarnation_in(location.header_path, location.index_path),
            os.path.join(root, folder.path, kinds.INDEX),
        )
        if ours and folder.incarnation and ours.same_as(folder.incarnation):
            if folder.incarnation.last_uid > ours.last_uid:
                raise RefusedError(_written_there(path, there.mtime))
            self._differing.append((location.index_path, path, there.mtime))
            if self._times and is_newer(there.mtime, here.st_mtime_ns):
                return Provenance.DOUBTED  # somebody's clock was wrong, or somebody wrote there
        # Nobody but we have written where there is an owner file of ours.
        return proven if is_ours else Provenance.DOUBTED

    def refuse_newer(self) -> None:
        """Raise RefusedError if an index on the replica has a change that the source's lacks, whatever clocks say."""
        for start in range(0, len(self._differing), _HEADS):
            some = self._differing[start : start + _HEADS]
            heads = self._replica.tree.heads([path for _, path, _ in some])
            for (here, path, mtime), there in zip(some, heads, strict=True):
                if highest_modseq(there) > highest_modseq(start_of(here, READ_SIZE)):
                    raise RefusedError(_written_there(path, mtime))


def is_newer(one: int, other: int) -> bool:
    """Compare times in nanoseconds; one of them may be cut to whole seconds."""
    if one % _SECOND and other % _SECOND:
        return one > other
    return one // _SECOND > other // _SECOND


def _written_there(path: bytes, mtime: int) -> str:
    when = datetime.fromtimestamp(mtime / _SECOND).isoformat(" ", "seconds")
    return f"{path_text(path)}: written at {when}, and not by cyrsync: was Cyrus started there? {OVERWRITE}"
