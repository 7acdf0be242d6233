"""Answers of a far shell: rows of items, each a letter and its text, ended by NUL; the last item is `e`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO

from cyrsync.far import wire
from cyrsync.far.wire import WireError

_BLOCK = 1 << 16
_SIZE = re.compile(rb"[0-9]{1,12}\0?")


def read(stream: IO[bytes], longest: int, most: int) -> Iterator[bytes]:
    """Yield items of so many bytes at the most, all in all `most`; the last begins with `e`.

    Raise WireError, or EOFError where the stream ends before.
    """
    rest = b""
    while True:
        data = stream.read1(_BLOCK)  # type: ignore[attr-defined]
        if not data:
            raise EOFError
        most -= len(data)
        *items, rest = (rest + data).split(b"\0")
        if most < 0 or len(rest) > longest:
            raise WireError("more than can be an answer")
        for item in items:
            yield item
            if item[:1] == b"e":
                return


def counted(stream: IO[bytes]) -> bytes:
    """Return as many bytes as a number before them says. Raise WireError, or EOFError where the stream ends before."""
    digits = b""
    while not digits.endswith(b"\0"):
        byte = stream.read(1)
        if not byte:
            raise EOFError
        digits += byte
        if not _SIZE.fullmatch(digits):
            raise WireError(f"no size: {wire.shown(digits)}")
    return wire.read_data(stream, int(digits[:-1]), wire.MAX_FILE)


def text(item: bytes, kind: bytes) -> bytes:
    """Return what an item of this kind says. Raise WireError for any other."""
    if item[:1] != kind:
        raise WireError(f"an item of another kind: {wire.shown(item)}")
    return item[1:]


def whole(text: bytes) -> bytes:
    """Return what is before the x that keeps blank lines at an end. Raise WireError where there is none."""
    if not text.endswith(b"x"):
        raise WireError(f"an item without its end: {wire.shown(text[-20:])}")
    return text[:-1]


def real_path(text: bytes) -> bytes:
    """Return what `pwd -P` printed. Raise WireError for what is no whole path."""
    path = whole(text)[:-1]
    if not path.startswith(b"/") or not text.endswith(b"\nx"):
        raise WireError(f"no whole path: {wire.shown(text)}")
    return path
