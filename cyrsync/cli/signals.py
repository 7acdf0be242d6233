"""Signals: the first SIGINT, SIGTERM or SIGHUP becomes an exception, so that everything is closed in order."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from cyrsync.errors import InterruptedRun, WatcherStopped

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Seconds until an exception is raised that would be lost now, and until it must be known whether this is a watcher.
_MOMENT, _PATIENCE = 0.01, 10.0
_interrupted = False
_may_watch = _watches = False
_held = 0  # the signal that waits until it is known whether this is a watcher


def install(*, may_watch: bool = False) -> None:
    """Turn the signals that end a run into InterruptedRun, once: cleaning up is not interrupted.

    With `may_watch`, SIGINT and SIGTERM wait until `know` is called: to a watcher they mean something else.
    """
    global _may_watch
    _may_watch = may_watch
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup stays in force
            signal.signal(number, _interrupt)


def know(*, watches: bool) -> None:
    """Note whether this is a watcher: SIGINT and SIGTERM become WatcherStopped then. Raise what has waited for that."""
    global _watches, _may_watch
    _watches, _may_watch = watches, False
    if _held:
        signal.setitimer(signal.ITIMER_REAL, 0)
        _end(_held)


def let_go() -> None:
    """Have signals end the process without a word: the command is over, and there is nothing left to close."""
    for number in _SIGNALS:
        if signal.getsignal(number) is _interrupt:
            signal.signal(number, signal.SIG_DFL)


def interrupted() -> bool:
    """Tell whether a signal has arrived that ends all runs."""
    return _interrupted


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _held
    if _may_watch and (_held or number != signal.SIGHUP):
        if not _held:
            _held = number
            _interrupt_in(_PATIENCE, number)
    elif frame and frame.f_code.co_filename.startswith("<frozen importlib"):
        _interrupt_in(_MOMENT, number)  # a callback there drops what is raised in it
    else:
        _end(number)


def _interrupt_in(seconds: float, number: int) -> None:
    """Have a signal handled once more, by whoever handles it then."""

    def handle(_: int, frame: FrameType | None) -> None:
        global _may_watch
        _may_watch = False
        handler = signal.getsignal(number)
        if callable(handler):
            handler(number, frame)

    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _end(number: int) -> NoReturn:
    global _interrupted
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    text = f"interrupted by {signal.Signals(number).name}; the next run finishes the work"
    if _watches and number != signal.SIGHUP:
        raise WatcherStopped(text)
    _interrupted = True
    raise InterruptedRun(text)


@contextmanager
def pipe_may_break() -> Iterator[None]:
    """End quietly where what is printed here is no longer read."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        die_of_broken_pipe()


def die_of_broken_pipe() -> NoReturn:
    """End as other tools do when nobody reads their output any more, without a word."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + signal.SIGPIPE)
