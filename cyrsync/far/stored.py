"""What the store of a replica's root has: states of mailboxes and of other files, by their names; and the pool.

Names that begin with a dot are being made, or are left of a killed run. No link in a store is followed.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox import header, regular_file
from cyrsync.far import descent
from cyrsync.far.descent import Descent
from cyrsync.far.store import (
    FILE_PIECES,
    FILES,
    FOLDER,
    HASHED,
    IN_PIECES,
    MAILBOXES,
    MESSAGES,
    PIECES,
    STATE,
    STORE,
    UNPACKED,
    VERSION,
    VERSIONS,
)

if TYPE_CHECKING:
    from typing import Iterator, List, Optional, Set, Tuple

#: What a killed run leaves of states that it was removing: of those that a user wanted forgotten, and others.
PRUNED, FORGOTTEN = b".pruned", b".forgotten"
#: The problem of an unknown name.
UNKNOWN = "nothing that a store has: move it away"
PIECE = re.compile(rb"[0-9a-f]{2}/[0-9a-f]{40}\.gz\Z")
_DIGEST = re.compile(rb"[0-9a-f]{40}\Z")
_DIRECTORY = re.compile(rb"[A-Za-z0-9_-]{1,100}\Z")
_TWO = re.compile(rb"[0-9a-f]{2}\Z")
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LARGEST = 4 << 30  # bytes of an index


class Damaged(Exception):
    """Something whose messages cannot be read: its path below the root, and why."""

    def __init__(self, path: bytes, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason


class Mailbox(NamedTuple):
    """The history of one mailbox below one root: names of states, and of records of messages that are gone, rising."""

    name: bytes  # of its directory
    states: "Tuple[bytes, ...]"
    gone: "Tuple[bytes, ...]"
    others: "Tuple[bytes, ...]" = ()  # names that nobody knows; b"" for its own

    @property
    def is_known(self) -> bool:
        """Tell whether the directory has the name of one."""
        return b"" not in self.others


class File(NamedTuple):
    """The history of one file: names of its versions, rising."""

    path: bytes  # of the directory with them, below `files`
    versions: "Tuple[bytes, ...]"


class StoreReader:
    """The store below one root, read."""

    def __init__(self, root: bytes) -> None:
        self.root = root
        self._descent = Descent(root)

    def close(self) -> None:
        """Close what is open."""
        self._descent.close()

    def is_there(self) -> bool:
        """Tell whether there is a store. Raise OSError where that is not to be seen."""
        return self._names(STORE) is not None

    def directory(self, *names: bytes) -> int:
        """Return a descriptor of a directory in the store, good until another one is asked for. Raise OSError."""
        return self._descent.open(b"/".join((STORE, *names)))

    def names(self, *path: bytes) -> "List[bytes]":
        """Return the names in a directory of the store, sorted; none if it does not exist. Raise OSError."""
        return sorted(self._names(b"/".join((STORE, *path))) or ())

    def shown(self, *path: bytes) -> "List[bytes]":
        """Return the same without what is being made."""
        return [name for name in self.names(*path) if not name.startswith(b".")]

    def mailboxes(self) -> "Iterator[Mailbox]":
        """Yield what is kept of each mailbox. Raise OSError."""
        for name in self.shown(MAILBOXES):
            if not _DIRECTORY.match(name):
                yield Mailbox(name, (), (), (b"",))
                continue
            states, gone, others = [], [], []  # type: List[bytes], List[bytes], List[bytes]
            for one in self.shown(MAILBOXES, name):
                match = STATE.match(one)
                if match:
                    (gone if match.group(1) else states).append(one)
                elif one not in (PIECES, HASHED):
                    others.append(one)
            yield Mailbox(name, tuple(states), tuple(gone), tuple(others))

    def files(self) -> "Iterator[File]":
        """Yield what is kept of each file. Raise OSError."""
        pending = [b""]
        while pending:
            path = pending.pop()
            for name in reversed(self.shown(FILES, *([path] if path else []))):
                below = path + b"/" + name if path else name
                if below == FILE_PIECES:
                    continue
                if name.endswith(VERSIONS):
                    found = self.names(FILES, below)
                    yield File(below, tuple([one for one in found if VERSION.match(one)]))
                else:
                    pending.append(below)

    def leftovers(self) -> "Iterator[Tuple[bytes, ...]]":
        """Yield what killed runs have left of states, and in those to be packed: directory and name. Raise OSError."""
        for mailbox in self.shown(MAILBOXES):
            for name in self.names(MAILBOXES, mailbox):
                if name.startswith(b"."):
                    yield MAILBOXES + b"/" + mailbox, name
        for path in self._unpacked_states():
            for name in self.names(path):
                if name.startswith(b"."):
                    yield path, name
        for file in self.files():
            for name in self.names(FILES, file.path):
                if name.startswith(b"."):
                    yield FILES + b"/" + file.path, name

    def _unpacked_states(self) -> "Iterator[bytes]":
        """Yield the paths of the states that are to be packed. Raise OSError."""
        for note in self.names(UNPACKED):
            try:
                top, _, rest = self.link(UNPACKED, note).partition(b"/")
            except OSError:
                continue  # it is no note
            mailbox, _, state = rest.partition(b"/")
            if top == MAILBOXES and _DIRECTORY.match(mailbox) and STATE.match(state):
                yield b"/".join((top, mailbox, state))

    def ended(self, *path: bytes) -> int:
        """Return until when the newest state held, in nanoseconds since 1970: then it was kept. Raise OSError."""
        return int(self.status(*path).st_ctime_ns)

    def folder(self, mailbox: bytes, state: bytes) -> bytes:
        """Return where a mailbox lay in a state, below the root; b"." for the root itself. Raise OSError."""
        return self.link(MAILBOXES, mailbox, state, FOLDER)

    def name(self, mailbox: bytes, state: bytes) -> bytes:
        """Return a mailbox's name in a state by its header (3.6 and newer), b"" where that does not tell."""
        try:
            return header.read(self.contents(MAILBOXES, mailbox, state, kinds.HEADER)).name or b""
        except (OSError, ValueError):
            return b""

    def pool(self) -> "Iterator[bytes]":
        """Yield the SHA-1 of each message in the pool, in hexadecimal. Raise OSError."""
        for two in self.names(MESSAGES):
            if _TWO.match(two):
                for name in self.names(MESSAGES, two):
                    if _DIGEST.match(name):
                        yield name

    def pieces(self, *path: bytes) -> "Set[bytes]":
        """Return the names of the pieces that something packed is in, by its path without the ending. Raise Damaged."""
        whole = b"/".join(path) + IN_PIECES
        try:
            names = self.contents(*path[:-1], path[-1] + IN_PIECES).split()
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise Damaged(STORE + b"/" + whole, error.strerror or str(error)) from None
        if not all(PIECE.match(name) for name in names):
            raise Damaged(STORE + b"/" + whole, "no list of pieces")
        return set(names)

    def all_pieces(self, *path: bytes) -> "Iterator[bytes]":
        """Yield the names in a directory of pieces: pieces, and what killed runs have left. Raise OSError."""
        for two in self.names(*path):
            if _TWO.match(two):
                for name in self.names(*path, two):
                    if PIECE.match(two + b"/" + name) or name.startswith(b"."):
                        yield two + b"/" + name

    def contents(self, *path: bytes, most: int = _LARGEST) -> bytes:
        """Return what is in a file of the store. Raise OSError, also for a link and what is no regular file."""
        descriptor = os.open(path[-1], _FILE, dir_fd=self.directory(*path[:-1]))
        try:
            regular_file.check(descriptor, os.path.join(self.root, STORE, *path))
            return regular_file.contents(descriptor, most)
        finally:
            os.close(descriptor)

    def link(self, *path: bytes) -> bytes:
        """Return what a link says. Raise OSError."""
        return os.readlink(path[-1], dir_fd=self.directory(*path[:-1]))

    def status(self, *path: bytes) -> os.stat_result:
        """Return how something looks, a link itself. Raise OSError."""
        return os.lstat(path[-1], dir_fd=self.directory(*path[:-1]))

    def _names(self, path: bytes) -> "Optional[List[bytes]]":
        try:
            directory = os.open(b".", _LIST, dir_fd=self._descent.open(path))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.path.join(self.root, path)) from None
        try:
            return descent.names(directory)
        finally:
            os.close(directory)
