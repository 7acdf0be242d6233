"""Metadata as it is read under the locks: a large file is copied to a file without a name, not into memory."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

from cyrsync.cyrus.mailbox import locks, regular_file
from cyrsync.cyrus.mailbox.on_disk import OnDisk
from cyrsync.text import path_text

#: The bytes of a file, in memory or not.
Data: TypeAlias = "bytes | OnDisk"
#: Bytes of a file up to which it is read into memory: the index of 37,000 messages.
IN_MEMORY = 4 << 20


def read(descriptor: int, directory: str | None) -> Data:
    """Return the whole of an open file; a copy goes to a `directory`, None for the system's temporary files.

    Raise OSError.
    """
    size = os.fstat(descriptor).st_size
    return locks.read_all(descriptor) if size <= IN_MEMORY else _copied(descriptor, size, directory)


def _copied(descriptor: int, size: int, directory: str | None) -> OnDisk:
    if size > regular_file.LARGEST:
        raise OSError(errno.EFBIG, f"{size} bytes are too many to be right")
    copied = 0
    with _told(directory):
        copy = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115 - closed below
    with copy:
        for block in regular_file.blocks(descriptor):
            with _told(directory):
                copied += copy.write(block) or 0
        return OnDisk(os.dup(copy.fileno()), copied)


@contextmanager
def _told(directory: str | None) -> Iterator[None]:
    """Mark an error as ours, not the source's."""
    try:
        yield
    except OSError as error:
        where = path_text(os.fsencode(directory or tempfile.gettempdir()))
        raise OSError(error.errno, f"no copy of it can be made in {where}: {error.strerror}") from None
