"""The order of keys, by which a reader finds out that it went astray."""

from itertools import islice
from operator import itemgetter, lt
from typing import TypeVar

from cyrsync.cyrus.server.db.error import DbError

#: With `improved_mboxlist_sort` [up to 3.4] a dot sorts before all but NUL, TAB and LF, so that a mailbox stands
#: next to those below it (lib/bsearch.c, convert_to_compare).
_MAILBOX_ORDER = bytes.maketrans(bytes(range(1, 11)) + b".", bytes(range(3, 11)) + b"\1\1\2")

Value = TypeVar("Value")


def ascending(pairs: "list[tuple[bytes, Value]]") -> "list[tuple[bytes, Value]]":
    """Return the pairs by the bytes of their keys; DbError unless they came in an order that Cyrus knows."""
    keys = [key for key, _ in pairs]
    if _ascend(keys):
        return pairs
    if _ascend([key.translate(_MAILBOX_ORDER) for key in keys]):
        return sorted(pairs, key=itemgetter(0))
    raise DbError("the keys are not in order")


def _ascend(keys: "list[bytes]") -> bool:
    return all(map(lt, keys, islice(keys, 1, None)))
