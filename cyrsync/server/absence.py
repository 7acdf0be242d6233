"""Whether something is not there: that has to be seen. A stat that fails for another reason has seen nothing."""

from __future__ import annotations

import errno
import os

#: The errors of a look at a path with nothing there.
ABSENT = (errno.ENOENT, errno.ENOTDIR)


def is_absent(path: bytes) -> bool:
    """Tell whether nothing has this path, not even a broken link. Raise OSError if that cannot be seen."""
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno in ABSENT:
            return True
        raise
    return False


def is_seen_absent(path: bytes) -> bool:
    """Tell whether the path is seen to be absent: False also if that cannot be seen."""
    try:
        return is_absent(path)
    except OSError:
        return False
