"""The walk engine: two streams of folders in, a stream of plans out. No knowledge is kept between runs."""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator

from cyrsync.far.folder import Folder, join, sort_key
from cyrsync.rsync.filters import Rules
from cyrsync.spool import compare
from cyrsync.spool.by_index import Doubtful, doubtful
from cyrsync.sync.folder_plan import FolderPlan, State
from cyrsync.sync.policy import Policy

#: What is below a folder of such a state is not known.
UNKNOWN = (State.UNREADABLE, State.VANISHED)


def pair(source: Iterator[Folder], replica: Iterator[Folder]) -> Iterator[tuple[Folder | None, Folder | None]]:
    """Yield the folders of both sides side by side; both streams are in order of `sort_key`."""
    left, right = next(source, None), next(replica, None)
    while left or right:
        left_key = sort_key(left.path) if left else None
        right_key = sort_key(right.path) if right else None
        if right_key is None or (left_key is not None and left_key < right_key):
            yield left, None
            left = next(source, None)
        elif left_key is None or right_key < left_key:
            yield None, right
            right = next(replica, None)
        else:
            yield left, right
            left, right = next(source, None), next(replica, None)


class WalkEngine:
    """Makes plans, and remembers what no single plan knows."""

    def __init__(
        self, policy: Policy, *, doubtful: frozenset[bytes] | None = frozenset(), under_locks: bool = True
    ) -> None:
        """In folders that are `doubtful`, None for all, names prove nothing: rsync compares what both sides have.

        `under_locks`: folders are read so before they are sent, and both their indexes are asked then.
        """
        self.policy = policy
        self._doubtful = doubtful
        self._under_locks = under_locks
        #: The folders whose indexes are to be asked.
        self.doubtful: list[Doubtful] = []
        #: Whether the source has a file where the replica has a folder: rsync needs --force for it.
        self.in_the_way = False
        #: Names of owners that files of the replica do not have, though the source's have; see `Tree.numbers`.
        self.names_in_doubt: set[str] = set()
        #: The symbolic links of the source, by path.
        self.links: list[bytes] = []
        self._above: list[Folder] = []  # the source's folders that lead to the present one
        self._sparing: list[bytes] = []  # folders of the replica alone, with something in them that is left out

    def plans(self, source: Iterator[Folder], replica: Iterator[Folder]) -> Iterator[FolderPlan]:
        """Yield a plan for every folder of either side; below an unknown one no deletion is planned."""
        unknown: bytes | None = None
        gone: bytes | None = None
        rules = self.policy.rules
        unseen: bytes | None = None  # a folder of the replica that cannot be listed: what is below is not known, either
        pairs = pair(source, replica)
        for ours, theirs in _wanted(pairs, rules) if rules else pairs:
            if theirs is not None and theirs.problem == errno.ENOENT:
                theirs = None  # it has vanished meanwhile
            problem = theirs.problem if theirs is not None and theirs.problem != errno.ENOTDIR else 0
            unseen = theirs.path if theirs is not None and problem else unseen
            if problem or (ours is not None and not ours.problem and _is_below(ours.path, unseen)):
                folder = ours or theirs
                assert folder
                if ours is not None:
                    self._remember(ours)
                yield FolderPlan(folder.path, State.UNSEEN, problem=problem, messages_seen=len(folder.messages))
            elif ours is not None:
                if theirs is not None and not self.policy.preserve.numeric_ids:
                    self.names_in_doubt |= compare.names_in_doubt(ours, theirs)
                doubted = theirs is not None and (self._doubtful is None or theirs.path in self._doubtful)
                plan = compare.compare(ours, theirs, self.policy, doubted=doubted)
                asked = None if self._under_locks else doubtful(compare.without(ours, rules), plan, self.policy)
                self.doubtful += [asked] if asked else []
                unknown = ours.path if plan.state in UNKNOWN else unknown
                self._remember(ours)
                yield plan
            elif theirs is not None and not _is_below(theirs.path, unknown):
                left = compare.without(theirs, rules)
                if left != theirs:
                    self._sparing.append(theirs.path)
                plan = compare.gone(left)
                if not _is_below(theirs.path, gone):
                    gone = theirs.path
                    self.in_the_way = self.in_the_way or self._has_file_at(theirs.path)
                else:
                    plan.inside_gone = True
                yield plan

    def spare(self, plans: list[FolderPlan]) -> Iterator[FolderPlan]:
        """Keep what is left out, where folders are gone: yield the plans that do not delete their folders any more."""
        staying = {path[:end] for path in self._sparing for end in _ends(path)}
        gone = {plan.path for plan in plans if plan.state is State.GONE} - staying
        for plan in plans if staying else ():
            if plan.state is State.GONE:
                plan.spares = plan.path in staying
                plan.inside_gone = plan.path.rpartition(b"/")[0] in gone
                if plan.spares:
                    yield plan

    def _remember(self, folder: Folder) -> None:
        self.links += links_in(folder)
        while self._above and not _is_below(folder.path, self._above[-1].path):
            self._above.pop()
        self._above.append(folder)

    def _has_file_at(self, path: bytes) -> bool:
        """Return whether the source has a file where the replica has this folder."""
        parent, _, name = path.rpartition(b"/")
        above = next((folder for folder in reversed(self._above) if folder.path == parent), None)
        return above is not None and (name in above.metadata or name in above.other_files or name in above.messages)


def _wanted(
    pairs: Iterator[tuple[Folder | None, Folder | None]], rules: Rules
) -> Iterator[tuple[Folder | None, Folder | None]]:
    """Yield the pairs that no rule leaves out."""
    for ours, theirs in pairs:
        folder = ours or theirs
        if not (folder and rules.excludes_directory(folder.path)):
            yield ours, theirs


def _ends(path: bytes) -> list[int]:
    """Return where the paths end that lead to this one, itself among them."""
    return [at for at, byte in enumerate(path) if byte == ord("/")] + [len(path)]


def links_in(folder: Folder) -> list[bytes]:
    """Return the paths of the symbolic links in a folder."""
    return [join(folder.path, name) for name, found in folder.other_files.items() if found and stat.S_ISLNK(found.mode)]


def _is_below(path: bytes, top: bytes | None) -> bool:
    """Return whether `path` is `top` or below it."""
    return top is not None and (not top or path == top or path.startswith(top + b"/"))
