"""The names in a store, and times in them. Pure."""

from __future__ import annotations

import calendar
import hashlib
import re
import time

STORE = b".cyrsync-history"
MAILBOXES, MESSAGES, FILES = b"mailboxes", b"messages", b"files"
FOLDER, GONE, HASHED, VERSIONS = b"folder", b".gone", b"hashed", b".versions"
PACKED, IN_PIECES = b".gz", b".pieces"
PIECES, FILE_PIECES = b"pieces", b"pieces.gz"
SINCE = re.compile(rb"[0-9]{8}T[0-9]{6}\.[0-9]{9}Z")
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,100}")
_LONGEST = 255  # bytes of a name
_SECOND = 10**9


def since(when: int) -> bytes:
    """Return the name of a state that came to be at a time, in nanoseconds since 1970."""
    seconds, rest = divmod(when, _SECOND)
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds)).encode("ascii") + b".%09dZ" % rest


def time_of(name: bytes) -> int | None:
    """Return the time, in nanoseconds since 1970, that a state has as its name; None for another name."""
    if not SINCE.fullmatch(name):
        return None
    try:
        day = time.strptime(name[:15].decode("ascii"), "%Y%m%dT%H%M%S")
    except ValueError:
        return None
    return calendar.timegm(day) * _SECOND + int(name[16:25])


def directory_of(uniqueid: str) -> bytes:
    """Return the name of the directory with a mailbox's states; a uniqueid that nobody would choose is hashed."""
    if _PLAIN.fullmatch(uniqueid):
        return uniqueid.encode("ascii")
    digest = hashlib.sha1(uniqueid.encode("latin-1", "replace"), usedforsecurity=False)
    return b"x" + digest.hexdigest().encode("ascii")


def versions_of(path: bytes) -> bytes:
    """Return the path of the directory with the states of a file, from that of all of them; a long name is hashed."""
    above, mark, name = path.rpartition(b"/")
    if len(name) + len(VERSIONS) > _LONGEST:
        name = b"x" + hashlib.sha1(name, usedforsecurity=False).hexdigest().encode("ascii")
    return above + mark + name + VERSIONS


def message_of(guid: bytes) -> bytes:
    """Return the path of a message in a store, by its SHA-1."""
    name = guid.hex().encode("ascii")
    return b"/".join([STORE, MESSAGES, name[:2], name])
