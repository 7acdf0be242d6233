"""Signals: the first SIGINT, SIGTERM or SIGHUP becomes an exception, so that everything is closed in order."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from cyrsync.errors import InterruptedRun

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Seconds until an exception is raised that would be lost now.
_MOMENT = 0.01
_interrupted = False


def install() -> None:
    """Turn the signals that end a run into InterruptedRun, once: cleaning up is not interrupted."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup stays in force
            signal.signal(number, _interrupt)


def interrupted() -> bool:
    """Tell whether such a signal has arrived."""
    return _interrupted


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _interrupted
    if frame and frame.f_code.co_filename.startswith("<frozen importlib"):
        # A callback there drops what is raised in it.
        signal.signal(signal.SIGALRM, lambda _, later: _interrupt(number, later))
        signal.setitimer(signal.ITIMER_REAL, _MOMENT)
        return
    _interrupted = True
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise InterruptedRun(f"interrupted by {signal.Signals(number).name}; the next run finishes the work")


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
