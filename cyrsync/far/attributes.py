"""Gives open files and directories the owner, the permissions and the time of their originals.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import os
import stat
from typing import TYPE_CHECKING

from cyrsync.far.owner import owner_here

if TYPE_CHECKING:
    from cyrsync.far.folder import Entry


def dress(descriptor: int, entry: "Entry", *, numeric_ids: bool) -> None:
    """Give an open file or directory the attributes of its original, where it has others."""
    now = os.fstat(descriptor)
    wanted = settable(entry, now.st_uid, now.st_gid, numeric_ids)
    if (now.st_uid, now.st_gid) != wanted:
        os.chown(descriptor, *wanted)
        now = os.fstat(descriptor)  # which takes bits away
    if stat.S_IMODE(now.st_mode) != stat.S_IMODE(entry.mode):
        os.chmod(descriptor, stat.S_IMODE(entry.mode))
    if now.st_mtime_ns != entry.mtime:
        os.utime(descriptor, ns=(now.st_atime_ns, entry.mtime))


def dress_link(name: bytes, directory: int, entry: "Entry", numeric_ids: bool) -> None:
    """Give a symbolic link in an open directory the owner and the time of its original."""
    now = os.stat(name, dir_fd=directory, follow_symlinks=False)
    wanted = settable(entry, now.st_uid, now.st_gid, numeric_ids)
    if (now.st_uid, now.st_gid) != wanted:
        os.chown(name, *wanted, dir_fd=directory, follow_symlinks=False)
    os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=directory, follow_symlinks=False)


def settable(entry: "Entry", uid: int, gid: int, numeric_ids: bool) -> "tuple[int, int]":
    """Return the owner that a file of ours can be given; as rsync has it, others than root may give away the group."""
    wanted = owner_here(entry.owner, numeric_ids)
    if os.geteuid() == 0:
        return wanted
    return uid, wanted[1] if wanted[1] in os.getgroups() else gid
