"""What becomes of an exception that nobody foresaw: one line, and a file with what a report of it needs."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
import traceback
from itertools import pairwise

from cyrsync import __version__
from cyrsync.errors import error_text
from cyrsync.state.lock import state_directory, state_path


def message(error: Exception) -> str:
    """Return the line that names the error and a file with its traceback, which it writes."""
    text = _text(error)
    what = f"{type(error).__name__}: {error}".splitlines()[0]
    try:
        where = _write(text)
    except Exception as failure:  # noqa: BLE001 - whatever keeps the file from being written, the line is printed
        return f"a fault of cyrsync itself: {what}; its traceback could not be written: {error_text(failure)}"
    return f"a fault of cyrsync itself: {what}; please report it with {where}"


def _text(error: Exception) -> str:
    about = [
        f"cyrsync {__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"{time.strftime('%Y-%m-%d %H:%M:%S %z')}",
        f"Words: {sys.argv[1:]!r}",
        "",
    ]
    return "\n".join(about) + "\n" + "".join(traceback.format_exception(error))


def _write(text: str) -> str:
    """Write the newest traceback into the state directory: a job that fails every minute fills no disk."""
    directory = os.fspath(state_directory(state_path(_chosen(sys.argv[1:]))))
    descriptor, temporary = tempfile.mkstemp(prefix="traceback.", dir=directory)
    with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
    path = os.path.join(directory, "traceback")
    os.rename(temporary, path)
    return path


def _chosen(words: list[str]) -> str | None:
    """Return the state directory that the command line names: it may not have been read yet."""
    following = dict(pairwise(words))
    joined = next((word for word in words if word.startswith("--state=")), None)
    return following.get("--state") if joined is None else joined.partition("=")[2]
