"""Waits for the sync log: the kernel reports when it is written to; else the log is looked for ten times a second."""

from __future__ import annotations

import ctypes
import os
import select
import struct
import time
from contextlib import suppress
from types import TracebackType

from cyrsync.rolling.channel import Channel

_LOOK = 0.1  # seconds between two looks without the kernel's help
#: Seconds between two tries to get it.
_AGAIN = 5.0
#: inotify(7), linux/inotify.h: something was written, or came by its name; the directory itself has gone.
_MODIFY, _MOVED_TO, _CREATE, _DELETE_SELF, _MOVE_SELF, _ONLYDIR = 0x2, 0x80, 0x100, 0x400, 0x800, 0x1000000
_IGNORED = 0x8000
#: An event: the watch, what has happened, what joins two events, and the bytes of the name that follows.
_EVENT = struct.Struct("=iIII")
_MASK = _MODIFY | _MOVED_TO | _CREATE | _DELETE_SELF | _MOVE_SELF | _ONLYDIR


class LogWait:
    """Waits for the log of one channel. Use as a context manager."""

    def __init__(self, channel: Channel, *others: int) -> None:
        """`others` are descriptors that end the waiting, too, when there is something to read from them."""
        self._channel = channel
        self._others = others
        self._inotify = -1
        self._heard = False  # whether the kernel said something in the last pause
        self._tried = float("-inf")

    def __enter__(self) -> LogWait:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._let_go()

    @property
    def is_told(self) -> bool:
        """Whether the kernel tells: else the directory is not there, or this is not Linux, or there is no room."""
        return self._inotify >= 0

    def wait(self, seconds: float) -> bool:
        """Wait at most so long; tell whether there is a log."""
        deadline = time.monotonic() + seconds
        while not self._is_there():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if not self.is_told and time.monotonic() - self._tried >= _AGAIN:
                self._tried = time.monotonic()
                self._ask()
                continue  # it may have come before that
            was_told = self.is_told
            if self._pause(left if was_told else min(left, _LOOK)):
                return self._is_there()
            if was_told and not self._heard and self._is_there():
                self._let_go()  # another directory has the name: one above it was moved away
                self._tried = float("-inf")
        return True

    def pause(self, seconds: float) -> None:
        """Wait so long, whether there is a log or not, or until one of the others has something to be read."""
        poll = select.poll()
        for descriptor in self._others:
            poll.register(descriptor, select.POLLIN)
        poll.poll(max(int(seconds * 1000), 1))

    def _is_there(self) -> bool:
        return os.path.lexists(self._channel.log) or os.path.lexists(self._channel.taken)

    def _pause(self, seconds: float) -> bool:
        """Wait for the kernel, or so long; tell whether one of the others has something to be read."""
        poll = select.poll()
        for descriptor in (*self._others, *[self._inotify] * self.is_told):
            poll.register(descriptor, select.POLLIN)
        ready = [descriptor for descriptor, _ in poll.poll(max(int(seconds * 1000), 1))]
        self._heard = self._inotify in ready
        if self._heard:
            self._drain()
        return any(descriptor in self._others for descriptor in ready)

    def _ask(self) -> None:
        with suppress(OSError, AttributeError):
            library = ctypes.CDLL(None, use_errno=True)
            self._inotify = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            if self._inotify >= 0 and library.inotify_add_watch(self._inotify, self._channel.directory, _MASK) < 0:
                self._let_go()

    def _drain(self) -> None:
        """Read what the kernel tells; when the directory has gone, look for another one."""
        data = b""
        with suppress(BlockingIOError):
            data = os.read(self._inotify, 1 << 16)
        at = 0
        while at + _EVENT.size <= len(data):
            _, mask, _, size = _EVENT.unpack_from(data, at)
            if mask & (_IGNORED | _DELETE_SELF | _MOVE_SELF):
                self._let_go()
                self._tried = float("-inf")
                return
            at += _EVENT.size + size

    def _let_go(self) -> None:
        if self._inotify >= 0:
            os.close(self._inotify)
        self._inotify = -1
