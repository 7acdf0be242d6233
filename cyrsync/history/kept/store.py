"""Reads the store below one root of a replica: states of mailboxes, versions of other files, and messages.

The store is the work of a receiver, but lies where Cyrus's user may write: no link in it is followed, whatever is
packed stays within bounds, and names that are none of a store's are passed over.
"""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cyrsync.cyrus.mailbox import entry, records, regular_file
from cyrsync.far import store as names
from cyrsync.far.named import hashed_in
from cyrsync.far.stored import StoreReader
from cyrsync.history.kept import excerpt, unpack
from cyrsync.history.kept.unpack import BadState

if TYPE_CHECKING:
    from cyrsync.far.named import Hashed

#: Bytes of a header, of annotations, and of the other files beside an index.
_LARGEST_BESIDE = 64 << 20
_LARGEST_LIST = 1 << 30
#: Bytes of pieces that are remembered, as states that follow each other have most of them in common.
_REMEMBERED = 64 << 20
_BESIDE = (entry.HEADER, entry.EXPUNGE, entry.ANNOTATIONS)


class Store:
    """The store of one root, whose path is absolute."""

    def __init__(self, root: bytes) -> None:
        self.root = root
        self.reader = StoreReader(root)
        self._pieces: OrderedDict[bytes, tuple[bytes, int]] = OrderedDict()
        self._size = 0

    def mailboxes(self) -> list[bytes]:
        """Return the names of the directories with states of mailboxes. Raise OSError."""
        return self.reader.shown(names.MAILBOXES)

    def states(self, mailbox: bytes) -> list[State]:
        """Return the states of a mailbox, by the name of their directory, the oldest first. Raise OSError."""
        # Names sort by time.
        found = self.reader.shown(names.MAILBOXES, mailbox)
        return [State(self, mailbox, name) for name in found if names.STATE.match(name)]

    def hashed(self, mailbox: bytes) -> Hashed:
        """Return the SHA-1 of messages of a mailbox that its indexes have no GUID of. Raise OSError."""
        return hashed_in(self.reader, mailbox)

    def versions(self, path: bytes) -> list[Version]:
        """Return the versions of a file that is no mailbox's, by its path below the root. Raise OSError."""
        above, mark, name = path.rpartition(b"/")
        return self.versions_in(above + mark + names.versions_of(name))

    def versions_in(self, directory: bytes) -> list[Version]:
        """Return the versions in a directory below that of all files. Raise OSError."""
        found: dict[int, Version] = {}
        for name in self.reader.shown(names.FILES, *directory.split(b"/")):
            if names.VERSION.match(name):
                when = names.time_of(name)
                found[when] = Version(self, directory, when)
        return [found[when] for when in sorted(found)]

    def every_version(self) -> Iterator[Version]:
        """Yield the versions of all files. Raise OSError."""
        pending = [b""]
        while pending:
            directory = pending.pop()
            for name in self.reader.shown(names.FILES, *filter(None, directory.split(b"/"))):
                path = os.path.join(directory, name)
                if name.endswith(names.VERSIONS):
                    yield from self.versions_in(path)
                elif path != names.FILE_PIECES:
                    pending.append(path)

    def pool(self, guid: bytes) -> bytes:
        """Return where a message is if it is in the pool."""
        name = guid.hex().encode("ascii")
        return b"/".join([self.root, names.STORE, names.MESSAGES, name[:2], name])

    def read(self, *path: bytes, most: int = regular_file.LARGEST) -> bytes:
        """Return what is in a file of the store. Raise OSError, also for a link and what is no regular file."""
        return self.reader.contents(*path, most=most)

    def unpacked(self, path: tuple[bytes, ...], pieces: tuple[bytes, ...], first: int | None = None) -> bytes:
        """Return a file that may be packed, in `pieces` of that directory, or about its `first` bytes.

        Raise OSError, BadState.
        """
        *above, name = path
        try:
            return self.read(*path)
        except FileNotFoundError:
            pass
        try:
            data = self.read(*above, name + names.PACKED)
            return unpack.gzip(data) if first is None else unpack.start(data, first)
        except FileNotFoundError:
            pass
        listed = self.read(*above, name + names.IN_PIECES, most=_LARGEST_LIST)
        if first is not None:
            return self.piece(pieces, unpack.pieces(listed[: listed.find(b"\n") + 1])[0])[0]
        return unpack.joined(listed, lambda piece: self.piece(pieces, piece))

    def piece(self, directory: tuple[bytes, ...], name: bytes) -> tuple[bytes, int]:
        """Return a piece of a directory, unpacked, and its size on the disk. Raise BadState."""
        if name in self._pieces:
            self._pieces.move_to_end(name)
            return self._pieces[name]
        try:
            packed = self.read(*directory, *name.split(b"/"), most=_LARGEST_BESIDE)
        except OSError as error:
            raise BadState(f"piece {name.decode()}: {error.strerror}") from None
        found = unpack.piece(name, packed), len(packed)
        self._pieces[name] = found
        self._size += len(found[0])
        while self._size > _REMEMBERED:
            self._size -= len(self._pieces.popitem(last=False)[1][0])
        return found


@dataclass(frozen=True, slots=True)
class State:
    """One state of a mailbox, or the records of messages that arrived and were deleted between two states (`gone`)."""

    store: Store
    mailbox: bytes  # the name of the directory that its states are in
    name: bytes

    @property
    def since(self) -> int:
        """Since when it was so, in nanoseconds since 1970."""
        return names.time_of(self.name)

    @property
    def gone(self) -> bool:
        """Whether there are only records of messages that arrived and were deleted."""
        return self.name.endswith(names.GONE)

    @property
    def path(self) -> bytes:
        """Where it is, for messages about it."""
        return os.path.join(self.store.root, names.STORE, *self._path)

    @property
    def _path(self) -> tuple[bytes, ...]:
        return (names.MAILBOXES, self.mailbox, self.name)

    @property
    def _pieces(self) -> tuple[bytes, ...]:
        return (names.MAILBOXES, self.mailbox, names.PIECES)

    def folder(self) -> bytes:
        """Return the folder that it is of, below the root, b"" for the root itself. Raise OSError, BadState."""
        found = self.store.reader.link(*self._path, names.FOLDER)
        if found == b".":
            return b""
        if not found or any(part in (b"", b".", b"..") for part in found.split(b"/")):
            raise BadState("its folder is none")
        return found

    def made(self) -> int:
        """Return when its index was replaced, or removed, in nanoseconds since 1970. Raise OSError."""
        return self.store.reader.status(*self._path, names.FOLDER).st_mtime_ns

    def header(self) -> bytes:
        """Return its cyrus.header. Raise OSError."""
        return self.store.read(*self._path, entry.HEADER, most=_LARGEST_BESIDE)

    def index(self, first: int | None = None) -> bytes:
        """Return its cyrus.index, or about the `first` bytes. Raise OSError, BadState."""
        return self.store.unpacked((*self._path, entry.INDEX), self._pieces, first)

    def whole_index(self) -> bytes:
        """Return its cyrus.index; if `gone`, an index with those records. Raise OSError, BadState, BadIndex."""
        return excerpt.as_index(self.index()) if self.gone else self.index()

    def new_pieces(self, seen: dict[bytes, int]) -> tuple[bytes, list[bytes]] | None:
        """Return its header, and its pieces that are not `seen`; each has whole records.

        These pieces are added to `seen`, with their sizes. None for an index that is not in pieces, or not cut between
        records. Raise OSError, BadState, BadIndex.
        """
        found = self._in_pieces()
        if found is None:
            return None
        head, others = found
        header = records.read_header(head)
        new = [name for name in others if name not in seen]
        data = [self.store.piece(self._pieces, name)[0] for name in new]
        seen.update(zip(new, map(len, data), strict=True))
        end = header.start_offset + header.num_records * header.record_size
        whole = len(head) == header.start_offset and len(head) + sum(seen[name] for name in others) == end
        if not whole or any(len(piece) % header.record_size for piece in data):
            return None
        return head, data

    def with_guid(self, guid: bytes) -> Iterator[bytes]:
        """Yield an index that has all its records of a GUID, or of one in pieces each piece that has some, as an index.

        Raise OSError, BadState, BadIndex.
        """
        found = self._in_pieces()
        if found is None:
            whole = self.whole_index()
            if guid in whole:
                yield whole
            return
        head, others = found
        header = records.read_header(head)
        for name in others:
            data = self.store.piece(self._pieces, name)[0]
            if guid in data and guid in records.alone(header, data).guids():
                yield excerpt.as_index(head + data)

    def _in_pieces(self) -> tuple[bytes, list[bytes]] | None:
        """Return the first piece, which is the header, and the names of the others; None where there are none."""
        try:
            listed = self.store.read(*self._path, entry.INDEX + names.IN_PIECES, most=_LARGEST_LIST)
        except FileNotFoundError:
            return None
        first, *others = unpack.pieces(listed)
        return self.store.piece(self._pieces, first)[0], others

    def metadata(self, index: bytes | None = None) -> dict[bytes, bytes]:
        """Return its files by their names in a spool, with that `index` if it is given. Raise OSError, BadState."""
        found = {entry.INDEX: self.index() if index is None else index}
        for name in _BESIDE:
            try:
                found[name] = self.store.read(*self._path, name, most=_LARGEST_BESIDE)
            except FileNotFoundError as error:
                if name == entry.HEADER:
                    raise BadState(f"{os.fsdecode(name)}: {os.strerror(error.errno or errno.ENOENT)}") from None
        return found


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a file that is no mailbox's."""

    store: Store
    directory: bytes  # below that of all files
    since: int  # nanoseconds since 1970

    @property
    def path(self) -> bytes:
        """Where it is, but for what is added to the name of a packed one."""
        return os.path.join(self.store.root, names.STORE, *self._path)

    @property
    def _path(self) -> tuple[bytes, ...]:
        return (names.FILES, *self.directory.split(b"/"), names.since(self.since))

    def ended(self) -> int:
        """Return until when it held, or when it was packed, in nanoseconds since 1970. Raise OSError."""
        *above, name = self._path
        for ending in (b"", names.PACKED, names.IN_PIECES):
            with suppress(FileNotFoundError):
                return self.store.reader.ended(*above, name + ending)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)

    def link(self) -> bytes:
        """Return what it said if it was a symbolic link, b"" if it was a file. Raise OSError."""
        try:
            return self.store.reader.link(*self._path)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):  # a file, or packed as only files are
                return b""
            raise

    def contents(self) -> bytes:
        """Return what was in it. Raise OSError, BadState."""
        return self.store.unpacked(self._path, (names.FILES, names.FILE_PIECES))
