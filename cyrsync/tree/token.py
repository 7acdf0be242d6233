"""Whose a replica is, and how far it is: a hidden file at each of its roots, which no engine sends or deletes.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import errno
import fcntl
import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Below each root of a replica.
NAME = b".cyrsync-replica"
_LARGEST = 1 << 16  # bytes
#: What a time or a count of runs cannot reach: some thousand years.
_NEVER = 1 << 37


class Token(NamedTuple):
    """What a replica says of itself. Times are seconds since 1970 on the clock of the source, 0.0 for none."""

    replica: str  # as long as one disk has it, and one state speaks of it
    source: str  # whose replica it is: host and imapd.conf
    run: int  # counts the runs that wrote here, from 1
    begun: float  # the last of them
    ended: float  # 0.0: it is still going on, or was killed
    complete: float  # when the last run began that left nothing undone
    promoted: str = ""  # since when a Cyrus of its own is at work here (ISO 8601), "" for not
    settings: "tuple[tuple[str, str], ...]" = ()  # of the source's imapd.conf, those that say where mail lies

    def to_json(self) -> str:
        """Return the token as text that `from_json` reads."""
        return json.dumps(self._asdict(), sort_keys=True)


def from_json(text: "str | bytes") -> Token:
    """Return the token that a text is. Raise ValueError where it is none."""
    try:
        record = json.loads(text if isinstance(text, str) else text.decode("utf-8"))
        settings = tuple((str(name), str(value)) for name, value in record.pop("settings", ()))
        token = Token(settings=settings, **record)
        texts, numbers = (token.replica, token.source, token.promoted), (token.begun, token.ended, token.complete)
        known = type(token.run) is int and all(isinstance(text, str) for text in texts)
        if not known or not all(0 <= number < _NEVER for number in (token.run, *numbers)):
            raise ValueError("a value cannot be right")
        return token
    except (AttributeError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(str(error)) from None


def read(root: bytes) -> "Token | None":
    """Return the token of a root, None where there is none. Raise OSError, or ValueError for one that is damaged."""
    text = read_text(root)
    return from_json(text) if text else None


def read_text(root: bytes) -> str:
    """Return a token as it lies there, "" where there is none. Raise OSError."""
    try:
        descriptor = os.open(os.path.join(root, NAME), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return ""
        raise
    with open(descriptor, "rb") as file:
        return file.read(_LARGEST).decode("utf-8", "replace") or "{}"


def is_bare(root: bytes) -> bool:
    """Tell whether nothing is in a directory but what every new file system has: that of a disk that is not mounted."""
    with os.scandir(root) as entries:
        return all(entry.name in (NAME, b"lost+found") for entry in entries)


def write(root: bytes, token: Token) -> None:
    """Put a token in place, whole and on disk when this returns. Raise OSError."""
    name = os.path.join(root, NAME)
    temporary = name + b".new"
    before = os.stat(root)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    with open(descriptor, "wb") as file:
        file.write(token.to_json().encode("utf-8"))
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, name)
    # The directory's time is that of the source, as rsync has set it.
    os.utime(root, ns=(before.st_atime_ns, before.st_mtime_ns))
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def held(root: bytes, exclusive: bool) -> "Iterator[bool]":
    """Hold a root against others: runs that write share it, who promotes has it alone. False: it can't be had now."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
