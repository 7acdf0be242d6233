"""Directories below a root, each opened by its name in the one above, and no link followed.

Whoever owns a spool or a replica may put a link in a directory's place at any moment: by its path, root would then
list, lock and read what that leads to.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import os
import stat
from contextlib import suppress

#: Such a descriptor needs no right to read the directory.
_PATH = getattr(os, "O_PATH", os.O_RDONLY)
_ROOT = _PATH | os.O_DIRECTORY | os.O_CLOEXEC
_DIRECTORY = _ROOT | os.O_NOFOLLOW
#: Directories that are kept open at once, one below the other.
_MOST = 100
_DESCRIPTORS = b"/proc/self/fd/"
_HAS_PROC = os.path.isdir(_DESCRIPTORS)


class Descent:
    """Opens directories below one root; those above the last one stay open, so that its neighbours cost one call."""

    def __init__(self, root: bytes) -> None:
        """The root itself may be a link."""
        self.root = root
        self._opened = []  # type: list[tuple[bytes, int]]

    def open(self, path: bytes) -> int:
        """Return a descriptor of a directory for `dir_fd`, good until another one is asked for. Raise OSError.

        Of a directory that was opened before, those that it is in are not looked for again: `close` first, where they
        may have been renamed since.
        """
        opened = self._opened
        while opened and not _is_within(path, opened[-1][0]):
            os.close(opened.pop()[1])
        if not opened:
            opened.append((b"", os.open(self.root, _ROOT)))
        above, descriptor = opened[-1]
        if path != above:
            for name in (path[len(above) + 1 :] if above else path).split(b"/"):
                descriptor = os.open(name, _DIRECTORY, dir_fd=descriptor)
                above = above + b"/" + name if above else name
                opened.append((above, descriptor))
                if len(opened) > _MOST:
                    os.close(opened.pop(1)[1])
        return descriptor

    def where(self, path: bytes) -> bytes:
        """Return a path to a directory that leads nowhere else, good until another is asked for. Raise OSError.

        Without /proc it is the directory's own, which is not as good.
        """
        descriptor = self.open(path)
        if _HAS_PROC:
            return _DESCRIPTORS + b"%d" % descriptor
        return os.path.join(self.root, path) if path else self.root

    def statuses(self, path: bytes) -> "list[tuple[bytes, os.stat_result]]":
        """Return how a directory and those it is in look, by path, the root first. Raise OSError."""
        self.open(path)
        names = path.split(b"/") if path else []
        if len(self._opened) == len(names) + 1:
            return [(above, os.fstat(descriptor)) for above, descriptor in self._opened]
        chain = [b"/".join(names[:depth]) for depth in range(len(names) + 1)]
        return [(above, os.fstat(self.open(above))) for above in chain]

    def close(self) -> None:
        """Close all directories."""
        while self._opened:
            os.close(self._opened.pop()[1])

    __del__ = close


def names(directory: int) -> "list[bytes]":
    """Return the names in an open directory. Raise OSError."""
    # Of a descriptor they are text, which takes twice as much memory.
    return os.listdir(_DESCRIPTORS + b"%d" % directory) if _HAS_PROC else list(map(os.fsencode, os.listdir(directory)))


def make(path: bytes) -> None:
    """Make a directory, and those above it, where there is none: mode 0755, whatever the umask. Raise OSError."""
    missing = []
    above = os.path.join(os.getcwdb(), path.rstrip(b"/"))
    while not os.path.isdir(above):
        above, name = os.path.split(above)
        missing.append(name)
    parent = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while missing:
            name = missing.pop()
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=parent)
                _open_up(name, parent)
            below = os.open(name, _DIRECTORY, dir_fd=parent)
            os.close(parent)
            parent = below
    finally:
        os.close(parent)


def _open_up(name: bytes, parent: int) -> None:
    """Give a directory that we have just made its mode; one that new ones have of the directory above stays."""
    made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.fchmod(made, 0o755 | (os.fstat(made).st_mode & stat.S_ISGID))
    finally:
        os.close(made)


def _is_within(path: bytes, top: bytes) -> bool:
    return not top or path == top or (path.startswith(top) and path[len(top) : len(top) + 1] == b"/")
