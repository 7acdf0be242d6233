"""Metadata of one moment, in a tree beside the spool from which rsync sends it: directories and files look the same.

The tree's root looks like the spool's, and so is not ours. It therefore lies in a directory that is and stays ours
alone: nobody else can reach the tree, whoever owns what is in it. And all of it is opened by its name in the directory
above, and no link is followed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cyrsync.ends.own_directory import empty
from cyrsync.far.folder import Entry, sort_key
from cyrsync.far.locked_folder import LockedFolder
from cyrsync.far.owner import owner_here
from cyrsync.sync.extended import Extended

_TREE = b"tree"
_COPY = b"copy"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_OLD_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_EMPTIED = "it was emptied while in use: exclude it from RemoveIPC (logind.conf) and from cleaners of temporary files"


class Staging:
    """A directory of this run's own, with copies in the places that their originals have below their root."""

    def __init__(
        self, directory: Path, numeric_ids: bool = False, extended: Extended | None = None, name: bytes = b""
    ) -> None:
        """`directory` is made if need be. With `numeric_ids`, owners keep their numbers where a name means another.

        With `extended`, copies have the ACLs and extended attributes of their originals. `name` is the tree's.
        """
        self.directory = directory
        self._name = name or _TREE
        #: The tree from which rsync sends the copies.
        self.tree = directory / os.fsdecode(self._name)
        self._numeric_ids = numeric_ids
        self._extended = extended
        self._made: set[bytes] = set()
        self._undressed: dict[bytes, Entry] = {}  # directories
        self._opened: list[tuple[bytes, int]] = []  # our directory, and then the tree's down to the last one in use

    def add(self, locked_folder: LockedFolder) -> None:
        """Write a folder's metadata. OSError where there is no room."""
        if self._extended:
            self._extended.told.update(locked_folder.extended)
        self.make(locked_folder.above)
        for file in locked_folder.files:
            path = locked_folder.folder.path + b"/" + file.name if locked_folder.folder.path else file.name
            self.write(path, file.data, file.entry)

    def write(self, path: bytes, data: bytes, entry: Entry) -> None:
        """Write one file into a directory that was made."""
        with self._emptied_is_told():
            above, name = self._above(path)
            try:
                descriptor = os.open(name, _NEW_FILE, 0o600, dir_fd=above)
            except FileExistsError:  # it was read before
                os.unlink(name, dir_fd=above)
                descriptor = os.open(name, _NEW_FILE, 0o600, dir_fd=above)
        with open(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            self._dress(path, descriptor, entry)

    def begin_copy(self) -> bytes:
        """Return a path of ours to write a file to, which `install` moves into the tree."""
        self._open_ours()
        return os.path.join(os.fsencode(self.directory), _COPY)

    def copy_path(self) -> bytes:
        """Return where a copy is that was begun."""
        return os.path.join(os.fsencode(self.directory), _COPY)

    def install(self, path: bytes, entry: Entry) -> None:
        """Move what was written into a directory that was made."""
        with self._emptied_is_told():
            above, name = self._above(path)
            os.rename(_COPY, name, src_dir_fd=self._opened[0][1], dst_dir_fd=above)
        if stat.S_ISLNK(entry.mode):
            if os.geteuid() == 0:
                os.chown(name, *self._owner(entry), dir_fd=above, follow_symlinks=False)
            os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=above, follow_symlinks=False)
            return
        descriptor = os.open(name, _OLD_FILE, dir_fd=above)
        try:
            self._dress(path, descriptor, entry)
        finally:
            os.close(descriptor)

    def make(self, directories: Iterable[tuple[bytes, Entry]]) -> None:
        """Make directories, each below the ones before it; they get their attributes in the end."""
        for path, entry in directories:
            if path not in self._made:
                with self._emptied_is_told(), suppress(FileExistsError):
                    above, name = self._above(path) if path else (self._open_ours(), self._name)
                    os.mkdir(name, 0o700, dir_fd=above)
                self._made.add(path)
            self._undressed[path] = entry

    def finish(self) -> None:
        """Give the directories the attributes of their originals, which files put into them have changed."""
        with self._emptied_is_told():
            for path in sorted(self._undressed, key=sort_key, reverse=True):
                self._dress(path, self._open(path), self._undressed[path])
        self._undressed.clear()
        self._close()

    def clear(self) -> None:
        """Make room for the next folders."""
        self._close()
        self._undressed.clear()
        self._made.clear()
        if self._extended:
            self._extended.told.clear()
        if self.directory.exists():
            empty(self._open_ours())
            self._close()

    def _above(self, path: bytes) -> tuple[int, bytes]:
        """Return the directory that something is in, open, and its name there."""
        above, _, name = path.rpartition(b"/")
        return self._open(above), name

    def _open(self, path: bytes) -> int:
        """Return a directory of the tree, open as long as others below it are wanted."""
        if not self._opened:
            self._open_ours()
        while len(self._opened) > 1 and not _is_within(path, self._opened[-1][0]):
            os.close(self._opened.pop()[1])
        if len(self._opened) == 1:
            self._opened.append((b"", os.open(self._name, _DIRECTORY, dir_fd=self._opened[0][1])))
        last, descriptor = self._opened[-1]
        for name in path[len(last) :].strip(b"/").split(b"/") if path != last else ():
            descriptor = os.open(name, _DIRECTORY, dir_fd=descriptor)
            last = last + b"/" + name if last else name
            self._opened.append((last, descriptor))
        return descriptor

    def _open_ours(self) -> int:
        """Return our own directory, open. Raise PermissionError for one that is not ours alone."""
        if not self._opened:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.directory, _DIRECTORY)
            status = os.fstat(descriptor)
            if status.st_uid != os.geteuid() or status.st_mode & 0o077:
                os.close(descriptor)
                raise PermissionError(errno.EPERM, "it is not ours alone", os.fspath(self.directory))
            self._opened.append((b"", descriptor))
        return self._opened[0][1]

    @contextmanager
    def _emptied_is_told(self) -> Iterator[None]:
        """Say so where what was made is not there any more: that is not the source's doing."""
        try:
            yield
        except FileNotFoundError:
            raise OSError(errno.ESTALE, _EMPTIED, os.fspath(self.directory)) from None

    def _close(self) -> None:
        while self._opened:
            os.close(self._opened.pop()[1])

    def _owner(self, entry: Entry) -> tuple[int, int]:
        return owner_here(entry.owner, self._numeric_ids)

    def _dress(self, path: bytes, descriptor: int, entry: Entry) -> None:
        """Give an open copy the attributes of its original."""
        if self._extended:
            self._extended.give(path, descriptor, directory=stat.S_ISDIR(entry.mode))
        if os.geteuid() == 0:
            os.fchown(descriptor, *self._owner(entry))
        os.fchmod(descriptor, stat.S_IMODE(entry.mode) | 0o400)
        os.utime(descriptor, ns=(entry.mtime, entry.mtime))


def _is_within(path: bytes, top: bytes) -> bool:
    return not top or path == top or path.startswith(top + b"/")
