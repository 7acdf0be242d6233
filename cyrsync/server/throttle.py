"""A stream with a limited rate: the sender waits as long as too much has been sent."""

from __future__ import annotations

import time

from cyrsync.ends.sink import Sink
from cyrsync.far.folder import Entry
from cyrsync.far.frames import Part, Target
from cyrsync.far.grown import Cache

#: Seconds that are worth waiting for.
_LEAST = 0.02


class Throttle:
    """Counts bytes, and waits until they may have been sent."""

    def __init__(self, rate: float) -> None:
        """`rate` is in bytes a second."""
        self._rate = rate
        self._due = time.monotonic()  # when all that was sent may have been

    def passed(self, size: int) -> None:
        """Wait as long as it takes to send so many bytes, minus the waits before."""
        now = time.monotonic()
        self._due = max(self._due, now) + size / self._rate
        if self._due - now >= _LEAST:
            time.sleep(self._due - now)


class Throttled:
    """Passes a stream on, no faster than a throttle allows."""

    def __init__(self, sink: Sink, throttle: Throttle) -> None:
        self._sink = sink
        self._throttle = throttle

    def part(self, part: Part) -> None:
        """Begin a part of the present mailbox."""
        self._sink.part(part)

    def message(self, uid: int, entry: Entry, data: bytes) -> None:
        """Receive a message file of that part, or its first piece."""
        self._sink.message(uid, entry, data)
        self._throttle.passed(len(data))

    def link(self, uid: int, entry: Entry, target: Target) -> None:
        """Link a message file of that part to the name under which it exists already."""
        self._sink.link(uid, entry, target)

    def file(self, name: bytes, entry: Entry, data: bytes) -> None:
        """Receive another file, or its first piece, or a symbolic link."""
        self._sink.file(name, entry, data)
        self._throttle.passed(len(data))

    def tail(self, name: bytes, entry: Entry, old: Cache, data: bytes) -> None:
        """Receive what a cache has grown by, or the first piece of that."""
        self._sink.tail(name, entry, old, data)
        self._throttle.passed(len(data))

    def more(self, data: bytes) -> None:
        """Receive the next piece of a file."""
        self._sink.more(data)
        self._throttle.passed(len(data))

    def commit(self) -> None:
        """Install the mailbox."""
        self._sink.commit()

    def abandon(self) -> None:
        """Leave everything of the mailbox as it was."""
        self._sink.abandon()
