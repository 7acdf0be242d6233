"""Deleting on the replica: each name relative to a directory that was opened without following a symlink.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import errno
import json
import os
import stat
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far import descent, wire
from cyrsync.far import uids as uid_sets
from cyrsync.far.folder import join
from cyrsync.far.message_files import MessageFiles

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, BinaryIO, Optional

    from cyrsync.far.keeping import Guard


#: In place of an errno: the file is hidden, and not ours to delete.
HIDDEN = 0
#: Below a root, for the time that renamed mailboxes are given their new places (see relink).
RENAMED = b".cyrsync-renamed"
#: In one frame at the most: no line is to be longer than it may be.
_NAMES = 10_000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class Removal(NamedTuple):
    """What is deleted in one folder that stays: files by name, and sub-folders with all that is in them."""

    path: bytes
    uids: "array[int]" = uid_sets.empty()
    files: "tuple[bytes, ...]" = ()
    folders: "tuple[bytes, ...]" = ()


def encode(removal: Removal) -> bytes:
    """Return a removal as one frame, a line of JSON, then the UIDs' steps; as more where it has a great many names."""
    files = sorted(removal.files, key=_rank) if len(removal.files) > _NAMES else removal.files
    frames = []
    for start in range(0, max(len(files), len(removal.folders), 1), _NAMES):
        size, steps = uid_sets.pack(uid_sets.empty() if start else removal.uids)
        record = [
            removal.path.decode("latin-1"),
            [size, len(steps)],
            [name.decode("latin-1") for name in files[start : start + _NAMES]],
            [name.decode("latin-1") for name in removal.folders[start : start + _NAMES]],
        ]
        frames.append(json.dumps(record).encode("ascii") + b"\n" + steps)
    return b"".join(frames)


def decode(stream: "BinaryIO") -> "Iterator[Removal]":
    """Yield the removals in a stream, up to a line with `null`. Raise WireError, or EOFError when the stream ends."""
    record = wire.read_record(stream)
    while record is not None:
        yield _removal(record, stream)
        record = wire.read_record(stream)


@wire.one_error
def _removal(record: "Any", stream: "BinaryIO") -> Removal:
    path, (size, length), files, folders = record
    steps = wire.read_data(stream, length, wire.MAX_MESSAGES)
    return Removal(wire.path(path), uid_sets.unpack(size, steps), tuple(wire.names(files)), tuple(wire.names(folders)))


def _rank(name: bytes) -> int:
    """Put the index first, then what belongs to it: no index is left whose messages are gone."""
    return 0 if name == kinds.INDEX else 1 if name in kinds.SNAPSHOT else 2


class Remover:
    """Removes below one root and keeps count.

    With `keep_times`, a folder has the time afterwards that it had before: the source's, as rsync set it.
    It stops between two folders when nobody wants it any more. With `spare_hidden`, a folder stays for what is hidden
    in it.
    """

    def __init__(self, root: bytes, keep_times: bool, wanted: "Callable[[], bool]", spare_hidden: bool = True) -> None:
        self.root = root
        self.keep_times = keep_times
        self.wanted = wanted
        self.spare_hidden = spare_hidden
        #: The guard that keeps what is removed; None: nothing is kept.
        self.guard: "Optional[Guard]" = None
        self.files = 0
        self.folders = 0
        self.failed = []  # type: list[tuple[bytes, int]]

    def remove(self, removals: "Iterable[Removal]") -> None:
        """Execute each removal. What is gone already counts as removed; what fails is noted with its errno.

        Nothing more is removed in a folder then: an index that stays must keep its messages.
        """
        self._each(removals, self._remove)

    def remove_temporary(self, removals: "Iterable[Removal]") -> None:
        """Remove the temporary files of all that the removals name, and new metadata that was to be renamed."""
        self._each(removals, self._remove_temporary)

    def _each(self, removals: "Iterable[Removal]", work: "Callable[[Removal, int, int], None]") -> None:
        for removal in removals:
            if not self.wanted():
                return
            try:
                folder = self._open(removal.path)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                    self.failed.append((removal.path, error.errno or errno.EIO))
                continue
            try:
                before = os.fstat(folder)
                work(removal, folder, before.st_dev)
                if self.keep_times:
                    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
            except OSError as error:
                self.failed.append((removal.path, error.errno or errno.EIO))
            finally:
                os.close(folder)

    def _remove(self, removal: Removal, folder: int, device: int) -> None:
        files = sorted(removal.files, key=_rank)
        last = [name for name in files if name not in kinds.SNAPSHOT]
        # Numbers: the names of a million would take ten times as much memory.
        messages = (b"%d." % uid for uid in removal.uids)
        names = chain(files[: len(files) - len(last)], messages, last)
        if self.guard:
            self.guard.enter(folder, removal.path, files)
        if all(self._unlink(folder, name, removal.path) for name in names):
            for name in removal.folders:
                self._remove_tree(folder, name, join(removal.path, name), device)

    def _remove_temporary(self, removal: Removal, folder: int, device: int) -> None:
        files, messages = frozenset(removal.files), MessageFiles.of(removal.uids)
        for name in descent.names(folder):
            path = join(removal.path, name)
            if name == kinds.UPDATES:
                self._remove_tree(folder, name, path, device)
            elif any(one in files or one in messages for one in kinds.temporary_of(name)) and _is_file(folder, name):
                self._unlink(folder, name, removal.path)

    def _open(self, path: bytes) -> int:
        """Return a descriptor of the folder, reached from the root one component at a time."""
        current = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        for component in path.split(b"/") if path else []:
            try:
                below = os.open(component, _DIRECTORY, dir_fd=current)
            finally:
                os.close(current)
            current = below
        return current

    def _unlink(self, folder: int, name: bytes, path: bytes) -> bool:
        """Remove a file of a folder, and tell whether none of this name is left.

        A directory is named as a failure, and no file.
        """
        try:
            self._unlink_kept(folder, name, path)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._keep([], join(path, name), error.errno)
            return error.errno == errno.EISDIR
        return True

    def _unlink_kept(self, folder: int, name: bytes, path: bytes) -> None:
        if not (self.guard and self.guard.takes(folder, path, name)):
            os.unlink(name, dir_fd=folder)
        self.files += 1

    def _remove_tree(self, parent: int, name: bytes, path: bytes, device: int) -> None:
        """Remove a folder that the source has no more, however deep it is: one of its directories is open at a time.

        Hidden files in it are nobody's to delete: it stays for them.
        """
        levels = []  # type: list[_Level]
        directory = self._enter(parent, name, path, device, levels)
        try:
            while levels:
                if not levels[-1].names:
                    directory = self._leave(directory, parent, levels)
                    continue
                name = levels[-1].names.pop()
                path = join(levels[-1].path, name)
                if not self._remove_entry(directory, name, path, levels[-1]):
                    directory = self._enter(directory, name, path, device, levels)
        finally:
            if directory != parent:
                os.close(directory)

    def _enter(self, above: int, name: bytes, path: bytes, device: int, levels: "list[_Level]") -> int:
        """Go down into a directory, and return it; where that can't be, stay in the one above."""
        directory = above
        try:
            directory = os.open(name, _DIRECTORY, dir_fd=above)
            status = os.fstat(directory)
            if status.st_dev != device:
                raise OSError(errno.EXDEV, "")
            names = sorted(descent.names(directory), key=_rank, reverse=True)
        except OSError as error:
            if directory != above:
                os.close(directory)
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                self._keep(levels, path, error.errno)
            return above
        try:
            if self.guard:
                self.guard.enter(directory, path, names)
        except OSError as error:
            os.close(directory)
            self._keep(levels, path, error.errno)
            return above
        if levels:
            os.close(above)
        levels.append(_Level(name, path, names, (status.st_dev, status.st_ino)))
        return directory

    def _leave(self, directory: int, parent: int, levels: "list[_Level]") -> int:
        """Remove a directory with nothing more in it to remove, and return the one above it."""
        level = levels.pop()
        above = parent
        try:
            if levels:
                above = os.open(b"..", _DIRECTORY, dir_fd=directory)
                status = os.fstat(above)
                if (status.st_dev, status.st_ino) != levels[-1].identity:
                    os.close(above)
                    raise OSError(errno.ESTALE, "")  # somebody has moved it: what is above is not ours to delete in
        except OSError as error:
            self._keep(levels, level.path, error.errno)
            levels.clear()
            return directory
        os.close(directory)
        if level.kept:
            self._keep(levels)
        else:
            try:
                os.rmdir(level.name, dir_fd=above)
                self.folders += 1
            except OSError as error:
                self._keep(levels, level.path, error.errno)
        return above

    def _remove_entry(self, directory: int, name: bytes, path: bytes, level: "_Level") -> bool:
        """Remove what is no directory, or leave it; False for a directory."""
        if name.startswith(b".") and self.spare_hidden and not kinds.is_leftover(name):
            self._keep([level], path, HIDDEN)
            return True
        try:
            self._unlink_kept(directory, name, level.path)
        except FileNotFoundError:
            pass
        except OSError as error:
            if _is_directory(directory, name, error):
                return False
            self._keep([level], path, error.errno)
            level.names.clear()  # an index that stays must keep its messages
        return True

    def _keep(self, levels: "list[_Level]", path: "bytes | None" = None, number: "int | None" = None) -> None:
        """Keep a directory for something in it that stays; note what and why, if that is not noted yet."""
        if path is not None:
            self.failed.append((path, errno.EIO if number is None else number))
        if levels:
            levels[-1].kept = True


def _is_file(folder: int, name: bytes) -> bool:
    try:
        return stat.S_ISREG(os.lstat(name, dir_fd=folder).st_mode)
    except FileNotFoundError:
        return False


def _is_directory(folder: int, name: bytes, error: OSError) -> bool:
    """Tell whether unlinking failed because of a directory; EPERM says that on some systems, and of other things."""
    if error.errno != errno.EPERM:
        return error.errno == errno.EISDIR
    try:
        return stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode)
    except OSError:
        return False


class _Level:
    """A directory on the way down into a folder: what of it is still to be removed, and whether something stays."""

    def __init__(self, name: bytes, path: bytes, names: "list[bytes]", identity: "tuple[int, int]") -> None:
        self.name = name
        self.path = path
        self.names = names  # the last first
        self.identity = identity  # device and inode
        self.kept = False


def clear(root: bytes) -> None:
    """Remove the directory of renamed mailboxes that a killed run has left, and all that is in it, if it can be."""
    Remover(root, keep_times=False, wanted=lambda: True, spare_hidden=False).remove([Removal(b"", folders=(RENAMED,))])
