"""Signals to a watcher: SIGTERM and SIGINT end it, SIGHUP makes it read its settings again."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from cyrsync.errors import WatcherStopped

#: Seconds for the work under way when the order to stop arrives.
_GRACE = 10.0


class SignalOrders:
    """The orders of this process; it takes the place of `signals.install`."""

    def __init__(self) -> None:
        self.stop = False
        self._reload = False
        self._may_break_off = False
        self._reading, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)

    @property
    def ends(self) -> bool:
        """Whether to stop, or to read the settings again."""
        return self.stop or self._reload

    def clear(self) -> None:
        """Forget that the settings are to be read again."""
        self._reload = False
        with suppress(BlockingIOError):
            while os.read(self._reading, 100):
                pass

    def fileno(self) -> int:
        """Return a descriptor from which there is something to read as soon as there are orders."""
        return self._reading

    def close(self) -> None:
        """Take no more orders: the watcher ends."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
            signal.signal(number, signal.SIG_IGN)

    @contextmanager
    def breaking_off(self) -> Iterator[None]:
        """Let the order to stop interrupt this block, by WatcherStopped: the block may take hours."""
        self._may_break_off = True
        try:
            if self.stop:
                raise WatcherStopped("stopped by a signal")
            yield
        finally:
            self._may_break_off = False

    def _on_stop(self, number: int, _frame: FrameType | None) -> None:
        is_first, self.stop = not self.stop, True
        self._wake()
        if self._may_break_off or not is_first:
            raise WatcherStopped(f"interrupted by {signal.Signals(number).name}")
        signal.signal(signal.SIGALRM, self._on_alarm)
        signal.setitimer(signal.ITIMER_REAL, _GRACE)

    def _on_alarm(self, _number: int, _frame: FrameType | None) -> None:
        raise WatcherStopped("stopped by a signal, while the work under way took too long")

    def _on_reload(self, _number: int, _frame: FrameType | None) -> None:
        self._reload = True
        self._wake()

    def _wake(self) -> None:
        with suppress(BlockingIOError):
            os.write(self._writing, b"x")
