"""The stream of mailboxes as it crosses a connection: frames, each a tag, a length and so many bytes.

A mailbox is one or more parts, each a folder below a root: what is to be in it, in order; then a frame that commits
the whole mailbox, or one that gives it up. What is larger than a frame comes in pieces; of a message that the receiver
has under another name, that name comes. Owners are sent once, and then
named by their number; when all numbers have been given, they begin anew.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import io
import json
import stat
import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far import folder as folders
from cyrsync.far import grown, wire
from cyrsync.far import uids as uid_sets
from cyrsync.far.folder import Entry
from cyrsync.far.grown import Cache
from cyrsync.far.wire import WireError

if TYPE_CHECKING:
    from typing import IO, Any, Callable

#: Bytes of a file that one frame has at the most, and of a whole frame.
PIECE, _LONGEST = 1 << 20, 16 << 20
#: Bytes that are handed on together.
_BLOCK = 1 << 17
_LENGTH = struct.Struct("<I")
_COMMIT, _END = b"C", b"Z"
_HEAD = struct.Struct("<cI")
#: Of a message: UID, modification time (seconds, nanoseconds), size (bytes), permissions, number of the owner.
_MESSAGE = struct.Struct("<IqIQHH")
_SECOND = 10**9
_MOST_OWNERS = 1 << 16
#: Names that only cyrsync itself gives.
_OURS = b".cyrsync"


class Part(NamedTuple):
    """A folder below a root; `above` are its directory and those it is in, by path, the root first."""

    root: bytes
    path: bytes
    above: "tuple[tuple[bytes, Entry], ...]"


class Target(NamedTuple):
    """A message file that the replica has: the root that it is below, its folder's path, and its UID."""

    root: bytes
    path: bytes
    uid: int


class Deflated:
    """Compresses what is written: blocks, each behind its length, the last one empty."""

    def __init__(self, write: "Callable[[bytes], None]") -> None:
        self._write = write
        self._deflate = zlib.compressobj(6)

    def write(self, data: bytes) -> None:
        """Write so that all of it can be read at the other end."""
        if not data:
            return
        block = self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        self._write(_LENGTH.pack(len(block)) + block)

    def end(self) -> None:
        """Write the last block."""
        self._write(_LENGTH.pack(0))


class Inflated:
    """Reads what `Deflated` has written. Raise WireError for anything else, EOFError where the stream ends."""

    def __init__(self, stream: "IO[bytes]") -> None:
        self._stream = stream
        self._inflate = zlib.decompressobj()
        self._block = io.BytesIO()

    def read(self, size: int) -> bytes:
        """Return so many bytes."""
        parts, left = [], size
        while left:
            part = self._block.read(left)
            if part:
                parts.append(part)
                left -= len(part)
            else:
                self._block = io.BytesIO(self._more())
        return b"".join(parts)

    def end(self) -> None:
        """See that nothing follows."""
        tail = self._inflate.unconsumed_tail
        if self._block.read(1) or (tail and self._inflate.decompress(tail, 1)) or self._length():
            raise WireError("more than the end of a stream")

    def _more(self) -> bytes:
        packed = self._inflate.unconsumed_tail
        found = b""
        while not found:
            if not packed:
                packed = wire.read_data(self._stream, self._length(), _LONGEST)
                if not packed:
                    raise EOFError
            try:
                found = self._inflate.decompress(packed, PIECE)
            except zlib.error as error:
                raise WireError(str(error)) from None
            packed = self._inflate.unconsumed_tail
        return found

    def _length(self) -> int:
        (length,) = _LENGTH.unpack(wire.read_data(self._stream, _LENGTH.size, _LENGTH.size))  # type: tuple[int]
        return length


class Encoder:
    """Makes frames of a stream, and hands them on in blocks."""

    def __init__(self, write: "Callable[[bytes], None]") -> None:
        self._write = write
        self._owners = {}  # type: dict[str, int]
        self._waiting = []  # type: list[bytes]
        self._size = 0  # bytes that wait
        self.mailboxes = 0  # that were committed

    def part(self, part: Part) -> None:
        """Begin a part of the present mailbox."""
        above = [[_text(path), entry] for path, entry in part.above]
        self._frame(b"P", _line([_text(part.root), _text(part.path), above]))

    def message(self, uid: int, entry: Entry, data: bytes) -> None:
        """Send a message file, or the first piece of it."""
        head = self._head_of(uid, entry)
        self._put(_HEAD.pack(b"M", len(head) + len(data)) + head, data)

    def link(self, uid: int, entry: Entry, target: Target) -> None:
        """Send a message file of which there is another name."""
        names = [_text(target.root), _text(target.path), target.uid]
        self._frame(b"L", self._head_of(uid, entry) + _line(names))

    def file(self, name: bytes, entry: Entry, data: bytes) -> None:
        """Send another file, or the first piece of it, or a symbolic link."""
        line = _line([_text(name), entry])
        self._put(_HEAD.pack(b"F", len(line) + len(data)) + line, data)

    def tail(self, name: bytes, entry: Entry, old: Cache, data: bytes) -> None:
        """Send what a cache has grown by, or the first piece of that."""
        line = _line([_text(name), entry, *old])
        self._put(_HEAD.pack(b"T", len(line) + len(data)) + line, data)

    def more(self, data: bytes) -> None:
        """Send the next piece of a file."""
        self._frame(b"D", data)

    def commit(self) -> None:
        """End a mailbox of which everything has been sent."""
        self._frame(_COMMIT, b"")
        self.mailboxes += 1

    def abandon(self) -> None:
        """End a mailbox of which nothing is to take its place."""
        self._frame(b"X", b"")

    def end(self) -> None:
        """End the stream."""
        self._frame(_END, b"")
        self._flush()

    def _head_of(self, uid: int, entry: Entry) -> bytes:
        number = self._owners.get(entry.owner)
        if number is None:
            if len(self._owners) == _MOST_OWNERS:
                self._owners.clear()
            number = self._owners[entry.owner] = len(self._owners)
            self._frame(b"O", entry.owner.encode("utf-8", "surrogateescape"))
        return _MESSAGE.pack(uid, *divmod(entry.mtime, _SECOND), entry.size, stat.S_IMODE(entry.mode), number)

    def _frame(self, tag: bytes, data: bytes) -> None:
        self._put(_HEAD.pack(tag, len(data)), data)

    def _put(self, head: bytes, data: bytes) -> None:
        if len(data) >= _BLOCK:
            self._waiting.append(head)
            self._flush()
            self._write(data)  # without a copy of what is large
            return
        self._waiting += (head, data)
        self._size += len(head) + len(data)
        if self._size >= _BLOCK:
            self._flush()

    def _flush(self) -> None:
        block, self._waiting, self._size = b"".join(self._waiting), [], 0
        self._write(block)


def decode(stream: "IO[bytes] | Inflated", sink: "Any", wanted: "Callable[[], bool]") -> None:
    """Hand what a stream says to a `sink`, up to its end, or between two mailboxes until nobody wants it any more.

    The sink has the methods of `Encoder`. Raise WireError for what cannot be right, EOFError when the stream ends.
    """
    decoder = _Decoder(sink)
    while True:
        tag, size = _HEAD.unpack(wire.read_data(stream, _HEAD.size, _HEAD.size))
        data = wire.read_data(stream, size, _LONGEST)
        if tag == _END or (tag == _COMMIT and not wanted()):
            return
        decoder.frame(tag, data)


class _Decoder:
    """Checks frames, and hands on what they say."""

    def __init__(self, sink: "Any") -> None:
        self._sink = sink
        self._owners = []  # type: list[str]
        self._left = 0  # bytes of a file that are to come
        self._frames = {b"P": self._part, b"O": self._owner, b"M": self._message, b"F": self._file, b"T": self._tail}
        self._frames.update({b"L": self._link, b"D": self._more, _COMMIT: self._commit, b"X": self._abandon})

    def frame(self, tag: bytes, data: bytes) -> None:
        """Take one frame. Raise WireError."""
        handle = self._frames.get(tag)
        if handle is None:
            raise WireError("a frame of no kind: " + wire.shown(tag))
        if self._left and tag not in (b"D", b"X"):
            raise WireError("less of a file than there is")
        handle(data)

    @wire.one_error
    def _owner(self, data: bytes) -> None:
        if len(self._owners) == _MOST_OWNERS:
            self._owners.clear()
        self._owners.append(wire.owner(data.decode("utf-8", "surrogateescape")))

    @wire.one_error
    def _part(self, data: bytes) -> None:
        root, path_text, listed = wire.parse(data)
        path = wire.path(path_text)
        above = tuple([(wire.path(one), folders.directory(fields)) for one, fields in wire.list_of(listed)])
        wire.above([one for one, _ in above], path)
        self._sink.part(Part(wire.whole_path(root), path, above))

    def _message(self, data: bytes) -> None:
        uid, entry = self._head(data)
        data = data[_MESSAGE.size :]
        self._begin(entry.size, data)
        self._sink.message(uid, entry, data)

    @wire.one_error
    def _link(self, data: bytes) -> None:
        uid, entry = self._head(data)
        root, path, number = wire.parse(data[_MESSAGE.size :])
        target = Target(wire.whole_path(root), wire.path(path), wire.number(number, uid_sets.MAX_UID, 1))
        self._sink.link(uid, entry, target)

    def _head(self, data: bytes) -> "tuple[int, Entry]":
        if len(data) < _MESSAGE.size:
            raise WireError("half a message")
        uid, seconds, nanoseconds, size, mode, owner = _MESSAGE.unpack_from(data)
        mtime = seconds * _SECOND + nanoseconds
        if not uid or mode & ~0o777 or owner >= len(self._owners) or nanoseconds >= _SECOND:
            raise WireError("no message: {} {:o} {}".format(uid, mode, owner))
        if size > wire.MAX_SIZE or not -wire.MAX_TIME <= mtime <= wire.MAX_TIME:
            raise WireError("a size or a time out of bounds: {} {}".format(size, mtime))
        return uid, Entry(stat.S_IFREG | mode, size, mtime, self._owners[owner], "")

    @wire.one_error
    def _file(self, data: bytes) -> None:
        line, _, data = data.partition(b"\n")
        name_text, fields = wire.parse(line)
        (name,) = wire.names([name_text])
        entry = folders.entry(fields)
        if name.startswith(_OURS):
            raise WireError("a name that is ours: " + wire.shown(name))
        if stat.S_ISLNK(entry.mode):
            if data or not entry.extra or "\0" in entry.extra:
                raise WireError("no link: " + wire.shown(name))
        elif stat.S_ISREG(entry.mode):
            self._begin(entry.size, data)
        else:
            raise WireError("no file where one must be: " + wire.shown(name))
        self._sink.file(name, entry, data)

    @wire.one_error
    def _tail(self, data: bytes) -> None:
        line, _, data = data.partition(b"\n")
        name_text, fields, size, mtime, sample = wire.parse(line)
        (name,) = wire.names([name_text])
        entry = folders.regular(fields)
        if name != kinds.CACHE:
            raise WireError("no cache: " + wire.shown(name))
        most = wire.MAX_TIME
        old = Cache(wire.number(size, entry.size), wire.number(mtime, most, -most), wire.text(sample, grown.LENGTH))
        self._begin(entry.size - old.size, data)
        self._sink.tail(name, entry, old, data)

    def _more(self, data: bytes) -> None:
        if not 0 < len(data) <= self._left:
            raise WireError("more of a file than there is")
        self._left -= len(data)
        self._sink.more(data)

    def _commit(self, data: bytes) -> None:
        self._sink.commit()

    def _abandon(self, data: bytes) -> None:
        self._left = 0
        self._sink.abandon()

    def _begin(self, size: int, data: bytes) -> None:
        self._left = size - len(data)
        if self._left < 0:
            raise WireError("more of a file than there is")


def _line(record: "Any") -> bytes:
    return json.dumps(record, separators=(",", ":")).encode("ascii") + b"\n"


def _text(name: bytes) -> str:
    return name.decode("latin-1")
