"""Which messages a user has read, in the user's `seen` database: up to 2.3 of all mailboxes, later of others' alone.

Key: the mailbox's uniqueid. Value: version, time of the last look, last UID, time of the last change, and the UIDs that
were read as IMAP writes a set: `1:5,7` (imap/seen_db.c, seen_readit). Version 0 has the same in other words, and
none is known to be left.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_VALUE = re.compile(rb"1 [0-9]+ [0-9]+ [0-9]+ ?([0-9:,]*)")
_RANGE = re.compile(rb"([0-9]{1,10})(?::([0-9]{1,10}))?")


def ranges(pairs: Iterable[tuple[bytes, bytes]], uniqueid: bytes) -> tuple[range, ...]:
    """Return the UIDs that were read in one mailbox, by the records of a database; none where nothing is known."""
    value = dict(pairs).get(uniqueid)
    match = _VALUE.match(value) if value else None
    if not match:
        return ()
    found = []
    for part in match[1].split(b","):
        one = _RANGE.fullmatch(part)
        if one:
            found.append(range(int(one[1]), int(one[2] or one[1]) + 1))
    return tuple(found)
