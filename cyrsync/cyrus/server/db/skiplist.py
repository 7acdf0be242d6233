"""skiplist, the default engine up to 2.4 and that of conversations.db: the records in the order they were written.

All integers are big-endian, of 4 bytes (lib/cyrusdb_skiplist.c). Header of 48 bytes: magic 20, version @20, greatest
level @28, start of the log @40. Then records, 4-byte aligned: type, length of the key, key, length of the value, value,
pointers, -1; key and value are filled up with zeros to 4 bytes. Up to the log they are the state of the last
checkpoint, in it what came later, each transaction with a COMMIT at its end.

The pointers are changed before a transaction is committed, and nothing has a checksum: so they are not followed, but
the log is replayed as Cyrus does after a crash (`recovery`).
"""

import struct
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.cyrus.server.db.error import DbError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"\xa1\x02\x8b\x0dskiplist file\0\0\0"
_HEADER = struct.Struct(">20s7I")
_DUMMY_AT = 48
_INORDER, _ADD, _DELETE, _COMMIT, _DUMMY = 1, 2, 4, 255, 257
_MAX_LEVEL = 20
_WORD = struct.Struct(">I")
_TWO_WORDS = struct.Struct(">II")
_END_OF_RECORD = b"\xff\xff\xff\xff"
_ZEROS = b"\0\0\0\0"
_COMMIT_WORD, _DELETE_WORD = _WORD.pack(_COMMIT), _WORD.pack(_DELETE)


class Record(NamedTuple):
    """A record; key and value are empty, and the level 0, for a DELETE or a COMMIT."""

    kind: int
    key: bytes
    value: bytes
    level: int
    end: int


#: Key and value of a record added, or none and the offset of the record deleted.
Change = tuple[int, tuple[bytes, bytes] | None]


def records(data: bytes) -> "Iterator[tuple[bytes, bytes]]":
    """Yield the committed pairs by key, or raise DbError; what follows the last COMMIT is not seen."""
    log = _log_start(data)
    found = _Replay()
    at = _dummy_end(data)
    while at < log:
        record = _record(data, at)
        if record is None or record.kind != _INORDER or record.key in found.pairs:
            raise DbError("no proper record of the last checkpoint", at)
        found.apply((at, (record.key, record.value)))
        at = record.end
    if at != log:
        raise DbError("the log does not start where the header says", at)
    end = found.replay(data, log)
    if end != len(data) and _ends_cleanly(data):
        raise DbError("damage within the log", end)
    return iter(sorted(found.pairs.items()))


class _Replay:
    """The pairs so far, and the key of every record by its offset, which is how a deletion names it."""

    def __init__(self) -> None:
        self.pairs = {}  # type: dict[bytes, bytes]
        self._keys = {}  # type: dict[int, bytes]

    def apply(self, change: Change) -> None:
        at, added = change
        if added:
            self.pairs[added[0]] = added[1]
            self._keys[at] = added[0]
            return
        key = self._keys.pop(at, None)
        if key is None or self.pairs.pop(key, None) is None:
            raise DbError("the log deletes a record that is not there", at)

    def replay(self, data: bytes, at: int) -> int:
        """Apply every transaction that is whole, and return where the last of them ends."""
        committed = at
        pending = []  # type: list[Change]
        while at < len(data):
            record = _record(data, at)
            if record is None and not pending and data.startswith(_ZEROS, at):
                # Once left there by a bug of Cyrus, which also skips them.
                at += 4
                continue
            if record is None or record.kind in (_INORDER, _DUMMY):
                break
            if record.kind == _ADD:
                pending.append((at, (record.key, record.value)))
            elif record.kind == _DELETE:
                pending.append((_WORD.unpack_from(data, at + 4)[0], None))
            else:
                for change in pending:
                    self.apply(change)
                pending = []
                committed = record.end
            at = record.end
        return committed


def _log_start(data: bytes) -> int:
    if len(data) < _HEADER.size:
        raise DbError("too short for a skiplist header", len(data))
    magic, version, _, max_level, level, _, log, _ = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise DbError("no skiplist file", 0)
    if version != 1:
        raise DbError(f"skiplist version {version} is not known", 20)
    if not 0 < max_level <= _MAX_LEVEL or level > max_level:
        raise DbError("a level that cannot be in the skiplist header", 28)
    if log > len(data):
        raise DbError("the file ends before its log starts", len(data))
    return int(log)


def _dummy_end(data: bytes) -> int:
    """Return where the first record begins: behind one without key and value that has all the levels."""
    dummy = _record(data, _DUMMY_AT)
    max_level = _WORD.unpack_from(data, 28)[0]
    if dummy is None or (dummy.kind, dummy.key, dummy.value, dummy.level) != (_DUMMY, b"", b"", max_level):
        raise DbError("no proper dummy record", _DUMMY_AT)
    return dummy.end


def _record(data: bytes, at: int) -> "Record | None":
    """Return the record that begins here, None if there is no whole one."""
    try:
        kind = _WORD.unpack_from(data, at)[0]
        if kind == _COMMIT:
            return Record(kind, b"", b"", 0, at + 4)
        kind, size = _TWO_WORDS.unpack_from(data, at)
        if kind == _DELETE:
            return Record(kind, b"", b"", 0, at + 8)
        if kind not in (_INORDER, _ADD, _DUMMY):
            return None
        key = data[at + 8 : at + 8 + size]
        value_at = at + 12 + size + -size % 4
        size = _WORD.unpack_from(data, value_at - 4)[0]
    except struct.error:
        return None
    pointers = value_at + size + -size % 4
    end = data.find(_END_OF_RECORD, pointers, pointers + 4 * _MAX_LEVEL + 4)
    while end % 4 and end > 0:
        end = data.find(_END_OF_RECORD, end + 1, pointers + 4 * _MAX_LEVEL + 4)
    if end <= pointers:
        return None
    return Record(kind, key, data[value_at : value_at + size], (end - pointers) // 4, end + 4)


def _ends_cleanly(data: bytes) -> bool:
    """Tell whether the last transaction ended with its COMMIT (SAFE_TO_APPEND): then none may be missing."""
    return (
        len(data) % 4 == 0
        and data.endswith(_COMMIT_WORD)
        and (data[-8:-4] == _END_OF_RECORD or data[-12:-8] == _DELETE_WORD)
    )
