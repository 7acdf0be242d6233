"""Whom files of elsewhere belong to here.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import grp
import pwd
from functools import lru_cache


@lru_cache(maxsize=256)
def owner_here(owner: str, numeric_ids: bool) -> "tuple[int, int]":
    """Return the numbers that rsync would give to files of an owner of elsewhere: those of the names, if known."""
    uid, gid, user, group = owner.split(":")
    numbers = [int(uid), int(gid)]
    if not numeric_ids:
        for which, name in enumerate((user, group)):
            try:
                if name:
                    numbers[which] = grp.getgrnam(name).gr_gid if which else pwd.getpwnam(name).pw_uid
            except (KeyError, ValueError):
                pass  # ValueError: the name cannot be written in the encoding here
    return numbers[0], numbers[1]
