"""Versions of files that are no mailbox's: read, and replaced by what has less in it, where somebody is forgotten.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from cyrsync.far.packed import compressed, unpacked
from cyrsync.far.store import FILE_PIECES, FILES, IN_PIECES, PACKED
from cyrsync.far.stored import PIECE

if TYPE_CHECKING:
    from cyrsync.far.stored import StoreReader

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def read(store: "StoreReader", path: bytes) -> bytes:
    """Return what a version has, by its path in the store. Raise OSError, and ValueError for what is damaged."""
    data = store.contents(*path.rsplit(b"/", 1))
    if path.endswith(PACKED):
        return unpacked(data)
    if not path.endswith(IN_PIECES):
        return data
    names = data.split()
    if not all(PIECE.match(name) for name in names):
        raise ValueError("no list of pieces")
    return b"".join([unpacked(store.contents(FILES, FILE_PIECES, *name.split(b"/"))) for name in names])


def replace(store: "StoreReader", path: bytes, data: bytes) -> None:
    """Put something else, packed, in a version's place, once it is on the disk. Raise OSError.

    Of a run that is killed there is the old one or the new one, or both: then the next one replaces it again. Pieces
    stay, and nothing names them.
    """
    above, name = path.rsplit(b"/", 1)
    directory = store.directory(above)
    new = name.split(b"Z")[0] + b"Z" + PACKED
    temporary = b".%b.%b" % (new, os.urandom(4).hex().encode("ascii"))
    file = os.open(temporary, _NEW_FILE, 0o600, dir_fd=directory)
    try:
        try:
            rest = memoryview(compressed(data))
            while rest:
                rest = rest[os.write(file, rest) :]
            os.fsync(file)
        finally:
            os.close(file)
        os.rename(temporary, new, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise
    if name != new:
        os.unlink(name, dir_fd=directory)
