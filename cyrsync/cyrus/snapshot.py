"""One mailbox's metadata of one moment, while Cyrus runs.

Which locks, and in which order: the name lock [2.4+] keeps a repack out, which renames a new index and then a new
cache; the header's comes before the index's, as 2.3 has it; with the index's nobody writes records. All are shared:
readers go on, and a writer waits for the milliseconds it takes to read two files.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

from contextlib import ExitStack
from typing import NamedTuple

from cyrsync.cyrus import locks

#: Seconds to wait for a writer; Cyrus's own locks last milliseconds.
PATIENCE = 5.0


class MetaFiles(NamedTuple):
    """Where a mailbox's metadata lies: absolute paths."""

    header_path: bytes
    index_path: bytes
    expunge_path: bytes  # cyrus.expunge [2.3]: delayed-expunged records
    name_lock: bytes = b""  # b"": not known


class Snapshot(NamedTuple):
    """The files' bytes, None where there is none."""

    header_data: "bytes | None"
    index_data: "bytes | None"
    expunge_data: "bytes | None"
    #: False: the file system has no locks, and only the checksums can tell that no writer was at work.
    locked: bool


def take(files: MetaFiles, patience: float = PATIENCE) -> Snapshot:
    """Read the files under Cyrus's locks. Raise OSError, or locks.LockTimeout after `patience` seconds."""
    with ExitStack() as held:
        _hold(held, files.name_lock, patience)
        header = _hold(held, files.header_path, patience)
        index = _hold(held, files.index_path, patience)
        expunge = _hold(held, files.expunge_path, patience)  # taken by nobody whom the index's lock would let in
        return Snapshot(_read(header), _read(index), _read(expunge), locked=index is not None and index[1])


def _hold(held: "ExitStack[bool | None]", path: bytes, patience: float) -> "tuple[int, bool] | None":
    """Lock a file until the end; None if there is none."""
    try:
        return held.enter_context(locks.shared(path, patience)) if path else None
    except FileNotFoundError:
        return None


def _read(opened: "tuple[int, bool] | None") -> "bytes | None":
    return None if opened is None else locks.read_all(opened[0])
