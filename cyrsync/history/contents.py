"""A message's file, opened and proved: it has the size and the SHA-1 that its record says."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress

from cyrsync.cyrus.mailbox import regular_file
from cyrsync.errors import error_text
from cyrsync.history.selected import Message
from cyrsync.text import path_text

_BLOCK = 1 << 20
#: Bytes of a message that is read as a whole: no mail server takes as much.
_LARGEST = 1 << 30


class Damaged(Exception):
    """A message that cannot be restored: why, in one line; `missing`: there is no file.

    `kind` is `unreadable`, `size` or `content`.
    """

    def __init__(self, uid: int, reason: str, *, missing: bool = False, kind: str = "unreadable") -> None:
        super().__init__(f"UID {uid}: {reason}")
        self.uid = uid
        self.missing = missing
        self.kind = kind


def blocks(message: Message) -> Iterator[bytes]:
    """Yield the message's bytes as they are on disk, with CRLF.

    Raise Damaged: only at the end if the bytes are not those of the record, so they must not be used before.
    """
    descriptor, path, size = _opened(message)
    try:
        # A file that somebody has made huge is not read.
        if size != message.size:
            raise _of_wrong_size(message, path)
        digest, size = hashlib.sha1(usedforsecurity=False), 0
        while block := os.read(descriptor, _BLOCK):
            digest.update(block)
            size += len(block)
            yield block
    except OSError as error:
        raise Damaged(message.uid, f"{path_text(path)}: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if size != message.size:
        raise _of_wrong_size(message, path)
    if message.guid is not None and digest.digest() != message.guid:
        raise Damaged(message.uid, f"{path_text(path)}: its SHA-1 is not its GUID", kind="content")


def whole(message: Message) -> bytes:
    """Return all of a message. Raise Damaged, also for what is too large to be one, or has nothing in it."""
    if not 0 < message.size <= _LARGEST:
        raise Damaged(message.uid, "too large to be a message, or empty")
    return b"".join(blocks(message))


def start(message: Message, size: int) -> bytes:
    """Return the first bytes of a message, none where they cannot be read."""
    for path in message.places:
        with suppress(OSError):
            return regular_file.start(path, size)
    return b""


def _of_wrong_size(message: Message, path: bytes) -> Damaged:
    return Damaged(message.uid, f"{path_text(path)}: its size is not that in the index", kind="size")


def _opened(message: Message) -> tuple[int, bytes, int]:
    """Open the first file there is, and return its descriptor, path and size. Raise Damaged."""
    reason, missing = "", True
    for path in message.places:
        try:
            descriptor, status = regular_file.opened(path)
            return descriptor, path, status.st_size
        except OSError as error:
            # What is wrong with the file tells more than that it is not in the other place.
            if not reason or not isinstance(error, FileNotFoundError):
                reason = error_text(error)
            missing = missing and isinstance(error, FileNotFoundError)
    raise Damaged(message.uid, reason, missing=missing)
