"""The message files of one folder: their names as the directory gave them, read as UIDs only where that is needed.

Where nothing happened, both sides have the same names, and that is seen without reading a million numbers.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import json
from typing import TYPE_CHECKING

from cyrsync.cyrus.mailbox.entry import is_message
from cyrsync.far import uids as uid_sets
from cyrsync.far import wire

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator

_DIGITS_AND_NUL = b"0123456789\0"
_MOST_DIGITS = 10  # of a UID
_NO_NAME = 256  # bytes: NAME_MAX is 255
#: Rows up to this length (bytes) are compared and read in one go; longer ones would take too much memory.
_WINDOW = 1 << 19


class MessageFiles:
    """A set of message files, by name."""

    __slots__ = ("_nonstandard", "_row", "_uids")

    def __init__(self, row: bytes = b"") -> None:
        """`row`: names of digits and a dot, one behind the other, in any order: `12.7.300.`."""
        self._row = row  # type: bytes | None
        self._uids = None  # type: array[int] | None
        self._nonstandard = ()  # type: tuple[bytes, ...]

    @classmethod
    def of(cls, uids: "array[int]", nonstandard: "tuple[bytes, ...]" = ()) -> "MessageFiles":
        """Return the set with the usual names of these UIDs (sorted), and nonstandard names (sorted)."""
        made = cls()
        made._row, made._uids, made._nonstandard = None, uids, nonstandard
        return made

    @property
    def uids(self) -> "array[int]":
        """The UIDs of the files with a usual name, sorted."""
        return self._read()[0]

    @property
    def nonstandard(self) -> "tuple[bytes, ...]":
        """Names that are digits and a dot, but not the one spelling of a UID: a leading zero, or past 32 bits."""
        return self._read()[1]

    def row(self) -> bytes:
        """Return all names in one row."""
        if self._row is None:
            self._row = b"".join(uid_sets.file_names(self.uids)) + b"".join(self.nonstandard)
        return self._row

    def __bool__(self) -> bool:
        return bool(self._row or self._uids or self._nonstandard)

    def __len__(self) -> int:
        return len(self._uids) + len(self._nonstandard) if self._uids is not None else (self._row or b"").count(b".")

    def __contains__(self, name: bytes) -> bool:
        if not is_message(name):
            return False
        uids = MessageFiles(name).uids
        return uid_sets.has(self.uids, uids[0]) if uids else name in self.nonstandard

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MessageFiles):
            return NotImplemented
        ours, theirs = self._row, other._row
        if ours is not None and theirs is not None:
            if ours == theirs or len(ours) != len(theirs):
                return ours == theirs
            if len(ours) <= _WINDOW:
                return set(ours.split(b".")) == set(theirs.split(b"."))
        return self._read() == other._read()

    __hash__ = None  # type: ignore[assignment]

    def _read(self) -> "tuple[array[int], tuple[bytes, ...]]":
        if self._uids is None:
            parts, nonstandard = [], []
            for window in _windows(self._row or b""):
                uids = _numbers(window)
                if uids is None:
                    uids, more_nonstandard = _one_by_one(window)
                    nonstandard += more_nonstandard
                parts.append(uids)
            self._uids, self._nonstandard = uid_sets.merge(parts), tuple(sorted(nonstandard))
        return self._uids, self._nonstandard


def from_row(row: bytes) -> MessageFiles:
    """Return the set of a row that somebody else gave. Raise ValueError where it is none."""
    if row.translate(None, b"0123456789.") or b".." in row or row[:1] == b"." or row[-1:] not in (b".", b""):
        raise ValueError("a row that is not of digits and dots")
    if len(row) > _WINDOW and (row.count(b".") > uid_sets.MOST or wire.has_digits(row, _NO_NAME)):
        raise ValueError("a row that no directory gives")
    return MessageFiles(row)


def sort_out(names: "list[bytes]") -> "tuple[bytes, list[bytes]]":
    """Split the names in a directory into a row of message files, and the others: without a look at each message."""
    # Names that end with a dot are ended by NUL, others by a slash: neither is in a name.
    pieces = (b"/".join(names) + b"/").replace(b"./", b"\0").split(b"/")
    dotted, others = [], []
    for piece in pieces:
        before, nul, other = piece.rpartition(b"\0")
        dotted.append(before + nul)
        if other:
            others.append(other)
    row = b"".join(dotted)
    if row.translate(None, _DIGITS_AND_NUL):
        found = [name + b"." for name in row.split(b"\0")[:-1]]
        others += [name for name in found if not is_message(name)]
        return b"".join([name for name in found if is_message(name)]), others
    return row.replace(b"\0", b"."), others


def _windows(row: bytes) -> "Iterator[bytes]":
    start = 0
    while start < len(row):
        end = row.find(b".", start + _WINDOW) + 1 or len(row)
        yield row[start:end]
        start = end


def _numbers(row: bytes) -> "array[int] | None":
    """Return the UIDs of a row, sorted; None if any name in it is odd."""
    if row.startswith(b"0") or b".0" in row:
        return None
    # JSON's scanner reads a row of numbers in half the time that int() takes for them one by one.
    try:
        numbers = json.loads("[" + row[:-1].decode("ascii").replace(".", ",") + "]")
    except ValueError:
        return None  # more digits than Python reads
    numbers.sort()
    return uid_sets.of(numbers) if numbers[-1] <= uid_sets.MAX_UID else None


def _one_by_one(row: bytes) -> "tuple[array[int], list[bytes]]":
    numbers, nonstandard = [], []
    for digits in row.split(b".")[:-1]:
        if digits.startswith(b"0") or len(digits) > _MOST_DIGITS or int(digits) > uid_sets.MAX_UID:
            nonstandard.append(digits + b".")
        else:
            numbers.append(int(digits))
    return uid_sets.of(sorted(numbers)), nonstandard
