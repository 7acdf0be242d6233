"""The annotations of messages in a mailbox's `cyrus.annotations`, a database [2.5+].

Key: UID, entry and user, each with a NUL behind. Value: the length of the annotation in an unsigned long, whose first
or last four bytes count, in network order, as the machine is little- or big-endian; the annotation; NUL; its content
type; NUL; a long; and from 3.2 on a modseq of eight bytes and a byte of flags (imap/annotate.c, make_entry).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from cyrsync.cyrus.server.db import reader

#: Of the flags: a tombstone.
_DELETED = 1
#: Stands for the owner of the mailbox [3.6+].
OWNER = b"[.OwNeR.]"


class Annotation(NamedTuple):
    """One annotation of one message; `user` is b"" for one that all share, `modseq` 0 where there is none."""

    uid: int
    entry: bytes
    user: bytes
    value: bytes
    modseq: int


def read(data: bytes, path: bytes) -> Iterator[Annotation]:
    """Yield the annotations in a database that was read from `path`; those that make no sense are left out.

    Raise DbError where it cannot be read.
    """
    for key, value in reader.records(data, path):
        parts = key.split(b"\0")
        found = _value(value)
        if len(parts) == 4 and parts[0].isdigit() and len(parts[0]) <= 10 and found is not None:
            yield Annotation(int(parts[0]), parts[1], parts[2], *found)


def _value(data: bytes) -> tuple[bytes, int] | None:
    """Return an annotation and its modseq; None for a tombstone, and for what cannot be read."""
    for width, counts in ((8, 0), (8, 4), (4, 0)):
        if len(data) < width or any(data[4 - counts : 8 - counts][: width - 4]):
            continue
        end = width + struct.unpack_from(">I", data, counts)[0]
        after = data.find(b"\0", end + 1)
        if data[end : end + 1] != b"\0" or after < 0:
            continue
        rest = data[after + 1 + width :]
        if len(rest) < 9:
            return data[width:end], 0
        return None if rest[8] & _DELETED else (data[width:end], struct.unpack_from(">Q", rest)[0])
    return None
