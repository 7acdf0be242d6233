"""What is packed in a store, unpacked: gzip, and lists of pieces. Nothing becomes larger than it can be."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable

from cyrsync.far.packed import RATIO, SLACK, unpacked

#: Bytes of a piece; it is of 64 KiB, or of 512 records.
_LARGEST_PIECE = 1 << 20
_GZIP = 31  # zlib's word for it
_PIECE = re.compile(rb"([0-9a-f]{2})/(\1[0-9a-f]{38})\.gz")


class BadState(Exception):
    """Something kept cannot be read: why, in a few words."""


def gzip(data: bytes, most: int | None = None) -> bytes:
    """Return what a gzip file has, which may be so much at the most. Raise BadState."""
    try:
        return unpacked(data, most)
    except ValueError as error:
        raise BadState(str(error)) from None


def start(data: bytes, size: int) -> bytes:
    """Return the first bytes of what a gzip file has. Raise BadState."""
    try:
        return zlib.decompressobj(_GZIP).decompress(data, size)
    except zlib.error as error:
        raise BadState(f"packed, and damaged: {error}") from None


def pieces(listed: bytes) -> list[bytes]:
    """Return the names of the pieces in a list, `XX/SHA1.gz` each. Raise BadState."""
    lines = listed.split(b"\n")
    if lines.pop() or not all(map(_PIECE.fullmatch, lines)):
        raise BadState("no list of pieces")
    return lines


def piece(name: bytes, data: bytes) -> bytes:
    """Return what a piece has, which its name proves. Raise BadState."""
    found = gzip(data, _LARGEST_PIECE)
    if hashlib.sha1(found, usedforsecurity=False).hexdigest().encode("ascii") != name[3:43]:
        raise BadState(f"piece {name.decode()}: its SHA-1 is another")
    return found


def joined(listed: bytes, read: Callable[[bytes], tuple[bytes, int]]) -> bytes:
    """Return what a list of pieces has. `read` gives a piece, unpacked, and its size on the disk. Raise BadState."""
    found: list[bytes] = []
    packed: dict[bytes, int] = {}
    size = 0
    for name in pieces(listed):
        data, packed[name] = read(name)
        size += len(data)
        # One piece may be listed again and again.
        if size > SLACK + RATIO * sum(packed.values()):
            raise BadState("unpacked, it is too large to be right")
        found.append(data)
    return b"".join(found)
