"""Whether something is not there: that has to be seen. A stat that fails for another reason has seen nothing."""

from __future__ import annotations

import errno
import os

#: What a look at a path says where there is nothing.
ABSENT = (errno.ENOENT, errno.ENOTDIR)


def is_absent(path: bytes) -> bool:
    """Tell whether nothing has this path, not even a link to nowhere. Raise OSError where that is not to be seen."""
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno in ABSENT:
            return True
        raise
    return False


def is_seen_absent(path: bytes) -> bool:
    """Tell whether nothing is seen to have this path: False also where that is not to be seen."""
    try:
        return is_absent(path)
    except OSError:
        return False
