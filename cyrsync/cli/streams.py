"""The standard streams of a command: closed, full, or no longer read, they are no reason for a traceback."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

from cyrsync.cli import signals

_NAMES = {1: "standard output", 2: "standard error"}


class _Output(io.FileIO):
    """A standard stream whose errors name it; where nobody reads it any more, the command ends quietly."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            if self.fileno() == 1:
                signals.die_of_broken_pipe()
            raise
        except OSError as error:
            error.filename = _NAMES[self.fileno()]
            raise


def prepare() -> None:
    """Open what is closed as /dev/null, so that no file of a run is taken for it, and have no character be an error."""
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - for as long as the process lives
    sys.stdout, sys.stderr = _output(sys.stdout, 1), _output(sys.stderr, 2)


def _output(stream: Any, number: int) -> io.TextIOWrapper:
    raw = _Output(number, "wb", closefd=False)
    lines = number == 2 or os.isatty(number) or bool(stream and stream.line_buffering)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding if stream else None,
        errors="backslashreplace",
        line_buffering=lines,
    )


def flush() -> None:
    """Write what is still to be written. Raise OSError, once: Python's own try at the end then finds nothing to do."""
    with suppress(OSError):  # there is nowhere to complain of it
        _flush(sys.stderr, 2)
    _flush(sys.stdout, 1)


def _flush(stream: TextIO, number: int) -> None:
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        stream.flush()
        raise
