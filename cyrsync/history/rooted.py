"""Paths below a directory that stands for / : links are followed as a server would that has its root there."""

from __future__ import annotations

import errno
import os

#: Links that one path may lead through, as Linux has it.
_MOST_LINKS = 40


def rooted(top: bytes, path: bytes) -> bytes:
    """Return where an absolute path of the server leads that had `top` as its /; what is not there has its own name.

    A link to /srv leads to `top`/srv, and no `..` above `top`. Raise OSError where links run in a circle.
    """
    if top == b"/":
        return path
    pending = path.split(b"/")[::-1]
    found: list[bytes] = []
    links = 0
    while pending:
        name = pending.pop()
        if name in (b"", b"."):
            continue
        if name == b"..":
            del found[-1:]
            continue
        try:
            target = os.readlink(b"/".join([top, *found, name]))
        except OSError:
            found.append(name)
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), b"/".join([top, *found, name]))
        if target.startswith(b"/"):
            found.clear()
        pending += target.split(b"/")[::-1]
    return b"/".join([top, *found])


def is_within(path: bytes, top: bytes) -> bool:
    """Tell whether a path is a directory's, or of something below it, by the names alone."""
    return path == top or path.startswith(top.rstrip(b"/") + b"/")
