"""What runs and writers that were cut off leave in a replica: files that Cyrus would stumble over, or never remove."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far import owner_file
from cyrsync.far.remove import RENAMED, Removal

#: Cyrus's staging: the directories stay.
STAGING = frozenset([b"stage.", b"sync."])
#: rsync's own temporary files: a dot, the name, a dot, six letters. No file of Cyrus's in configdirectory is named so.
_TEMPORARY = re.compile(rb"\..+\.[A-Za-z0-9]{6}", re.DOTALL)
_OURS = owner_file.NAME + b".new"


def in_partition(path: bytes, names: Iterable[bytes]) -> list[bytes]:
    """Return which files of a directory below a partition's root are leftovers."""
    return [
        name
        for name in names
        if (name.startswith(kinds.METADATA_PREFIX) and name.endswith(b".NEW"))
        or kinds.is_leftover(name)
        or (not path and name == _OURS)
    ]


def in_state(path: bytes, names: Iterable[bytes], quota_files: frozenset[bytes]) -> list[bytes]:
    """Return which files of a directory below configdirectory are leftovers.

    `quota_files` are those of mailboxes that are called `NEW`, or something with `.NEW` at its end: no leftovers.
    """
    return [
        name
        for name in names
        if (name.endswith(b".NEW") and os.path.join(path, name) not in quota_files)
        or _TEMPORARY.fullmatch(name)
        or (not path and name == _OURS)
    ]


def at_root(root: int) -> list[Removal]:
    """Return what is to be removed, under whatever names, from directories at an open root."""
    found = [Removal(b"", folders=(RENAMED,))] if _is_directory(root, RENAMED) else []
    for name in sorted(STAGING):
        if not _is_directory(root, name):
            continue
        staging = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=root)
        try:
            below = [os.fsencode(one) for one in os.listdir(staging)]
            folders = tuple(one for one in below if _is_directory(staging, one))
        finally:
            os.close(staging)
        found.append(Removal(name, files=tuple(set(below) - set(folders)), folders=folders))
    return found


def _is_directory(parent: int, name: bytes) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False
