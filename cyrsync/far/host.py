"""What a host has at a path, and which users it knows: used here, and by an agent there.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import errno
import os
import pwd
import stat
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.cyrus.mailbox import index
from cyrsync.far import owner_file
from cyrsync.far.walk import start_of

if TYPE_CHECKING:
    from typing import Tuple

_ABSENT = (errno.ENOENT, errno.ENOTDIR)
#: Links that one path may lead through: as many as to Linux.
_MOST_LINKS = 40


def resolve(path: bytes) -> "tuple[bytes, bool, bool, bool, str, bool, str, bytes]":
    """Return what is at `path`: the fields of `tree.Status`. Raise OSError if it cannot be seen."""
    real, others_link = _follow(path)
    exists, directory = _kind(real)
    text, bare = "", False
    if directory:
        text = owner_text(real)
        try:
            bare = not text and owner_file.is_bare(real)
        except OSError:
            pass  # whoever reads on will say why
    parent = exists or _kind(os.path.dirname(real))[1]
    return real, exists, directory, parent, text, bare, owner_file.boot_id(), others_link


def _follow(path: bytes) -> "tuple[bytes, bytes]":
    """Return where a path leads, and the first link on the way that is neither root's nor ours, b"" for none.

    Both are found in one pass, or a link might be there for the one and not for the other.
    """
    here, others_link, links = b"/", b"", 0
    names = os.path.join(os.getcwdb(), path).split(b"/")[::-1]
    while names:
        name = names.pop()
        if name == b"..":
            here = os.path.dirname(here)
        elif name not in (b"", b"."):
            here = os.path.join(here, name)
            try:
                status = os.lstat(here)
                target = os.readlink(here) if stat.S_ISLNK(status.st_mode) else b""
            except OSError:
                continue  # whoever looks at where the path ends will say why
            if target:
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                if status.st_uid not in (0, os.geteuid()):
                    others_link = others_link or here
                here = b"/" if target.startswith(b"/") else os.path.dirname(here)
                names += target.split(b"/")[::-1]
    return here, others_link


def owner_text(root: bytes) -> str:
    """Return an owner file as JSON, "" where there is none; one that cannot be read may say anything."""
    try:
        return owner_file.read_text(root)
    except OSError:
        return "{}" if os.path.lexists(os.path.join(root, owner_file.NAME)) else ""


def _kind(path: bytes) -> "tuple[bool, bool]":
    """Tell whether something is at `path`, and whether that is a directory. Raise OSError where neither can be seen."""
    try:
        return True, stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
    return False, False


def put_owner_file(root: bytes, text: str) -> "Tuple[int, str]":
    """Write a root's owner file; return what is wrong, 0 and "" for nothing."""
    try:
        owner_file.write(root, owner_file.from_json(text))
    except OSError as error:
        return error.errno or -1, error.strerror or str(error)
    return 0, ""


class Room(NamedTuple):
    """The file system that something is on, or would be made on. Sizes are bytes."""

    device: int
    free: int
    used: int
    free_inodes: int
    used_inodes: int
    inodes: int  # 0: it makes them as they are needed
    writable: bool  # the directory, or the nearest above it that is there


def room(path: bytes) -> Room:
    """Return how much room there is at `path`. Raise OSError."""
    while path and not os.path.isdir(path):
        path = os.path.dirname(path)
    path = path or b"."
    found = os.statvfs(path)
    return Room(
        os.stat(path).st_dev,
        found.f_bavail * found.f_frsize,
        (found.f_blocks - found.f_bfree) * found.f_frsize,
        found.f_favail,
        found.f_files - found.f_ffree,
        found.f_files,
        os.access(path, os.W_OK | os.X_OK),
    )


def user_name(uid: int) -> str:
    """Return the name of a user here, the number of one without a name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def status(path: bytes) -> "tuple[int, int] | int | None":
    """Return size and modification time (nanoseconds) of a file; None where there is none, an errno for no answer."""
    try:
        found = os.lstat(path)
    except OSError as error:
        return None if error.errno in _ABSENT else error.errno or errno.EIO
    return found.st_size, found.st_mtime_ns


def head(path: bytes) -> bytes:
    """Return the first bytes of a cyrus.index, none where it cannot be read."""
    return start_of(path, index.READ_SIZE)
