"""Which files beside the partitions a replica has: looked up there, if no state knows it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from cyrsync.cyrus.server.conf_files import ConfFiles, is_scratch, is_shared
from cyrsync.far import uids as uid_sets
from cyrsync.far.folder import Folder
from cyrsync.server.absence import ABSENT
from cyrsync.server.replica import Replica
from cyrsync.server.selection import Selection


@dataclass(slots=True)
class FilesThere:
    """The files of a replica."""

    files: list[tuple[bytes, bytes]] = field(default_factory=list)  # whole path on the source, and the root above it
    unseen: dict[bytes, int] = field(default_factory=dict)  # what could not be listed there, with the errno


def files_there(files: ConfFiles, replica: Replica, selection: Selection | None) -> FilesThere:
    """Return what a replica has of the `files` of a server, or of the part of it that is selected."""
    look = _Look(files, replica, selection)
    whole = ((os.path.join(root, path), root) for root, path in [*look.listed(), *look.named()])
    kept = [(path, root) for path, root in whole if look.is_ours(path) and not is_scratch(path)]
    return FilesThere(kept, look.unseen)


class _Look:
    """One look at a replica."""

    def __init__(self, files: ConfFiles, replica: Replica, selection: Selection | None) -> None:
        self._files = files
        self._replica = replica
        self._selection = selection
        self.unseen: dict[bytes, int] = {}

    def is_ours(self, path: bytes) -> bool:
        """Tell whether a file belongs to the part that the run is for."""
        return self._selection is None or self._selection.has_file(self._files.owner(path))

    def _may_be_ours(self, directory: bytes) -> bool:
        """Tell whether a directory, or something below it, may belong to the part that the run is for."""
        return self.is_ours(directory) or self._files.owner(directory) is None

    def listed(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield root and path of what the replica's directories have; those that cannot be listed are `unseen`."""
        for root, path in self._files.trees():
            there = os.path.join(self._replica.root(root), path)
            for folder in self._replica.tree.walk(there, frozenset()):
                if folder.problem not in (0, *ABSENT) and self._may_be_ours(os.path.join(root, path, folder.path)):
                    self.unseen[os.path.join(there, folder.path)] = folder.problem
                yield from ((root, os.path.join(path, folder.path, name)) for name in _names(folder))
        if self._selection:
            return
        for home in self._files.homes():
            for folder in self._replica.tree.look(self._replica.root(home), [b""]):
                if folder.problem not in (0, *ABSENT):
                    self.unseen[self._replica.root(home)] = folder.problem
                yield from ((home, name) for name in folder.other_files if is_shared(name))

    def named(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield root and path of the files with names of their own that the replica has."""
        named = [os.path.split(name) for name in self._files.named() if self.is_ours(name)]
        looks = self._replica.tree.stat([os.path.join(self._replica.root(root), name) for root, name in named])
        for (root, name), look in zip(named, looks, strict=True):
            if isinstance(look, int):
                self.unseen[os.path.join(self._replica.root(root), name)] = look
            elif look:
                yield root, name


def _names(folder: Folder) -> list[bytes]:
    """Return the names of all files in a directory, whatever they would be among mail."""
    return [
        *folder.other_files,
        *folder.metadata,
        *uid_sets.file_names(folder.messages.uids),
        *folder.messages.nonstandard,
    ]
