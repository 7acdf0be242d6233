"""Writes the answers of an agent, and its sign of life.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import json
import select
import threading
import time
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, BinaryIO

_BLOCK = 1 << 16
#: Seconds after which a silent agent sends a sign of life, and seconds of computing time that show that it works.
_BEAT, _WORK = 3.0, 0.001
#: An empty block, which stands behind all that was flushed, and means nothing.
_NOTHING = b"\0\0\0\xff\xff"


class Output:
    """Standard output in large blocks, compressed if the connection is worth it."""

    def __init__(self, stream: "BinaryIO", compressed: bool) -> None:
        self.stream = stream
        self.deflate = zlib.compressobj(6) if compressed else None
        self.parts = []  # type: list[bytes]
        self.size = 0
        self._lock = threading.Lock()
        self._sent = 0  # blocks

    def is_heard(self) -> bool:
        """Tell whether somebody still reads the answers: if not, nothing more is deleted."""
        poll = select.poll()
        poll.register(self.stream, 0)
        return not poll.poll(0)

    def write(self, data: bytes) -> None:
        """Write part of an answer."""
        with self._lock:
            self.parts.append(data)
            self.size += len(data)
            if self.size >= _BLOCK:
                self._send(last=False)

    def line(self, record: "Any") -> None:
        """Write a line that is not the last."""
        self.write(json.dumps(record).encode("ascii") + b"\n")

    def end(self, **record: "Any") -> None:
        """Write the last line of an answer and see that all of it leaves."""
        record["end"] = True
        with self._lock:
            self.parts.append(json.dumps(record).encode("ascii") + b"\n")
            self._send(last=True)

    def beat(self) -> None:
        """Send a sign of life as long as this process works: one whose disk hangs falls silent."""
        used, sent = time.process_time(), 0
        while True:
            time.sleep(_BEAT)
            before, used = used, time.process_time()
            with self._lock:
                if used - before >= _WORK and self._sent == sent:
                    try:
                        self._send(last=True)
                    except OSError:
                        return  # the one who works finds out by itself
                sent = self._sent

    def _send(self, last: bool) -> None:
        data = b"".join(self.parts)
        self.parts, self.size = [], 0
        self._sent += 1
        if self.deflate:
            data = self.deflate.compress(data)
            if last:
                data = data + self.deflate.flush(zlib.Z_SYNC_FLUSH) or _NOTHING
        self.stream.write(data)
        self.stream.flush()
