"""Reading folders before they are asked for, in threads, as long as the disk has to be waited for.

Where the directories are in memory, threads would only stand in each other's way; where they have to come from
the disk, several at once come sooner. The kernel counts the blocks it had to read for us, so each folder tells
which it was.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future, ThreadPoolExecutor

    from cyrsync.far.folder import Folder

#: Folders read at once. More than this won nothing on a single disk.
_THREADS = 8
#: So many folders in a row must have been waited for: a single one has only slipped out of the memory.
_IN_A_ROW = 3


class ReadAhead:
    """Reads folders by a function of their path, some of them ahead of time by others that do the same."""

    def __init__(self, read: "Callable[[bytes], Folder]", another: "Callable[[], Callable[[bytes], Folder]]") -> None:
        """`another` makes a function that may be called in a thread of its own."""
        self._read = read
        self._another = another
        self._idle: "list[Callable[[bytes], Folder]]" = []
        self._pool: "ThreadPoolExecutor | None" = None
        self._started: "dict[bytes, Future[tuple[Folder, bool]]]" = {}
        self._in_a_row = 0

    def read(self, path: bytes, upcoming: "list[bytes]") -> "Folder":
        """Return the folder at `path`; the last of `upcoming` are asked for next, the very last first."""
        future = self._started.pop(path, None)
        folder, waited = future.result() if future else _watched(self._read, path)
        self._in_a_row = self._in_a_row + 1 if waited else 0
        if self._in_a_row >= _IN_A_ROW:
            for following in upcoming[: -_THREADS - 1 : -1]:
                if following not in self._started:
                    self._start(following)
        return folder

    def close(self) -> None:
        """Let go of the threads."""
        if self._pool:
            for future in self._started.values():
                future.cancel()
            self._pool.shutdown()

    def _start(self, path: bytes) -> None:
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(_THREADS)
        self._started[path] = self._pool.submit(self._watched_ahead, path)

    def _watched_ahead(self, path: bytes) -> "tuple[Folder, bool]":
        try:
            read = self._idle.pop()
        except IndexError:
            read = self._another()
        try:
            return _watched(read, path)
        finally:
            self._idle.append(read)


def _watched(read: "Callable[[bytes], Folder]", path: bytes) -> "tuple[Folder, bool]":
    """Read a folder, and tell whether blocks had to come from the disk for it."""
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_inblock
    folder = read(path)
    return folder, resource.getrusage(resource.RUSAGE_THREAD).ru_inblock > before
