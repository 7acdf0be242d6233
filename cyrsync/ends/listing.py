"""A tree that was listed in one piece, by a `find` or an rsync of a far end: checked as it arrives, then sorted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox.user import may_hold_user, user_of
from cyrsync.ends.tree_size import TreeSize
from cyrsync.far import wire
from cyrsync.far.folder import Entry, join
from cyrsync.far.wire import WireError

#: Bytes of a listing, and of one item or line of it: some fifty for each of 80 million messages; a path is 4 KiB.
MAX_BYTES, MAX_ITEM = 4 << 30, 1 << 16


@dataclass(slots=True)
class ListedFolder:
    """What a listing has of one folder. `others` are the entries that are no messages and no folders."""

    problem: int = 0
    attributes: Entry | None = None
    messages: bytearray = field(default_factory=bytearray)
    others: dict[bytes, Entry | None] = field(default_factory=dict)
    header: bytes = b""
    index: bytes = b""

    def add_message(self, name: bytes) -> None:
        """Add the name of a message file. Raise WireError if no directory has room for so many."""
        self.messages += name
        if len(self.messages) > wire.MAX_MESSAGES:
            raise WireError("more messages than a folder has")


class Listing:
    """Folders by path, each listed after the one that it is in, the root first."""

    def __init__(self) -> None:
        self.found: dict[bytes, ListedFolder] = {}
        self.size = TreeSize()

    def add_folder(self, path: bytes, found: ListedFolder) -> ListedFolder:
        """Add a folder. Raise WireError for one that is listed twice, or in no other folder."""
        self.size.add(path)
        wire.checked_path(path)
        if path in self.found or (path and path.rpartition(b"/")[0] not in self.found):
            raise WireError(f"a folder out of turn, or twice: {wire.shown(path)}")
        self.found[path] = found
        return found

    def folder(self, path: bytes) -> ListedFolder:
        """Return a folder that was listed. Raise WireError for any other."""
        found = self.found.get(path)
        if found is None:
            raise WireError(f"something in a folder that was not sent: {wire.shown(path)}")
        return found

    def in_order(self, users: frozenset[str]) -> Iterator[tuple[bytes, ListedFolder, tuple[bytes, ...]]]:
        """Yield path, contents and sub-folders in the order of a walk; with `users`, only those users' folders.

        What is below a folder with a problem is unknown. Raise WireError if not even the root is listed.
        """
        below: dict[bytes, list[bytes]] = {}
        for path in self.found:
            above, _, name = path.rpartition(b"/")
            if path and not kinds.is_left_alone(name, at_root=not above):
                below.setdefault(above, []).append(name)
        self.folder(b"")
        pending = [b""]
        while pending:
            path = pending.pop()
            found = self.found[path]
            names = () if found.problem else tuple(sorted(below.get(path, ())))
            pending += [join(path, name) for name in reversed(names)]
            if not users or (may_hold_user(path, users) if found.problem else user_of(path) in users):
                yield path, found, names
