"""Pictures that a browser has made, as the colours of their dots."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

Colour = tuple[int, int, int]
_MAGIC = b"\x89PNG\r\n\x1a\n"


def rows(data: bytes) -> list[list[Colour]]:
    """The rows of a PNG of 8 bits a colour, not interlaced, with or without transparency."""
    chunks = list(_chunks(data))
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    assert (depth, interlaced) == (8, 0) and kind in (2, 6)
    size = 3 if kind == 2 else 4
    packed = zlib.decompress(b"".join(inside for name, inside in chunks if name == b"IDAT"))
    step = width * size
    before, found = bytearray(step), []
    for start in range(0, height * (step + 1), step + 1):
        before = _unfiltered(packed[start], bytearray(packed[start + 1 : start + 1 + step]), before, size)
        found.append([(before[at], before[at + 1], before[at + 2]) for at in range(0, step, size)])
    return found


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    assert data.startswith(_MAGIC)
    at = len(_MAGIC)
    while at < len(data):
        length, name = struct.unpack(">I4s", data[at : at + 8])
        yield name, data[at + 8 : at + 8 + length]
        at += length + 12


def _unfiltered(kind: int, row: bytearray, above: bytearray, size: int) -> bytearray:
    """A row as it was before it was filtered (PNG specification, 9.2)."""
    for at, byte in enumerate(row):
        left = row[at - size] if at >= size else 0
        corner = above[at - size] if at >= size else 0
        guess = (0, left, above[at], (left + above[at]) // 2, _paeth(left, above[at], corner))[kind]
        row[at] = (byte + guess) & 0xFF
    return row


def _paeth(left: int, above: int, corner: int) -> int:
    guess = left + above - corner
    return min((left, above, corner), key=lambda one: abs(guess - one))
