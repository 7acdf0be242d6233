"""Checks that a far end answers what it was asked for: nothing else, and all of it.

The form of an answer is checked where it is decoded (see wire).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from cyrsync.cyrus.mailbox.user import may_hold_user, user_of
from cyrsync.ends.tree_size import TreeSize
from cyrsync.errors import WrongAnswer
from cyrsync.far import wire
from cyrsync.far.folder import Folder, join, sort_key
from cyrsync.far.wire import WireError

if TYPE_CHECKING:
    from cyrsync.ends.link import Link

Answer = TypeVar("Answer")

#: Bytes of paths in one request, and paths.
_PORTION, _MOST = 1 << 20, 10_000
#: The errors of reading a wrong answer.
WRONG = (*wire.WRONG, zlib.error, MemoryError)


def wrong(name: str, error: BaseException) -> WrongAnswer:
    """Return the error for a wrong answer of the far end with this name."""
    why = str(error) if isinstance(error, WireError) else f"{type(error).__name__} {wire.shown(str(error))}".strip()
    return WrongAnswer(f"{name}: its answer cannot be right ({why}): cyrsync ends here; check what runs there")


def checked(link: Link, read: Callable[[], Answer]) -> Answer:
    """Read an answer, and make one error of all that can be wrong with it."""
    try:
        return read()
    except (EOFError, OSError):
        raise link.failure() from None
    except WRONG as error:
        raise wrong(link.name, error) from None


class WalkOrder:
    """The folders that a walk has announced: each has to be listed in its turn, and none is left out."""

    def __init__(self, users: frozenset[str], size: TreeSize | None = None) -> None:
        """With `users`, only those users' folders are listed, and not what leads to them; `size` counts all."""
        self._users = users
        self._size = size
        #: Folders, and the names in each that have not come, the next one last: whole paths could take any room.
        self._pending: list[tuple[bytes, list[bytes]]] = [] if users else [(b"", [b""])]
        self._top: bytes | None = None  # the last user's folder that no other has announced
        self._last = b""

    def add(self, folder: Folder) -> None:
        """Check that it is this folder's turn. Raise WireError."""
        path = folder.path
        if self._pending:
            if path != self._next():
                raise WireError(f"a folder out of turn, or that was not announced: {wire.shown(path)}")
        elif not self._users or not self._may_come(folder):
            raise WireError(f"a folder that nobody asked for: {wire.shown(path)}")
        else:
            self._top = path
        self._last = path
        if folder.folders:
            self._pending.append((path, list(reversed(folder.folders))))
        if self._size:
            others = len(folder.folders) + len(folder.metadata) + len(folder.other_files) + len(folder.leftovers)
            self._size.add(path, others, len(folder.messages))

    def _next(self) -> bytes:
        above, names = self._pending[-1]
        path = join(above, names.pop())
        if not names:
            self._pending.pop()
        return path

    def end(self) -> None:
        """Check that all have arrived."""
        if self._pending:
            raise WireError(f"a folder was announced and not sent: {wire.shown(self._next())}")

    def _may_come(self, folder: Folder) -> bool:
        path = folder.path
        wanted = may_hold_user(path, self._users) if folder.problem else user_of(path) in self._users
        if self._top is None or not wanted:
            return wanted
        return sort_key(path) > sort_key(self._last) and not (path + b"/").startswith(self._top + b"/")


class Rising:
    """Paths that arrive in the order of a walk, none of them twice."""

    def __init__(self) -> None:
        self._last: bytes | None = None

    def add(self, path: bytes) -> None:
        """Check that this path is after the last one. Raise WireError."""
        key = sort_key(path)
        if self._last is not None and key <= self._last:
            raise WireError(f"a folder out of turn: {wire.shown(path)}")
        self._last = key


class Asked:
    """Paths that were asked about: an answer may be about what is below one of them, too."""

    def __init__(self) -> None:
        self._paths: set[bytes] = set()
        self._longest = 0

    def add(self, path: bytes) -> None:
        """Ask about this one."""
        self._paths.add(path)
        self._longest = max(self._longest, len(path))

    def check(self, path: bytes) -> bytes:
        """Return the path of an answer. Raise WireError for one that was not asked about."""
        # What is longer than any of them is not looked at: a path of a million components would take minutes.
        above = path if len(path) <= self._longest else path[: self._longest + 1].rpartition(b"/")[0]
        while above not in self._paths:
            if not above:
                raise WireError(f"what nobody asked for: {wire.shown(path)}")
            above = above.rpartition(b"/")[0]
        return path


def asked_for(found: bytes, asked: bytes) -> None:
    """Check that an answer is about the path that was asked for. Raise WireError."""
    if found != asked:
        raise WireError(f"{wire.shown(found)} instead of {wire.shown(asked)}")


def time(value: Any) -> float:
    """Return seconds since 1970 on some clock, not before, and before the year 5000."""
    if type(value) is not float or not (math.isfinite(value) and 0 <= value < 1e11):
        raise WireError("no time")
    return value


def size_and_time(value: Any) -> tuple[int, int] | int | None:
    """Return the size and time of a file, None if there is none, an errno for one that cannot be seen."""
    if value is None:
        return None
    if type(value) is int:
        return wire.number(value, wire.MAX_ERRNO, 1)
    size, mtime = value
    return wire.number(size, wire.MAX_SIZE), wire.number(mtime, wire.MAX_TIME, -wire.MAX_TIME)


def portions(paths: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Part paths so that no request is too long."""
    portion: list[bytes] = []
    size = 0
    for path in paths:
        portion.append(path)
        size += len(path) + 1
        if size >= _PORTION or len(portion) == _MOST:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def texts(paths: Iterable[bytes]) -> list[str]:
    """Return paths as JSON can carry them."""
    return [path.decode("latin-1") for path in paths]
