"""What an index says of messages, so short that two indexes of one mailbox can be compared over a connection.

Two servers that were used in turn, or a standby that took mail for a moment, give one UID to two messages.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import hashlib
import os
import sys
from array import array
from itertools import compress
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox import locks, records
from cyrsync.cyrus.mailbox.snapshot import PATIENCE
from cyrsync.far.descent import Descent
from cyrsync.far.remove import Removal
from cyrsync.far.remove import encode as encode_removal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Question(NamedTuple):
    """A folder below a root, and the UIDs whose records are asked about."""

    path: bytes
    uids: "array[int]"


class Digests(NamedTuple):
    """What the records with these UIDs say, in the order of the UIDs; "" where the index does not have it of all."""

    uids: str
    guids: str
    sizes: str
    dates: str


def encode(question: Question) -> bytes:
    """Return a question as one frame, which `remove.decode` reads."""
    return encode_removal(Removal(question.path, question.uids))


def of_folder(root: bytes, path: bytes, uids: "array[int]") -> "Digests | None":
    """Return what the index in a folder says of these messages, None where that cannot be read."""
    descent = Descent(root)
    try:
        with locks.shared(os.path.join(descent.where(path), kinds.INDEX), PATIENCE) as (descriptor, _):
            return of_data(locks.read_all(descriptor), uids)
    except (OSError, locks.LockTimeout):
        return None


def of_data(data: bytes, uids: "array[int]") -> "Digests | None":
    """Return what a whole index says of these messages, None where it is damaged."""
    try:
        return of_index(records.read(data, check_records=False), uids)
    except records.BadIndex:
        return None


def of_index(index: "records.Index", uids: "array[int]") -> Digests:
    """Return what an index says of those of these messages that it has records of."""
    chosen = None  # type: bytes | None
    if index.uids != uids:
        chosen = bytes(map(set(uids).__contains__, index.uids))

    def select(column: "array[int]") -> "array[int]":
        return column if chosen is None else array(column.typecode, compress(column, chosen))

    guids = index.guids()
    if chosen is not None:
        guids = list(compress(guids, chosen))
    known = index.has_guids and records.UNKNOWN_GUID not in guids
    named = select(index.uids)
    dates = index.dates()
    return Digests(
        _digest(named, b""),
        _digest(named, b"".join(guids)) if known else "",
        _digest(named, _wide(select(index.sizes))),
        _digest(named, _wide(select(dates))) if dates is not None else "",
    )


def answers(questions: "Iterable[Removal]", root: bytes, wanted: "Callable[[], bool]") -> "list[Digests | None]":
    """Answer questions in order, as long as somebody wants that."""
    found = []
    for question in questions:
        found.append(of_folder(root, question.path, question.uids) if wanted() else None)
    return found


def _wide(column: "array[int]") -> bytes:
    return _bytes(array("Q", column))


def _digest(uids: "array[int]", data: bytes) -> str:
    return hashlib.sha1(_bytes(uids) + data).hexdigest()


def _bytes(column: "array[int]") -> bytes:
    """Return numbers in the same order of bytes on every machine."""
    if sys.byteorder == "big":
        return column.tobytes()
    swapped = array(column.typecode, column)
    swapped.byteswap()
    return swapped.tobytes()
