"""Messages that the replica may have already: rsync's quick check by size and time tells which of them are to be sent.

One that is the same but for its owner or its permissions is given them, unless it has more names than one.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import json
import os
import stat
import struct
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.far import uids as uid_sets
from cyrsync.far import wire
from cyrsync.far.attributes import dress, settable
from cyrsync.far.descent import Descent
from cyrsync.far.folder import Entry
from cyrsync.far.wire import WireError

if TYPE_CHECKING:
    from array import array
    from typing import IO, Any

#: Of a message: UID, modification time (seconds, nanoseconds), size (bytes), permissions, number of the owner.
_MESSAGE = struct.Struct("<IqIQHH")
_SECOND = 10**9
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Question(NamedTuple):
    """Messages of one folder below a root, as they are on the source, by UID."""

    root: bytes
    path: bytes
    messages: "tuple[tuple[int, Entry], ...]"


def encode(question: Question) -> bytes:
    """Return a question as one frame: a line of JSON, then a row for each message."""
    owners = {}  # type: dict[str, int]
    rows = []
    for uid, entry in question.messages:
        number = owners.setdefault(entry.owner, len(owners))
        rows.append(_MESSAGE.pack(uid, *divmod(entry.mtime, _SECOND), entry.size, stat.S_IMODE(entry.mode), number))
    line = json.dumps([question.root.decode("latin-1"), question.path.decode("latin-1"), list(owners), len(rows)])
    return line.encode("ascii") + b"\n" + b"".join(rows)


@wire.one_error
def decode(stream: "IO[bytes]") -> Question:
    """Undo `encode`. Raise WireError for anything else, EOFError when the stream ends in it."""
    root, path, owners, count = wire.read_record(stream)
    known = [wire.owner(owner) for owner in wire.list_of(owners)]
    data = wire.read_data(stream, wire.number(count, wire.MAX_MESSAGES) * _MESSAGE.size, wire.MAX_FILE)
    return Question(wire.whole_path(root), wire.path(path), tuple([_row(known, *row) for row in _rows(data)]))


def _rows(data: bytes) -> "Any":
    return _MESSAGE.iter_unpack(data)


def _row(owners: "list[str]", uid: int, seconds: int, nanoseconds: int, size: int, mode: int, owner: int) -> "Any":
    if not uid or nanoseconds >= _SECOND or mode & ~0o777:
        raise WireError("no message: {} {:o}".format(uid, mode))
    mtime = wire.number(seconds * _SECOND + nanoseconds, wire.MAX_TIME, -wire.MAX_TIME)
    return uid, Entry(stat.S_IFREG | mode, wire.number(size, wire.MAX_SIZE), mtime, owners[owner], "")


def same(question: Question, numeric_ids: bool) -> "array[int]":
    """Return the UIDs of the messages that are here as they are on the source."""
    descent = Descent(question.root)
    try:
        folder = os.open(descent.where(question.path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return uid_sets.empty()
    try:
        return uid_sets.of([uid for uid, entry in question.messages if _is_same(folder, uid, entry, numeric_ids)])
    finally:
        os.close(folder)


def _is_same(folder: int, uid: int, entry: Entry, numeric_ids: bool) -> bool:
    try:
        descriptor = os.open(b"%d." % uid, _FLAGS, dir_fd=folder)
    except OSError:
        return False
    try:
        now = os.fstat(descriptor)
        if not stat.S_ISREG(now.st_mode) or (now.st_size, now.st_mtime_ns) != (entry.size, entry.mtime):
            return False
        wanted = entry.mode, *settable(entry, now.st_uid, now.st_gid, numeric_ids)
        if now.st_nlink > 1 and (now.st_mode, now.st_uid, now.st_gid) != wanted:
            return False  # the other name may be of a file that is no message: it is not given away
        dress(descriptor, entry, numeric_ids=numeric_ids)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
