"""The ways a run can end badly: one class for each, with the exit code a script can rely on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import IntEnum

from cyrsync.text import path_text


class Exit(IntEnum):
    """Exit codes of cyrsync, rsync's own where it has one."""

    DONE = 0
    UNSOUND = 1
    USAGE = 2
    UNUSABLE = 3
    REFUSED = 4
    SOCKET = 10
    FILE_IO = 11
    STREAM = 12
    INTERRUPTED = 20
    PARTIAL = 23
    VANISHED = 24
    WITHHELD = 25
    TIMEOUT = 30
    DAEMON = 35
    FAULT = 70
    LOCKED = 75
    SSH = 255


#: Codes that mean "the connection failed": worth another try.
CONNECTION_CODES = frozenset({Exit.SOCKET, Exit.STREAM, Exit.TIMEOUT, Exit.DAEMON, Exit.SSH})
_HINTS = {
    "Permission denied": "run cyrsync as the owner of the spool, or as root",
    "Operation not permitted": "run cyrsync as the owner of the spool, or as root",
    "No space left on device": "make room on the replica and run again",
    "Disk quota exceeded": "raise the quota on the replica and run again",
    "Read-only file system": "mount the replica writable",
    "Input/output error": "look for a failing disk in the kernel's log",
    # It forgets all folders of a list but those that lead to its first entry.
    "rejecting unrequested file-list name": "update rsync here if it is 3.2.6; if not, look at the source",
    "Too many levels of symbolic links": "name the real directory, not a symbolic link to it",
}


def error_text(error: Exception) -> str:
    """Return what to say of an error, of a file with its name as people write it."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    if not isinstance(error.filename, (bytes, str, os.PathLike)) or not error.filename:
        return error.strerror  # of an open file it is a number
    return f"{path_text(os.fsencode(error.filename))}: {error.strerror}"


def hint(reason: str) -> str:
    """Return the reason with what to do about it."""
    return next((f"{reason}: {advice}" for known, advice in _HINTS.items() if known in reason), reason)


class CyrsyncError(Exception):
    """A failure that is reported in one line: what happened, where, and what to do."""

    code: int = 1


class UsageError(CyrsyncError):
    """The command line is wrong, or asks for something impossible."""

    code = Exit.USAGE


class UnusableError(CyrsyncError):
    """The source or the destination is not what it must be."""

    code = Exit.UNUSABLE


class ConfigurationError(UnusableError):
    """The configuration file is wrong: a line for each thing."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


class DoubtfulError(UnusableError):
    """The replica may not be the right one, or may not be written to. Plain rsync must not write to it either."""


class NoAgentError(UnusableError):
    """The far end runs something else than it is sent."""


class UnreadableError(CyrsyncError):
    """Some folders could not be read: a line each."""

    code = Exit.PARTIAL

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


class GuardError(CyrsyncError):
    """The source shows nothing that could be a spool: an unmounted partition is not an empty one."""

    code = Exit.UNUSABLE


class RefusedError(CyrsyncError):
    """The replica is not this source's to write to: it was promoted, or is another's."""

    code = Exit.REFUSED


class DiskError(CyrsyncError):
    """A disk of the replica failed when it was to keep what was written."""

    code = Exit.FILE_IO


class LockedError(CyrsyncError):
    """Another run holds the lock of this source and destination, or writes to the same replica."""

    code = Exit.LOCKED


class WatchedError(LockedError):
    """A watcher holds the lock: it does all the time what this run would do."""

    code = Exit.DONE


class InterruptedRun(CyrsyncError):
    """SIGINT or SIGTERM arrived."""

    code = Exit.INTERRUPTED


class WatcherStopped(InterruptedRun):
    """SIGINT or SIGTERM arrived at a watcher, which ends only by that: it ends well."""

    code = Exit.DONE


class ConnectionFailed(CyrsyncError):
    """The far end could not be reached, or hung up."""

    def __init__(self, message: str, code: int = Exit.STREAM) -> None:
        super().__init__(message)
        self.code = code


class WrongAnswer(ConnectionFailed):
    """The far end sent an answer that cannot be right. To ask again would not help."""


class RsyncFailed(CyrsyncError):
    """rsync ended with a code that no retry of single files can mend."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class ReplicaFull(RsyncFailed):
    """rsync gave up because there is no room on the replica. Deletions that make room may still be done."""
