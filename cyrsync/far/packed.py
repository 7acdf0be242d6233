"""Packs what is kept, by gzip; what is large, in pieces, each of which is kept once.

If an index of a million messages gets one more, that costs one piece, and the list of pieces. A packed file replaces
the other when it is on the disk.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import hashlib
import os
import struct
import sys
import zlib
from array import array
from bisect import bisect_left
from contextlib import suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox import records, regular_file
from cyrsync.cyrus.mailbox.index import READ_SIZE
from cyrsync.far import store, whole_file
from cyrsync.far.store import Store
from cyrsync.far.to_disk import to_disk

if TYPE_CHECKING:
    from typing import Callable, Iterator, Optional, Union

    _Read = Callable[[int, int], bytes]
    _Data = Union[bytes, memoryview]
    _ReadData = Callable[[int, int], _Data]

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LARGE = 256 << 10  # bytes of what is kept in pieces
_MOST_WAITING = 5000  # states and files that are not large
_BLOCK = 64 << 10  # bytes of one piece of a file, and that are read at once
_RECORDS = 4096  # of an index that are read at once, and that one piece has at the most
#: A piece ends behind a record whose UID hashes to less than this: every 512th on the average, and the same ones in all
#: states of a mailbox, whatever has gone before them.
_ENDS, _FACTOR, _MASK = (1 << 32) // 512, 0x9E3779B1, (1 << 32) - 1
#: Of records whose UIDs are so many times as far apart, each is looked at.
_SPARSE = 16
_LEVEL = 1  # three times as fast as 6, and 5 % larger: what SHA-1s take cannot be made smaller
_TRAILER = struct.Struct("<II")  # at the end of a gzip file: CRC-32 and size (RFC 1952)
_MANY = 500  # states that are packed before they are synced
_GZIP = 31  # zlib's word for it
#: Of an index or a database, gzip leaves at least a part in so many, but of the first few MiB, which may be empty.
RATIO, SLACK = 64, 16 << 20
_MOST_OPEN = 600  # directories


def newest(directory: int) -> "Optional[bytes]":
    """Return the name of the newest state of a mailbox, None for none."""
    names = [name for name in map(os.fsencode, os.listdir(directory)) if store.SINCE.match(name)]
    return max(names) if names else None


def reader(directory: int, state: bytes) -> "Optional[_Read]":
    """Return what reads so many bytes of a state's index from an offset on; None where that would take long.

    Raise OSError.
    """
    index = os.path.join(state, kinds.INDEX)
    try:
        return _Reader(os.open(index, _FILE, dir_fd=directory)).read
    except FileNotFoundError:
        pass
    try:
        packed = _Reader(os.open(index + store.PACKED, _FILE, dir_fd=directory))
        data = zlib.decompressobj(_GZIP).decompress(packed.read(0, _LARGE), _LARGE)
        return lambda at, size: data[at : at + size]
    except (FileNotFoundError, zlib.error):
        return None


def is_of(directory: int, name: bytes, file: int) -> "Optional[bool]":
    """Tell whether what is packed under a name is what an open file has; None where nothing is. Raise OSError."""
    try:
        packed = os.open(name + store.PACKED, _FILE, dir_fd=directory)
    except FileNotFoundError:
        try:
            os.lstat(name + store.IN_PIECES, dir_fd=directory)
        except FileNotFoundError:
            return None
        return True  # of the same time
    try:
        size = os.fstat(packed).st_size
        trailer = os.pread(packed, _TRAILER.size, max(size - _TRAILER.size, 0))
    finally:
        os.close(packed)
    found = os.fstat(file).st_size
    if found > _LARGE or len(trailer) < _TRAILER.size:
        return False
    return _TRAILER.unpack(trailer) == (zlib.crc32(os.pread(file, found, 0)) & _MASK, found)


def unpacked(data: bytes, most: "Optional[int]" = None) -> bytes:
    """Return what a gzip file has, which may be so much at the most. Raise ValueError.

    Whoever owns the root may have put anything there.
    """
    most = SLACK + RATIO * len(data) if most is None else most
    inflate = zlib.decompressobj(_GZIP)
    try:
        found = inflate.decompress(data, most + 1)
    except (zlib.error, MemoryError) as error:
        raise ValueError("packed, and damaged: {}".format(error)) from None
    if len(found) > most:
        raise ValueError("unpacked, it is too large to be right")
    if not inflate.eof or inflate.unused_data:
        raise ValueError("packed, and torn")
    return found


def is_large(size: int) -> bool:
    """Tell whether what has so many bytes is kept in pieces."""
    return size > _LARGE


class _Reader:
    """An open file, as long as somebody reads it; of a small one, all is read at once."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._data = os.read(descriptor, _LARGE)

    def read(self, at: int, size: int) -> bytes:
        return self._data[at : at + size] if at + size <= len(self._data) else os.pread(self._descriptor, size, at)

    def __del__(self) -> None:
        os.close(self._descriptor)


class Packer:
    """Packs what was kept below one root."""

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._store = Store(root)
        self._made = []  # type: list[tuple[bytes, bytes, bytes]]  # directory, temporary name, name
        self._done = []  # type: list[tuple[bytes, bytes]]  # directory, name of what was packed
        self._opened = {}  # type: dict[bytes, int]  # directories
        self._known = set()  # type: set[tuple[bytes, bytes]]  # pieces that are there

    def pack(self) -> None:
        """Pack all that is noted as not yet packed. Raise OSError; then the next one does it."""
        self._pack_all(self._store.notes())

    def pack_large(self) -> None:
        """Pack what is large, and the rest only if much of it is waiting. Raise OSError."""
        notes = self._store.notes()
        large = [note for note in notes if not note.endswith(store.WAITS)]
        self._pack_all(large if len(notes) - len(large) <= _MOST_WAITING else notes)

    def _pack_all(self, notes: "list[bytes]") -> None:
        for start in range(0, len(notes), _MANY):
            some = [(note, self._store.noted(note)) for note in notes[start : start + _MANY]]
            try:
                for _, path in some:
                    if path:
                        self._pack(path)
                self._settle()
            except OSError:
                self._give_up()
                raise
            for note, path in some:
                if path:
                    self._store.forget(note)

    def _pack(self, path: bytes) -> None:
        """Pack a state by its path in the store; one that is not there any more is well."""
        names = path.split(b"/")
        is_index = names[0] == store.MAILBOXES
        directory, name = (path, kinds.INDEX) if is_index else os.path.split(path)
        pieces = b"/".join([*names[:2], store.PIECES]) if is_index else b"/".join([store.FILES, store.FILE_PIECES])
        try:
            file = os.open(name, _FILE, dir_fd=self._directory(directory))
        except FileNotFoundError:
            return
        try:
            size = regular_file.check(file, name).st_size
            if size <= _LARGE:
                self._make(directory, name + store.PACKED, compressed(os.pread(file, size, 0)))
            else:
                read = partial(_pread, file)
                cut = cut_index(read, size) if is_index else _blocks(read, 0, size)
                lines = [self._piece(pieces, piece) for piece in cut]
                self._make(directory, name + store.IN_PIECES, b"".join(lines))
            self._done.append((directory, name))
        finally:
            os.close(file)

    def _piece(self, pieces: bytes, piece: "_Data") -> bytes:
        """Keep a piece, and return the line that names it."""
        line = name_of(piece)
        two, _, name = line.partition(b"/")
        directory = b"/".join([pieces, two])
        if (directory, name) not in self._known:
            self._known.add((directory, name))
            if not store.is_there(name, self._directory(directory, make=True)):
                self._make(directory, name, compressed(piece))
        return line + b"\n"

    def _directory(self, path: bytes, *, make: bool = False) -> int:
        """Return a directory of the store, open until another one is asked for."""
        if path not in self._opened:
            if len(self._opened) >= _MOST_OPEN:
                self._close()
            self._opened[path] = self._store.open(*path.split(b"/"), make=make)
        return self._opened[path]

    def _close(self) -> None:
        while self._opened:
            os.close(self._opened.popitem()[1])

    __del__ = _close

    def _make(self, directory: bytes, name: bytes, data: bytes) -> None:
        """Write a file that gets its name when it is on the disk."""
        temporary = b".%b.%b" % (name, os.urandom(4).hex().encode("ascii"))
        whole_file.make(temporary, data, self._directory(directory))
        self._made.append((directory, temporary, name))

    def _give_up(self) -> None:
        """Remove what was made and has no name yet: on a full disk, every later try would fill more of it."""
        for directory, temporary, _ in self._made:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=self._directory(directory))
        self._close()

    def _settle(self) -> None:
        """Rename what was made when it is on the disk, and remove what it replaces."""
        to_disk([self._root])
        for directory, temporary, name in self._made:
            where = self._directory(directory)
            os.rename(temporary, name, src_dir_fd=where, dst_dir_fd=where)
        for directory, name in self._done:
            with suppress(FileNotFoundError):  # another shard was as quick
                os.unlink(name, dir_fd=self._directory(directory))
        self._made, self._done = [], []
        self._known.clear()
        self._close()


def compressed(data: "_Data") -> bytes:
    """Return a gzip file."""
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    return deflate.compress(data) + deflate.flush()


def _pread(file: int, at: int, size: int) -> bytes:
    return os.pread(file, size, at)


def name_of(piece: "_Data") -> bytes:
    """Return the name of a piece, `XX/SHA1.gz`."""
    digest = hashlib.sha1(piece).hexdigest().encode("ascii")
    return b"/".join([digest[:2], digest + store.PACKED])


def _blocks(read: "_ReadData", start: int, end: int) -> "Iterator[_Data]":
    for at in range(start, end, _BLOCK):
        yield read(at, min(_BLOCK, end - at))


def cut_index(read: "_ReadData", size: int) -> "Iterator[_Data]":
    """Yield an index in pieces; what cannot be understood is cut like any other file.

    `read` returns so many of its bytes, from an offset on; where it returns views, some pieces are views, too.
    """
    try:
        header = records.read_header(read(0, READ_SIZE))
    except records.BadIndex:
        yield from _blocks(read, 0, size)
        return
    end = min(header.start_offset + header.num_records * header.record_size, size)
    yield read(0, header.start_offset)
    yield from _records(read, header.start_offset, end, header.record_size)
    yield from _blocks(read, end, size)


def _records(read: "_ReadData", start: int, end: int, record_size: int) -> "Iterator[_Data]":
    """Yield records in pieces; where one ends, its last UID alone decides."""
    waiting = b""
    ends = _Ends(_ENDS)
    for at in range(start, end, _RECORDS * record_size):
        area = read(at, min(_RECORDS * record_size, end - at))
        uids = array("I", memoryview(area)[: len(area) - len(area) % record_size].cast("I")[:: record_size // 4])
        if sys.byteorder == "little":
            uids.byteswap()
        begin = 0
        for number in ends.among(uids):
            piece = area[begin : number * record_size]
            yield waiting + piece if waiting else piece
            waiting, begin = b"", number * record_size
        waiting += area[begin:]
        if len(waiting) > _RECORDS * record_size:
            yield waiting
            waiting = b""
    if waiting:
        yield waiting


class _Ends:
    """The UIDs that a piece ends with: those that hash to less than a limit.

    From one to the next, there are only three steps: the least by which the hash grows by less than the limit, the
    least by which it shrinks by less, and their sum (the three gap theorem; N. B. Slater, 1967).
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        grows = next(step for step in count(1) if step * _FACTOR & _MASK < limit)
        shrinks = next(step for step in count(1) if -step * _FACTOR & _MASK < limit)
        self._steps = (*sorted((grows, shrinks)), grows + shrinks)
        self._uid = 0  # the last one found

    def among(self, uids: "array[int]") -> "list[int]":
        """Return how many UIDs a piece has when it ends, of ascending ones, each later than those before."""
        if not uids:
            return []
        first, last = uids[0], uids[-1]
        if last - first > _SPARSE * len(uids):
            return [number for number, uid in enumerate(uids, 1) if uid * _FACTOR & _MASK < self._limit]
        found = []  # type: list[int]
        uid = self._uid if first <= self._uid <= first + self._steps[-1] else self._from(first)
        while uid <= last:
            at = bisect_left(uids, uid, found[-1] if found else 0)
            if at < len(uids) and uids[at] == uid:  # not so in a damaged index
                found.append(at + 1)
            uid = next(uid + step for step in self._steps if (uid + step) * _FACTOR & _MASK < self._limit)
        self._uid = uid
        return found

    def _from(self, first: int) -> int:
        return next(uid for uid in count(first) if uid * _FACTOR & _MASK < self._limit)
