"""The numbers of users and groups here, and the owners that files from another host get.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import grp
import pwd
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Optional


def number(name: str) -> "Optional[int]":
    """Return the number that `user:NAME` or `group:NAME` has here, None where it is unknown."""
    kind, _, name = name.partition(":")
    try:
        return grp.getgrnam(name).gr_gid if kind == "group" else pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):
        return None  # ValueError: the name cannot be written in the encoding here


@lru_cache(maxsize=256)
def owner_here(owner: str, numeric_ids: bool) -> "tuple[int, int]":
    """Return the numbers that rsync would give to files from another host: those of the owner's names, if known."""
    uid, gid, user, group = owner.split(":")
    user_here = number("user:" + user) if user and not numeric_ids else None
    group_here = number("group:" + group) if group and not numeric_ids else None
    return int(uid) if user_here is None else user_here, int(gid) if group_here is None else group_here
