"""Links below a server's directories, and how far they are followed.

Cyrus's user can put a link in place of anything below configdirectory. Root, who follows it, would read what that user
cannot, and the replica would have it. So what is not in its own place, or where a link of root's leads, has to belong
to Cyrus's user.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from cyrsync.cyrus.server.config import Config

#: Links that one path may lead through, as Linux has it.
_MOST_LINKS = 40
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def cyrus_user(config: Config) -> int:
    """Return the uid of Cyrus's user: that of configdirectory, or where root has that, of mailboxes.db. Raise OSError.

    Cyrus's user decides where mailboxes.db leads to, but not where a directory of root's does. It is root where
    neither is there.
    """
    owner = 0
    for path in (config.configdirectory, config.database("mboxlist")[1]):
        with suppress(FileNotFoundError):
            owner = owner or os.stat(path).st_uid
    return owner


def refuse_foreign(path: bytes, opened: os.stat_result, config: Config) -> None:
    """Raise OSError if what was opened, or looked at, by an absolute path is neither Cyrus's nor where root leads.

    That holds whatever becomes of the path meanwhile: what was opened is looked for by its device and inode.
    """
    if os.geteuid() != 0 or opened.st_uid == (user := cyrus_user(config)):
        return
    try:
        found = _led_by_root(path)
    except OSError:
        found = None
    if found is None or not os.path.samestat(found, opened):
        raise OSError(errno.EPERM, f"a link leads to it, and it is neither root's link nor a file of uid {user}", path)


def _led_by_root(path: bytes) -> os.stat_result | None:
    """Return what root's links alone lead to; None where another's does. Raise OSError.

    Each name is opened in the directory above, so that no link is passed that is put there meanwhile.
    """
    pending, opened, links = path.split(b"/")[::-1], [os.open(b"/", _PATH)], 0
    try:
        while pending:
            name = pending.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                _close(opened, max(len(opened) - 1, 1))
                continue
            opened.append(os.open(name, _PATH, dir_fd=opened[-1]))
            status = os.fstat(opened[-1])
            if not stat.S_ISLNK(status.st_mode):
                continue
            links += 1
            if status.st_uid != 0 or links > _MOST_LINKS:
                return None
            target = os.readlink(b"", dir_fd=opened[-1])
            _close(opened, 1 if target.startswith(b"/") else len(opened) - 1)
            pending += target.split(b"/")[::-1]
        return os.fstat(opened[-1])
    finally:
        _close(opened, 0)


def _close(opened: list[int], but: int) -> None:
    """Close all but the first few."""
    while len(opened) > but:
        os.close(opened.pop())
