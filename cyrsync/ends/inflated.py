"""A compressed stream, read as far as it has arrived: never more of it is in memory than was asked for."""

from __future__ import annotations

import io
import time
import zlib
from collections.abc import Callable
from typing import IO, Any

#: zlib's number for the format: its own, or gzip's (zlib.h, inflateInit2).
ZLIB, GZIP = 15, 31


class Inflated(io.RawIOBase):
    """What a compressed stream says, to be read through a buffer. Raise zlib.error for what is none."""

    def __init__(self, stream: IO[bytes], see_work: Callable[[float], None], wbits: int = ZLIB) -> None:
        """`see_work` is given the time since when what arrives says nothing: see `Link.see_work`."""
        self._stream = stream
        self._see_work = see_work
        self._inflate = zlib.decompressobj(wbits)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._inflate.decompress(self._inflate.unconsumed_tail, len(buffer))
        since = 0.0 if data else time.monotonic()
        while not data:
            # What follows the end of the compressed data is not kept.
            arrived = b"" if self._inflate.eof else self._stream.read1(1 << 16)  # type: ignore[attr-defined]
            if not arrived:
                return 0
            data = self._inflate.decompress(arrived, len(buffer))
            if not data:
                self._see_work(since)
        buffer[: len(data)] = data
        return len(data)
