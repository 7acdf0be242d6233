"""One of the streams that are on their way: a receiver, and the mailboxes that go to it."""

from __future__ import annotations

from cyrsync.ends.sink import Sink
from cyrsync.far.receive import Failure
from cyrsync.server.engine import MailboxChange
from cyrsync.server.linking import SentFiles
from cyrsync.server.replica import Replica


class Lane:
    """A stream. It is begun when it is first needed, ended, and asked for what has arrived."""

    def __init__(self, replica: Replica, number: int) -> None:
        """`number` is that of the receiver, from 0."""
        self.going: list[MailboxChange] = []
        self.bytes = 0
        self.files: SentFiles = {}  # with several names, that are on their way
        self._replica = replica
        self.number = number
        self._sink: Sink | None = None
        self._is_ended = False

    def begin(self, *, much: bool) -> Sink:
        """Return what takes mailboxes; `much`: more will follow."""
        if self._sink is None:
            self._sink = self._replica.begin_stream(self.number, much=much)
        return self._sink

    def push(self) -> None:
        """Send what waits, as far as there is room for it."""
        if self._sink:
            self._replica.stream_tree(self.number).push_stream()

    def end(self) -> None:
        """End the stream: what of it has arrived is not waited for."""
        if self._sink and not self._is_ended:
            self._replica.stream_tree(self.number).finish_stream()
            self._is_ended = True

    def collect(self) -> tuple[list[MailboxChange], list[Failure]]:
        """Return what was sent, and what of it has not arrived, or not as it is here; wait for that."""
        if self._sink is None:
            return [], []
        self.end()
        going, self.going, self.bytes = self.going, [], 0
        self._sink, self._is_ended = None, False
        return going, self._replica.stream_tree(self.number).stream_failures()

    def give_up(self) -> None:
        """Let nothing be half sent: the receiver is asked for something else now."""
        if self._sink and not self._is_ended:
            self._sink.abandon()
        self.collect()
