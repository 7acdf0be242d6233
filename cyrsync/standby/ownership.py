"""Whom Cyrus runs as here, and whether it may read and write what it finds."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from dataclasses import dataclass

from cyrsync.cyrus.server.config import Config
from cyrsync.errors import UnusableError

#: Cyrus's user if neither the environment nor imapd.conf names one.
_USER = "cyrus"


@dataclass(frozen=True, slots=True)
class Identity:
    """The user and the group that Cyrus runs as."""

    user: str
    uid: int
    group: str
    gid: int

    def owns(self, status: os.stat_result) -> bool:
        """Tell whether a file or directory is this user's, with the rights that it needs; others do not matter."""
        if stat.S_ISDIR(status.st_mode):
            wanted = stat.S_IRWXU
        elif stat.S_ISREG(status.st_mode):
            wanted = stat.S_IRUSR | stat.S_IWUSR
        else:
            return True
        return (status.st_uid, status.st_gid) == (self.uid, self.gid) and status.st_mode & wanted == wanted


def identity(config: Config) -> Identity:
    """Return whom Cyrus becomes, by its own rules (lib/util.c, become_cyrus). Raise UnusableError for nobody."""
    user = os.environ.get("CYRUS_USER") or config.text("cyrus_user") or _USER
    group = os.environ.get("CYRUS_GROUP") or config.text("cyrus_group")
    try:
        known = pwd.getpwnam(user)
        gid = grp.getgrnam(group).gr_gid if group else known.pw_gid
        return Identity(user, known.pw_uid, grp.getgrgid(gid).gr_name, gid)
    except KeyError:
        raise UnusableError(
            f"there is no user {user} or no group of it: is Cyrus installed here? "
            "cyrus_user in imapd.conf, or CYRUS_USER, names another one"
        ) from None
