"""Where the configuration file lies, and that nobody else could have written what it says."""

from __future__ import annotations

import os
import pwd
import stat

from cyrsync.cyrus.mailbox import regular_file
from cyrsync.errors import UnusableError, error_text
from cyrsync.text import path_text

#: The file of root's, and of all who have none of their own.
PATH = "/etc/cyrsync.toml"
_LARGEST = 1 << 18  # bytes


def config_path(given: str | None = None) -> str:
    """Return the file to read: the one given, or CYRSYNC_CONFIG, or the user's own if it is there, or /etc's.

    Root has none of its own: under sudo, HOME may be another user's.
    """
    chosen = given or os.environ.get("CYRSYNC_CONFIG")
    if chosen:
        return os.path.abspath(chosen)
    own = own_path()
    return own if os.geteuid() and os.path.lexists(own) else PATH


def own_path() -> str:
    """Return where the file of a user other than root lies."""
    home = os.environ.get("HOME") or _home()
    return os.path.join(os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "cyrsync.toml")


def _home() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:  # a user without a name has no home either
        return "/"


def read(path: str) -> str:
    """Return the text of a file. Raise UnusableError, also where others than root and the runner can write to it."""
    try:
        real = os.path.realpath(path)
        descriptor, status = regular_file.opened(os.fsencode(real))
        try:
            for place, found in (*_above(path), *_above(real), (path, status)):
                _refuse_others(path, place, found)
            return regular_file.contents(descriptor, _LARGEST).decode("utf-8")
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise UnusableError(
            f"{path_text(os.fsencode(path))}: No such file: `cyrsync config --example` prints one to begin with"
        ) from None
    except (OSError, ValueError) as error:
        reason = "not UTF-8" if isinstance(error, ValueError) else (error.strerror or error_text(error))
        raise UnusableError(f"{path_text(os.fsencode(path))}: {reason}") from None


def _above(path: str) -> list[tuple[str, os.stat_result]]:
    """Return the directories that a file lies in, and how they look."""
    found, place = [], path
    while place != os.path.dirname(place):
        place = os.path.dirname(place)
        found.append((place, os.stat(place)))
    return found


def _refuse_others(path: str, place: str, status: os.stat_result) -> None:
    """Raise UnusableError if others could have put another file, or other words, there."""
    directory = stat.S_ISDIR(status.st_mode)
    sticky = directory and status.st_mode & stat.S_ISVTX  # nobody replaces what another owns
    by_group = status.st_mode & stat.S_IWGRP and status.st_gid != 0
    if status.st_uid in (0, os.geteuid()) and (sticky or not (by_group or status.st_mode & stat.S_IWOTH)):
        return
    runner = "root" if os.geteuid() == 0 else "root and you"
    about = path_text(os.fsencode(path)) + (f": {path_text(os.fsencode(place))}" if directory else "")
    raise UnusableError(
        f"{about}: users other than {runner} can write to it, and the file names commands to run: chown it to root and "
        "chmod go-w it"
    )
