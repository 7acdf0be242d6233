"""Metadata of one moment, in a tree beside the spool that rsync takes it from: directories and files look the same."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from cyrsync.tree.folder import Entry
from cyrsync.tree.place import owner_here
from cyrsync.tree.take import Taken


class Staging:
    """A directory of this run's own, with copies in the places that their originals have below their root."""

    def __init__(self, directory: Path, numeric_ids: bool = False) -> None:
        """With `numeric_ids`, owners keep their numbers where a name means another number here."""
        self.directory = directory
        self._numeric_ids = numeric_ids
        self._directories: dict[bytes, Entry] = {}

    def add(self, taken: Taken) -> None:
        """Write a folder's metadata. OSError where there is no room."""
        self.make(taken.above)
        for file in taken.files:
            place = os.path.join(self.place(taken.folder.path), file.name)
            descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "wb") as stream:
                stream.write(file.data)
            self.dress(place, file.entry)

    def make(self, directories: Iterable[tuple[bytes, Entry]]) -> None:
        """Make directories, each below the ones before it; they get their attributes in the end."""
        for path, entry in directories:
            if path not in self._directories:
                os.makedirs(self.place(path), mode=0o700, exist_ok=True)
            self._directories[path] = entry

    def finish(self) -> None:
        """Give the directories the attributes of their originals, which files put into them have changed."""
        for path in sorted(self._directories, reverse=True):
            self.dress(self.place(path), self._directories[path])
        self._directories.clear()

    def clear(self) -> None:
        """Make room for the next folders."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self._directories.clear()

    def place(self, path: bytes) -> bytes:
        """Return where the copy of a path below the root is."""
        return os.path.join(os.fsencode(self.directory), path)

    def dress(self, place: bytes, entry: Entry) -> None:
        """Give a copy the attributes of its original."""
        if os.geteuid() == 0:
            os.chown(place, *owner_here(entry.owner, self._numeric_ids), follow_symlinks=False)
        if not stat.S_ISLNK(entry.mode):
            os.chmod(place, stat.S_IMODE(entry.mode) | 0o400)
        os.utime(place, ns=(entry.mtime, entry.mtime), follow_symlinks=False)
