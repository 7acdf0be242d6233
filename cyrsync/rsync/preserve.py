"""What of a file is kept beside its contents."""

from __future__ import annotations

from typing import NamedTuple


class Preserve(NamedTuple):
    """What rsync's options of the same names ask for; by default, what -a does."""

    perms: bool = True
    owner: bool = True
    group: bool = True
    times: bool = True
    dir_times: bool = True
    links: bool = True
    devices: bool = True
    numeric_ids: bool = False
    acls: bool = False
    xattrs: bool = False
