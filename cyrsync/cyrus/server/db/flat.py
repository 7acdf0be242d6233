"""flat, the engine of the subscriptions: sorted lines of key, TAB, value, LF.

In keys and values NUL, TAB, CR and LF are written as FF and the byte with its high bit set, FF as FF FF
(lib/cyrusdb_flat.c, encode); versions before 2.5 wrote them as they were. Behind FF any byte loses its high bit, and an
FF at the end means nothing (decode). A changed file is written anew and renamed.
"""

import re
from typing import TYPE_CHECKING

from cyrsync.cyrus.server.db.error import DbError
from cyrsync.cyrus.server.db.order import ascending

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from re import Match

_ESCAPED = re.compile(rb"\xff(.?)", re.DOTALL)
_SPECIAL = re.compile(rb"[\0\t\n\r\xff]")


def records(data: bytes) -> "Iterator[tuple[bytes, bytes]]":
    """Yield the pairs by key, or raise DbError: a NUL, a line cut short or one without TAB, keys out of order."""
    if b"\0" in data:
        raise DbError("no text", data.index(b"\0"))
    if data and not data.endswith(b"\n"):
        raise DbError("the last line is cut short", len(data))
    pairs = []
    at = 0
    for line in data.split(b"\n")[:-1]:
        key, tab, value = line.partition(b"\t")
        if not tab:
            raise DbError("a line without key and value", at)
        pairs.append((key, value))
        at += len(line) + 1
    # They are compared as they are written.
    pairs = ascending(pairs)
    if b"\xff" in data:
        pairs = ascending(sorted((_plain(key), _plain(value)) for key, value in pairs))
    return iter(pairs)


def written(pairs: "Iterable[tuple[bytes, bytes]]") -> bytes:
    """Return a database that has some pairs."""
    lines = sorted((_escaped(key), _escaped(value)) for key, value in pairs)
    return b"".join([b"%b\t%b\n" % line for line in lines])


def _escaped(text: bytes) -> bytes:
    return _SPECIAL.sub(lambda found: bytes([0xFF, found.group()[0] | 0x80]), text)


def _plain(text: bytes) -> bytes:
    return _ESCAPED.sub(_meaning, text)


def _meaning(found: "Match[bytes]") -> bytes:
    byte = found.group(1)
    return byte if byte in (b"", b"\xff") else bytes([byte[0] & 0x7F])
