"""What of a store names somebody, and putting something else in its place: versions of files, and files of states.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import os
from typing import TYPE_CHECKING

from cyrsync.cyrus.mailbox import dlist, index
from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far import versions, whole_file
from cyrsync.far.packed import compressed, name_of, unpacked
from cyrsync.far.store import IN_PIECES, MAILBOXES, PACKED, PIECES
from cyrsync.far.stored import PIECE

if TYPE_CHECKING:
    from typing import Iterator, List, Sequence

    from cyrsync.far.stored import StoreReader

#: The files of a state that may name who is not the mailbox's owner.
NAMING = (kinds.HEADER, kinds.ANNOTATIONS)


def mentioning(store: "StoreReader", path: bytes, words: "Sequence[bytes]") -> "Iterator[bytes]":
    """Yield a version of a file, or files of a state, that may have any of some words, all by their paths in the store.

    Raise OSError, and ValueError for what is damaged.
    """
    if not path.startswith(MAILBOXES + b"/"):
        if dlist.mentions(versions.read(store, path), words):
            yield path
        return
    for name in NAMING:
        try:
            data = store.contents(path, name)
        except FileNotFoundError:
            continue
        if dlist.mentions(data, words):
            yield path + b"/" + name


def read(store: "StoreReader", path: bytes) -> bytes:
    """Return what a version, or a file of a state, has. Raise OSError, and ValueError for what is damaged."""
    if path.startswith(MAILBOXES + b"/"):
        return store.contents(*path.rsplit(b"/", 1))
    return versions.read(store, path)


def replace(store: "StoreReader", path: bytes, data: bytes) -> None:
    """Put something else in place of a version, or of a file of a state, once it is on the disk.

    Annotations of which nothing is left are removed. The index of a state is changed before its header: if a call is
    killed in between, the old header is still there, and the next call changes both. Raise OSError, and ValueError for
    what is damaged.
    """
    if not path.startswith(MAILBOXES + b"/"):
        versions.replace(store, path, data)
        return
    state, name = path.rsplit(b"/", 1)
    if name == kinds.HEADER:
        _fit_index(store, state, store.contents(state, name), data)
    if data:
        _put(store, state, name, data)
    else:
        os.unlink(name, dir_fd=store.directory(state))


def _fit_index(store: "StoreReader", state: bytes, old: bytes, new: bytes) -> None:
    """Have the index of a state say that it was written with another header: Cyrus and `verify` compare the two."""
    for name, plain, again in ((kinds.INDEX, bytes, bytes), (kinds.INDEX + PACKED, unpacked, compressed)):
        try:
            data = plain(store.contents(state, name))
        except FileNotFoundError:
            continue
        found = index.with_header_file(data, old, new)
        if found:
            _put(store, state, name, again(found))
        return
    names = store.contents(state, kinds.INDEX + IN_PIECES).split()
    if not names or not all(map(PIECE.match, names)):
        raise ValueError("no list of pieces")
    pieces = state.rsplit(b"/", 1)[0] + b"/" + PIECES
    found = index.with_header_file(unpacked(store.contents(pieces, *names[0].split(b"/"))), old, new)
    if found:
        _put(store, state, kinds.INDEX + IN_PIECES, _listed(store, pieces, found, names[1:]))


def _listed(store: "StoreReader", pieces: bytes, first: bytes, names: "List[bytes]") -> bytes:
    """Keep a piece, and return a list that begins with it. Raise OSError."""
    name = name_of(first)
    two, last = name.split(b"/")
    if two not in store.names(pieces):
        os.mkdir(two, 0o700, dir_fd=store.directory(pieces))
    _put(store, pieces + b"/" + two, last, compressed(first))
    return b"".join([one + b"\n" for one in [name, *names]])


def _put(store: "StoreReader", above: bytes, name: bytes, data: bytes) -> None:
    whole_file.replace(name, data, store.directory(above), b"." + name + b".new")
