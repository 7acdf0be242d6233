"""Deleting on the replica: each name relative to a directory that was opened without following a symlink.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import errno
import json
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.cyrus import entry as kinds
from cyrsync.tree import uids as uid_sets
from cyrsync.tree.folder import join

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

#: In place of an errno: the file is hidden, and not ours to delete.
HIDDEN = 0
#: Below a root, for the time that renamed mailboxes are given their new places (see relink).
RENAMED = b".cyrsync-renamed"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class Removal(NamedTuple):
    """What goes from one folder that stays: files by name, and sub-folders with all that is in them."""

    path: bytes
    uids: "array[int]" = uid_sets.empty()
    files: "tuple[bytes, ...]" = ()
    folders: "tuple[bytes, ...]" = ()


def encode(removal: Removal) -> bytes:
    """Return a removal as one frame: a line of JSON, then the UIDs' steps."""
    size, steps = uid_sets.pack(removal.uids)
    record = [
        removal.path.decode("latin-1"),
        [size, len(steps)],
        [name.decode("latin-1") for name in removal.files],
        [name.decode("latin-1") for name in removal.folders],
    ]
    return json.dumps(record).encode("ascii") + b"\n" + steps


def decode(stream: "BinaryIO") -> "Iterator[Removal]":
    """Yield the removals in a stream, up to a line with `null`."""
    for line in stream:
        record = json.loads(line.decode("ascii"))
        if record is None:
            return
        path, packed, files, folders = record
        yield Removal(
            path.encode("latin-1"),
            uid_sets.unpack(packed[0], stream.read(packed[1])),
            tuple([name.encode("latin-1") for name in files]),
            tuple([name.encode("latin-1") for name in folders]),
        )


def _rank(name: bytes) -> int:
    """Put the index first, then what belongs to it: no index is left whose messages are gone."""
    return 0 if name == kinds.INDEX else 1 if name in kinds.BOUND else 2


class Remover:
    """Removes below one root and keeps count.

    With `keep_times`, a folder has the time afterwards that it had before: the source's, as rsync set it.
    It stops between two folders when nobody wants it any more.
    """

    def __init__(self, root: bytes, keep_times: bool, wanted: "Callable[[], bool]") -> None:
        self.root = root
        self.keep_times = keep_times
        self.wanted = wanted
        self.files = 0
        self.folders = 0
        self.failed = []  # type: list[tuple[bytes, int]]

    def remove(self, removals: "Iterable[Removal]") -> None:
        """Do what each removal says. What is gone already is well; what fails is noted with its errno.

        Nothing more is removed in a folder then: an index that stays must keep its messages.
        """
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
                files = sorted(removal.files, key=_rank)
                last = [name for name in files if name not in kinds.BOUND]
                names = files[: len(files) - len(last)] + uid_sets.file_names(removal.uids) + last
                if all(self._unlink(folder, name, join(removal.path, name)) for name in names):
                    for name in removal.folders:
                        self._remove_tree(folder, name, join(removal.path, name), before.st_dev)
                if self.keep_times:
                    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
            except OSError as error:
                self.failed.append((removal.path, error.errno or errno.EIO))
            finally:
                os.close(folder)

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
        """Remove a file, and tell whether none of this name is left; a directory is named as a failure, and no file."""
        try:
            os.unlink(name, dir_fd=folder)
            self.files += 1
        except FileNotFoundError:
            pass
        except OSError as error:
            self._fail(path, error)
            return error.errno == errno.EISDIR
        return True

    def _remove_tree(self, parent: int, name: bytes, path: bytes, device: int) -> bool:
        """Remove a folder that the source has no more, and tell whether it is gone.

        Hidden files in it are nobody's to delete: it stays for them.
        """
        try:
            folder = os.open(name, _DIRECTORY, dir_fd=parent)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return True
            return self._fail(path, error)
        try:
            if os.fstat(folder).st_dev != device:
                return self._fail(path, OSError(errno.EXDEV, ""))
            names = sorted(map(os.fsencode, os.listdir(folder)), key=_rank)
            gone = [self._remove_entry(folder, name, path, device) for name in names]
        except _Stopped:
            return False
        except OSError as error:
            return self._fail(path, error)
        finally:
            os.close(folder)
        if not all(gone):
            return False  # what is left in it has been told of
        try:
            os.rmdir(name, dir_fd=parent)
        except OSError as error:
            return self._fail(path, error)
        self.folders += 1
        return True

    def _fail(self, path: bytes, error: OSError) -> bool:
        self.failed.append((path, error.errno or errno.EIO))
        return False

    def _remove_entry(self, folder: int, name: bytes, path: bytes, device: int) -> bool:
        if name.startswith(b".") and not kinds.is_leftover(name):
            self.failed.append((join(path, name), HIDDEN))
            return False
        try:
            os.unlink(name, dir_fd=folder)
            self.files += 1
        except FileNotFoundError:
            pass
        except OSError as error:
            if _is_directory(folder, name, error):
                return self._remove_tree(folder, name, join(path, name), device)
            self._fail(join(path, name), error)
            raise _Stopped() from None
        return True


class _Stopped(Exception):
    """A file cannot be removed: what else is in its folder stays."""


def _is_directory(folder: int, name: bytes, error: OSError) -> bool:
    """Tell whether unlinking failed because of a directory; EPERM says that on some systems, and of other things."""
    if error.errno != errno.EPERM:
        return error.errno == errno.EISDIR
    try:
        return stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode)
    except OSError:
        return False
