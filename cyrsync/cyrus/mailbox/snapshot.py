"""One mailbox's metadata of one moment, while Cyrus runs.

Which locks, and in which order: the name lock [2.4+] keeps a repack out, which renames a new index and then a new
cache; the header's comes before the index's, as 2.3 has it; with the index's nobody writes records. All are shared:
readers go on, and a writer waits for the milliseconds it takes to read two files.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import errno
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.cyrus.mailbox import entry, locks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    Read = TypeVar("Read")

#: Bytes: nearly all of a header is its ACL, a line for each who has rights.
_LARGEST_HEADER = 16 << 20
#: Seconds to wait for a writer; Cyrus's own locks last milliseconds.
PATIENCE = 5.0


class MetaFiles(NamedTuple):
    """Where a mailbox's metadata lies: absolute paths."""

    header_path: bytes
    index_path: bytes
    expunge_path: bytes  # cyrus.expunge [2.3]: delayed-expunged records
    name_lock: bytes = b""  # b"": not known


def beside(directory: bytes) -> MetaFiles:
    """Return the files where all of them are in one directory."""
    return MetaFiles(*[os.path.join(directory, name) for name in (entry.HEADER, entry.INDEX, entry.EXPUNGE)])


class Snapshot(NamedTuple):
    """The files' bytes, None where there is none."""

    header_data: "bytes | None"
    index_data: "bytes | None"
    expunge_data: "bytes | None"
    #: False: the file system has no locks, and only the checksums can tell that no writer was at work.
    locked: bool


class Part(NamedTuple):
    """One file of a mailbox's metadata, as it was under the locks."""

    status: os.stat_result
    data: bytes


def read(files: MetaFiles, patience: float = PATIENCE) -> Snapshot:
    """Read the files under Cyrus's locks. Raise OSError, or locks.LockTimeout after `patience` seconds."""
    found, locked = parts(files, (), patience)
    header, index, expunge = (
        found[path].data if path in found else None
        for path in (files.header_path, files.index_path, files.expunge_path)
    )
    return Snapshot(header, index, expunge, locked)


def parts(
    files: MetaFiles, others: "Iterable[bytes]" = (), patience: float = PATIENCE
) -> "tuple[dict[bytes, Part], bool]":
    """Read the files there are, and other metadata that only those write who hold the same locks.

    Return the files by path, and whether the index was locked. Raise OSError, or locks.LockTimeout after `patience`
    seconds.
    """
    found, locked = under_locks(files, others, locks.read_all, patience)
    return {path: Part(*part) for path, part in found.items()}, locked


def under_locks(
    files: MetaFiles, others: "Iterable[bytes]", read: "Callable[[int], Read]", patience: float = PATIENCE
) -> "tuple[dict[bytes, tuple[os.stat_result, Read]], bool]":
    """Do what `parts` does, but have each open file read by a function."""
    found = {}  # type: dict[bytes, tuple[os.stat_result, Read]]
    with ExitStack() as held:
        _hold(held, files.name_lock, patience)
        opened = {
            path: _hold(held, path, patience)
            for path in (files.header_path, files.index_path, files.expunge_path, *others)
        }
        for path, file in opened.items():
            if file is not None:
                status = os.fstat(file[0])
                if path == files.header_path and status.st_size > _LARGEST_HEADER:
                    raise OSError(errno.EFBIG, f"cyrus.header: {status.st_size} bytes are too many to be right")
                found[path] = status, read(file[0])
        index = opened[files.index_path]
    return found, index is not None and index[1]


def _hold(held: "ExitStack[bool | None]", path: bytes, patience: float) -> "tuple[int, bool] | None":
    """Lock a file until the end; None if there is none."""
    try:
        return held.enter_context(locks.shared(path, patience)) if path else None
    except FileNotFoundError:
        return None
