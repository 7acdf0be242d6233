"""Where a replica keeps what it has lost: a hidden directory below each of its roots, and the names in it.

    .cyrsync-history/
        mailboxes/UNIQUEID/SINCE/        one state of a mailbox: cyrus.header, cyrus.index, ..., folder -> PATH
        mailboxes/UNIQUEID/SINCE.gone/   records of messages that arrived and were deleted in between
        mailboxes/UNIQUEID/pieces/       of packed indexes: XX/SHA1.gz
        mailboxes/UNIQUEID/hashed        messages whose SHA-1 no index tells: lines "UIDVALIDITY UID SHA1", or blank
        messages/XX/SHA1                 messages that were deleted
        files/PATH.versions/SINCE        one state of another file
        files/pieces.gz/                 of packed files: XX/SHA1.gz
        unpacked/NAME -> PATH            what is still to be packed; NAME.waits: by prune, or when there is much of it
        held/USER                        whose mail is not to be pruned
        unnamed                          since when no state has named which messages and pieces: lines "TIME PATH"
        forgotten                        who was forgotten: a line of JSON each

SINCE is when the state came to be: the time of modification that the index, or the file, has from the source, but not
before the states that were kept earlier (`last`). Names that begin with a dot are being made.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import hashlib
import os
import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Below a root; only its owner may look at what others had.
STORE = b".cyrsync-history"
#: The end of a note's name if its path need not be packed at once.
WAITS = b".waits"
MAILBOXES, MESSAGES, FILES, UNPACKED = b"mailboxes", b"messages", b"files", b"unpacked"
#: In a state, the symbolic link that says which folder below the root it is of.
FOLDER = b"folder"
GONE, HASHED, VERSIONS = b".gone", b"hashed", b".versions"
#: Endings of what is packed, and the directories with the pieces of mailboxes and of other files.
PACKED, IN_PIECES = b".gz", b".pieces"
PIECES, FILE_PIECES = b"pieces", b"pieces.gz"
_SINCE = rb"[0-9]{4}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])T(?:[01][0-9]|2[0-3])[0-5][0-9][0-5][0-9]\.[0-9]{9}Z"
SINCE = re.compile(_SINCE + rb"\Z")
_LENGTH = len("20261120T100000.000000000Z")
#: Names of states, of records of messages that are gone, and of versions, which may be packed.
STATE, VERSION = re.compile(_SINCE + rb"(\.gone)?\Z"), re.compile(_SINCE + rb"(\.gz|\.pieces)?\Z")
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,100}\Z")
_LONGEST = 255  # bytes of a name
_SECOND = 10**9


def since(mtime: int) -> bytes:
    """Return the name of a state that came to be at a time, in nanoseconds since 1970."""
    seconds, rest = divmod(mtime, _SECOND)
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds)).encode("ascii") + b".%09dZ" % rest


def time_of(name: bytes) -> int:
    """Return the time, in nanoseconds since 1970, of the name of a state."""
    from calendar import timegm  # it takes long to load

    parts = [int(name[start:end]) for start, end in ((0, 4), (4, 6), (6, 8), (9, 11), (11, 13), (13, 15))]
    return int(timegm((*parts, 0, 0, 0))) * _SECOND + int(name[16:25])


def last(names: "Iterable[bytes]", now: int) -> int:
    """Return when the newest of these states came to be, all in nanoseconds since 1970; 0 for none.

    What was kept later is no earlier than that. States from times after `now` do not count: a clock was wrong then, and
    what is kept afterwards must not have to wait for that time.
    """
    until = since(now)
    known = [name[:_LENGTH] for name in names if SINCE.match(name[:_LENGTH]) and name[:_LENGTH] <= until]
    return time_of(max(known)) if known else 0


def directory_of(uniqueid: str) -> bytes:
    """Return the name of the directory with a mailbox's states; a uniqueid that nobody would choose is hashed."""
    if _PLAIN.match(uniqueid):
        return uniqueid.encode("ascii")
    return b"x" + hashlib.sha1(uniqueid.encode("latin-1", "replace")).hexdigest().encode("ascii")


def versions_of(name: bytes) -> bytes:
    """Return the name of the directory with the states of a file; a name that is too long for that is hashed."""
    if len(name) + len(VERSIONS) <= _LONGEST:
        return name + VERSIONS
    return b"x" + hashlib.sha1(name).hexdigest().encode("ascii") + VERSIONS


class Store:
    """The directory below one root. No link in it is followed. Methods raise OSError."""

    def __init__(self, root: bytes) -> None:
        self.root = root
        self._tops = {}  # type: dict[bytes, int]

    def open(self, top: bytes, *names: bytes, make: bool = True) -> int:
        """Return a descriptor of a directory, which the caller closes; with `make`, what is missing is made."""
        first = current = self._top(top, make)
        for name in names:
            try:
                below = _open(name, current, make)
            finally:
                if current != first:
                    os.close(current)
            current = below
        return current if names else os.dup(first)

    def note(self, path: bytes, *, waits: bool = False) -> None:
        """Note a path in the store that is to be packed; one that `waits` is not urgent."""
        name = os.urandom(8).hex().encode("ascii") + (WAITS if waits else b"")
        os.symlink(path, name, dir_fd=self._top(UNPACKED, make=True))

    def notes(self) -> "list[bytes]":
        """Return the names of the notes of paths to pack; the names of those that wait end with WAITS."""
        try:
            directory = self._top(UNPACKED, make=False)
        except FileNotFoundError:
            return []
        return sorted(map(os.fsencode, os.listdir(directory)))

    def noted(self, note: bytes) -> bytes:
        """Return the path in the store that a note is about, b"" for a note that is gone, or is not ours."""
        try:
            path = os.readlink(note, dir_fd=self._top(UNPACKED, make=False))
        except FileNotFoundError:
            return b""
        return path if _is_inside(path) else b""

    def forget(self, note: bytes) -> None:
        """Remove a note."""
        with suppress(FileNotFoundError):
            os.unlink(note, dir_fd=self._top(UNPACKED, make=False))

    def close(self) -> None:
        """Close what is open."""
        while self._tops:
            os.close(self._tops.popitem()[1])

    __del__ = close

    def _top(self, name: bytes, make: bool) -> int:
        if name not in self._tops:
            root = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                before = os.fstat(root)
                store = _open(STORE, root, make)
                if make:
                    os.utime(root, ns=(before.st_atime_ns, before.st_mtime_ns))
            finally:
                os.close(root)
            try:
                self._tops[name] = _open(name, store, make)
            finally:
                os.close(store)
        return self._tops[name]


def is_there(name: bytes, directory: int) -> bool:
    """Tell whether anything of this name is in an open directory. Raise OSError where that is not to be seen."""
    try:
        os.lstat(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    return True


def _open(name: bytes, above: int, make: bool) -> int:
    try:
        return os.open(name, DIRECTORY, dir_fd=above)
    except FileNotFoundError:
        if not make:
            raise
    try:
        os.mkdir(name, 0o700, dir_fd=above)
    except FileExistsError:
        pass
    return os.open(name, DIRECTORY, dir_fd=above)


def _is_inside(path: bytes) -> bool:
    names = path.split(b"/")
    return names[0] in (MAILBOXES, FILES) and len(names) > 1 and {b"", b".", b".."}.isdisjoint(names)
