"""Taking the sync log as Cyrus's own reader does: rename it, wait for whoever is writing to it, and read it.

A writer locks the log, and looks whether it is still the one with that name before it writes: so after the log was
renamed, and locked once, nothing is added to it. The lock is released at once, or deliveries would wait for us.
What was taken stays, as `log-run`, until all that it names is noted elsewhere.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from cyrsync.cyrus.mailbox import regular_file
from cyrsync.rolling.channel import Channel
from cyrsync.rolling.log_lines import Lines, parse
from cyrsync.text import human_bytes, path_text

#: Bytes of a log. One that is larger has waited for long: to look at all mailboxes takes less time.
_LARGEST = 16 << 20
#: Seconds that a writer may take for a line, and between two looks whether it has ended.
_PATIENCE, _LOOK_AGAIN = 10.0, 0.001
#: Seconds that a writer may take from making the log to writing its first line.
_MOMENT = 0.2
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_LOG, _TAKEN = b"log", b"log-run"


class LogError(Exception):
    """The log cannot be read: why, in one line."""


class SyncLog:
    """The log of one channel, which nobody else watches meanwhile. `take` and `done` may raise LogError."""

    def __init__(self, channel: Channel, owner: Callable[[], int]) -> None:
        """`owner` returns Cyrus's user. In a directory of another's nothing is renamed: a link may have led there."""
        self._channel = channel
        self._owner_now = owner
        self._owner = -1
        self._held = -1  # the directory, locked
        self._held_as = (0, 0)  # its device and inode

    def take(self) -> Lines | None:
        """Return what the log says, None if there is none. `done` has to follow before the next one is taken."""
        with suppress(FileNotFoundError), self._opened() as directory:
            try:
                taken = os.open(_TAKEN, _OPEN, dir_fd=directory)
            except FileNotFoundError:
                _await_line(directory)
                os.rename(_LOG, _TAKEN, src_dir_fd=directory, dst_dir_fd=directory)
                taken = os.open(_TAKEN, _OPEN, dir_fd=directory)
            try:
                return self._lines(taken)
            finally:
                os.close(taken)
        return None

    def done(self) -> None:
        """Remove what was taken."""
        with suppress(FileNotFoundError), self._opened() as directory:
            os.unlink(_TAKEN, dir_fd=directory)

    def close(self) -> None:
        """Leave the channel to others."""
        if self._held >= 0:
            os.close(self._held)
        self._held, self._held_as = -1, (0, 0)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """Open the channel's directory; an OSError in the block becomes LogError, unless it is FileNotFoundError."""
        path = self._channel.directory
        try:
            directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                found = os.fstat(directory)
                if found.st_uid != self._owner:
                    self._owner = self._owner_now()
                if found.st_uid != self._owner:
                    reason = f"it belongs to uid {found.st_uid}, not to Cyrus's user (uid {self._owner})"
                    raise LogError(f"{path_text(path)}: {reason}")
                self._hold(directory, (found.st_dev, found.st_ino))
                path = self._channel.log
                yield directory
            finally:
                os.close(directory)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise LogError(f"{path_text(path)}: {error.strerror}") from None

    def _hold(self, directory: int, identity: tuple[int, int]) -> None:
        """Lock the channel against other watchers: each would miss the lines that the other one reads."""
        if identity == self._held_as:
            return
        self.close()
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            reason = "another watcher reads this log: give each watcher a --channel of its own"
            raise LogError(f"{path_text(self._channel.directory)}: {reason}") from None
        except OSError:
            pass  # there are no locks here
        self._held, self._held_as = os.dup(directory), identity

    def _lines(self, descriptor: int) -> Lines:
        owner = regular_file.check(descriptor, self._channel.taken).st_uid
        self._await_writer(descriptor)
        size, where = os.fstat(descriptor).st_size, path_text(self._channel.log)
        if not size:
            return Lines(doubts=[f"{where}: it is empty: was there no room for a line?"])
        if size > _LARGEST:
            return Lines(relist=True, doubts=[f"{where}: {human_bytes(size)}: nobody has read it for long"])
        lines = parse(regular_file.contents(descriptor))
        if owner != self._owner:
            reason = f"it belongs to uid {owner}: could Cyrus's user (uid {self._owner}) write to it?"
            lines.doubts.append(f"{where}: {reason}")
        return lines

    def _await_writer(self, descriptor: int) -> None:
        """Have the log alone for a moment."""
        deadline = time.monotonic() + _PATIENCE
        pause = _LOOK_AGAIN
        while True:
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    return  # there are no locks here
                if time.monotonic() > deadline:
                    raise LogError(f"{path_text(self._channel.taken)}: a writer has kept it locked") from None
                time.sleep(pause)
                pause = min(2 * pause, 50 * _LOOK_AGAIN)
            else:
                fcntl.lockf(descriptor, fcntl.LOCK_UN)
                return


def _await_line(directory: int) -> None:
    """Let the writer who has just made the log write to it: where it stays empty, there was no room for the line."""
    deadline = time.monotonic() + _MOMENT
    while not os.stat(_LOG, dir_fd=directory, follow_symlinks=False).st_size and time.monotonic() < deadline:
        time.sleep(_LOOK_AGAIN)
