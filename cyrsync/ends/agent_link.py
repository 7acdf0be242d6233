"""Requests to an agent over a link, and its answers: all that can be wrong with an answer is one error."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from typing import IO, Any, TypeVar

from cyrsync.ends import answers, bundle
from cyrsync.ends.agent_answers import nothing
from cyrsync.ends.inflated import Inflated
from cyrsync.ends.link import Link
from cyrsync.far import agent, wire
from cyrsync.far.wire import WireError

Answer = TypeVar("Answer")
#: The most lines of an answer that is read as a whole: one for each failure.
MOST_LINES = 1 << 21
#: Bytes of the lines of one answer of a far end.
MOST_BYTES = 4 << 30


class AgentLink:
    """An agent that is started when something is first asked of it."""

    def __init__(self, start: Callable[[], Link], compressed: bool) -> None:
        """`start` gives the link to the agent."""
        self._start = start
        self._compressed = self.is_far = compressed
        self._taught = False
        self._left = MOST_BYTES

    @cached_property
    def _link(self) -> Link:
        return self._start()

    @cached_property
    def stream(self) -> IO[bytes]:
        """Where answers are read from, what a login shell has printed before the first one skipped."""
        self._link.wait_for(agent.GREETING.rstrip())
        if not self._compressed:
            return self._link.output
        return io.BufferedReader(Inflated(self._link.output, self._link.see_work))

    def ask(self, do: str, root: bytes = b"", **request: Any) -> None:
        """Send a request, with more values that JSON can carry."""
        self._left = MOST_BYTES
        request.update(do=do, root=root.decode("latin-1"))
        self.send(json.dumps(request).encode("ascii") + b"\n")

    def send(self, data: bytes) -> None:
        """Send the data that follows the line of a request."""
        self._link.send(data)

    def send_all(self, rows: Iterable[bytes]) -> None:
        """Send rows that follow the line of a request, and their end."""
        for row in rows:
            self.send(row)
        self.send(b"null\n")

    def send_later(self, data: bytes) -> None:
        """Send as much as there is room for; the rest waits for `push`, or until an answer is read."""
        self._link.send_later(data)

    def push(self) -> None:
        """Send as much of the waiting data as there is room for now."""
        self._link.push()

    def teach(self) -> None:
        """Send what the agent needs for more than a walk, once; one on this machine has all of it."""
        if self._compressed and not self._taught:
            program = bundle.more()
            self.ask("load", size=len(program))
            self.send(program)
            self.end(nothing)
            self._taught = True

    def each(
        self, do: str, root: bytes, paths: Sequence[bytes], read: Callable[[bytes], Answer], **more: bool
    ) -> Iterator[Answer]:
        """Ask about each of the paths, with `more` values, and yield the answers."""
        for portion in answers.portions(paths):
            self.ask(do, root, paths=answers.texts(portion), **more)
            for left, path in zip(range(len(portion), 0, -1), portion, strict=True):
                answer = self.checked(partial(read, path))
                if left == 1:
                    self.end(nothing)  # who takes the last asks for no more
                yield answer

    def until_end(self, read: Callable[[Any], Answer], at_end: Callable[[], object] = lambda: None) -> Iterator[Answer]:
        """Yield what `read` makes of each line of an answer but the last, at which `at_end` is called."""

        def read_one() -> Answer | None:
            record = self.record()
            if _is_end(record):
                at_end()
                return None
            return read(record)

        while (found := self.checked(read_one)) is not None:
            yield found

    def end(
        self,
        read: Callable[[dict[str, Any]], Answer],
        each: Callable[[Any], object] | None = None,
        most: int = MOST_LINES,
    ) -> Answer:
        """Return what the last line of an answer says; `each` reads the lines before, `most` at the most."""

        def read_all() -> Answer:
            record, lines = self.record(), 0
            while not _is_end(record):
                if each is None or lines == most:
                    raise WireError("more than was asked for")
                each(record)
                lines += 1
                record = self.record()
            return read(record)

        return self.checked(read_all)

    def record(self) -> Any:
        """Return the next line of an answer. Raise WireError, or EOFError."""
        line = wire.read_line(self.stream)
        self._left -= len(line)
        if self._left < 0 and self.is_far:
            raise WireError("more bytes than an answer has")
        return wire.parse(line)

    def checked(self, read: Callable[[], Answer]) -> Answer:
        """Make one error of all that can be wrong with an answer."""
        return answers.checked(self._link, read)

    def close(self) -> None:
        """End the agent, if it was started."""
        if "_link" in self.__dict__:
            self._link.close()


def _is_end(record: Any) -> bool:
    """Tell whether a line is the last of an answer. Raise WireError for one that is neither that nor another."""
    if type(record) is dict and record.get("end") is True:
        return True
    wire.list_of(record)
    return False
