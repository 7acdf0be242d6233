"""The users whose mail is held: a file for each in each store, named after the user; and a line for each forgotten.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import os
import re
from typing import TYPE_CHECKING

from cyrsync.far import whole_file
from cyrsync.far.store import Store
from cyrsync.far.stored import StoreReader
from cyrsync.far.to_disk import to_disk

if TYPE_CHECKING:
    from typing import Dict

HELD, RECORD = b"held", b"forgotten"
_PLAIN = re.compile(rb"[A-Za-z0-9@_-]\Z")
_CODE = re.compile(rb"%([0-9A-F]{2})")
#: Bytes of a file's name.
LONGEST = 250


def file_name(user: bytes) -> bytes:
    """Return the name of a user's file: other bytes than letters, digits, `@`, `_`, `-` and dots inside are `%XX`."""
    return b"".join([_byte(user[at : at + 1], at) for at in range(len(user))])


def user_of(name: bytes) -> bytes:
    """Return whose file has this name."""
    return _CODE.sub(lambda code: bytes([int(code.group(1), 16)]), name)


def read(store: StoreReader) -> "Dict[bytes, bytes]":
    """Return who is held, and what the file says: since when, by whom. Raise OSError."""
    found = {}
    for name in store.names(HELD):
        if name.startswith(b"."):
            continue
        try:
            found[user_of(name)] = store.contents(HELD, name)
        except OSError:
            found[user_of(name)] = b""  # he is held, whatever the file says
    return found


def hold(root: bytes, user: bytes, text: bytes) -> None:
    """Have a user held, in a store that is made if there is none; durable when this returns. Raise OSError."""
    held = Store(root).open(HELD)
    try:
        name = file_name(user)
        whole_file.replace(name, text, held, b"." + name)
        to_disk([root])
    finally:
        os.close(held)


def release(root: bytes, user: bytes) -> bool:
    """End the hold of a user, and tell whether the user was held. Raise OSError."""
    store = StoreReader(root)
    try:
        directory = store.directory(HELD)
        os.unlink(file_name(user), dir_fd=directory)
        return True
    except FileNotFoundError:
        return False
    finally:
        store.close()


def record(root: bytes, line: bytes) -> None:
    """Note in a store that somebody was forgotten; durable when this returns. Raise OSError."""
    store = StoreReader(root)
    try:
        file = whole_file.open_for_lines(RECORD, store.directory())
        try:
            whole_file.write_all(file, line + b"\n")
            os.fsync(file)
        finally:
            os.close(file)
    finally:
        store.close()


def _byte(byte: bytes, at: int) -> bytes:
    return byte if _PLAIN.match(byte) or (byte == b"." and at) else b"%%%02X" % ord(byte)
