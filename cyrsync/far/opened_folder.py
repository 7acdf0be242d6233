"""The directories from a root down to a folder, open: those that are not there are made.

The folder itself can be made aside, in the root's hidden directory, and be renamed into its place as a whole. No link
is followed below the root. A link or a file that stands where a directory has to be makes way.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from cyrsync.far.attributes import dress
from cyrsync.far.remove import RENAMED

if TYPE_CHECKING:
    from typing import Optional

    from cyrsync.far.folder import Entry
    from cyrsync.far.frames import Part

_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_DIRECTORY = _ROOT | os.O_NOFOLLOW
_TRIES = 20  # to make a directory in one that others remove when it is empty


class OpenedFolder:
    """A folder and the directories above it."""

    def __init__(self, part: "Part", numeric_ids: bool, aside: bool) -> None:
        """With `aside`, a folder that is not there is made in the hidden directory, if that can be. Raise OSError."""
        self._above = [path for path, _ in part.above]
        self._numeric_ids = numeric_ids
        self._opened = []  # type: list[tuple[int, Entry]]
        self._hidden = -1  # the hidden directory
        #: The name in it of a folder that was not there, b"" for one that is in its place.
        self.aside = b""
        try:
            self._open(part, aside)
        except BaseException:
            self.close()
            raise
        self.descriptor = self._opened[-1][0]

    def give_place(self, name: bytes) -> None:
        """Rename a folder that is aside into its place. Raise OSError."""
        dress(*self._opened[-1], numeric_ids=self._numeric_ids)
        os.rename(self.aside, name, src_dir_fd=self._hidden, dst_dir_fd=self._opened[-2][0])
        self.aside = b""

    def dress(self) -> "list[tuple[bytes, int]]":
        """Give all directories their attributes; return those, by path, that could not get them, each with the errno.

        Others than root cannot set them for directories that are not theirs.
        """
        undressed = []
        for path, (directory, entry) in zip(reversed(self._above), reversed(self._opened)):
            try:
                dress(directory, entry, numeric_ids=self._numeric_ids)
            except OSError as error:
                undressed.append((path, error.errno or errno.EIO))
        return undressed

    def close(self) -> None:
        """Close the directories; a folder that is still aside, and empty, is removed."""
        if self.aside:
            with suppress(OSError):  # whoever comes next removes it
                os.rmdir(self.aside, dir_fd=self._hidden)
        for directory in (self._hidden, *(directory for directory, _ in self._opened)):
            if directory >= 0:
                with suppress(OSError):
                    os.close(directory)
        self._opened, self.aside, self._hidden = [], b"", -1

    def _open(self, part: "Part", aside: bool) -> None:
        for path, entry in part.above:
            if not self._opened:
                self._opened.append((os.open(part.root, _ROOT), entry))
                continue
            above = self._opened[-1][0]
            name = path.rpartition(b"/")[2]
            directory = _open_directory(name, above)
            if directory is None and aside and path == part.path:
                directory = self._make_aside(above)
            is_made = directory is None
            if directory is None:
                _make_directory(name, above)
                directory = os.open(name, _DIRECTORY, dir_fd=above)
            self._opened.append((directory, entry))
            if is_made:
                self._dress_early(directory, entry)

    def _dress_early(self, directory: int, entry: "Entry") -> None:
        """Give a directory that was just made its owner and mode, as far as we can write into it then.

        The mailbox may be given up, or we killed, and no other one be sent that the directory is above.
        """
        try:
            dress(directory, entry._replace(mode=entry.mode | stat.S_IRWXU), numeric_ids=self._numeric_ids)
        except OSError:
            pass  # when all has its place, that is tried again, and told

    def _make_aside(self, above: int) -> "Optional[int]":
        """Make a folder in the hidden directory; None where another file system is mounted on the way."""
        root = self._opened[0][0]
        if os.fstat(root).st_dev != os.fstat(above).st_dev:
            return None
        name = b"new.%b" % os.urandom(8).hex().encode("ascii")
        for left in range(_TRIES, -1, -1):
            _make_directory(RENAMED, root)
            try:
                self._hidden = os.open(RENAMED, _DIRECTORY, dir_fd=root)
                os.mkdir(name, 0o700, dir_fd=self._hidden)
                break
            except FileNotFoundError:  # another receiver has just removed the hidden directory, as it was empty
                if self._hidden >= 0:
                    os.close(self._hidden)
                    self._hidden = -1
                if not left:
                    raise
        self.aside = name
        return os.open(name, _DIRECTORY, dir_fd=self._hidden)


def _make_directory(name: bytes, above: int) -> None:
    """Make a directory, unless another receiver has."""
    try:
        os.mkdir(name, 0o700, dir_fd=above)
    except FileExistsError:
        pass


def _open_directory(name: bytes, above: int) -> "Optional[int]":
    """Open a directory; None where none is there. What else is there makes way, as it does for rsync."""
    try:
        return os.open(name, _DIRECTORY, dir_fd=above)
    except FileNotFoundError:
        return None
    except PermissionError:
        # It is as the original: one that its owner may not read. It gets its mode back in the end.
        _make_readable(name, above)
        return os.open(name, _DIRECTORY, dir_fd=above)
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
    os.unlink(name, dir_fd=above)
    return None


def _make_readable(name: bytes, above: int) -> None:
    """Give the owner all rights to a directory, and to nothing that a link in its place leads to."""
    directory = os.open(name, os.O_PATH | _DIRECTORY, dir_fd=above)
    try:
        os.chmod("/proc/self/fd/{}".format(directory), 0o700)
    finally:
        os.close(directory)
