"""Versions of files that are no mailbox's: read, and replaced without the records of a forgotten user.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import os
from typing import TYPE_CHECKING

from cyrsync.far import whole_file
from cyrsync.far.packed import compressed, unpacked
from cyrsync.far.store import FILE_PIECES, FILES, IN_PIECES, PACKED
from cyrsync.far.stored import PIECE

if TYPE_CHECKING:
    from cyrsync.far.stored import StoreReader


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
    whole_file.replace(new, compressed(data), directory, temporary)
    if name != new:
        os.unlink(name, dir_fd=directory)
