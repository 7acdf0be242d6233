"""A process that is used over pipes: an agent, or a shell, here or at the far end of a connection.

The process may hang: a far end that sends no byte for too long is lost. An agent that is working sends a sign of life
(far/output.py); one that sends nothing else is lost, too, after a much longer time.
"""

from __future__ import annotations

import io
import os
import select
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, NamedTuple

from cyrsync import process
from cyrsync.ends.ssh_words import last_words
from cyrsync.errors import ConnectionFailed, Exit, NoAgentError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

#: What a login shell may print before the far end speaks (bytes).
_NOISE = 1 << 16
#: Bytes at the end of what it says on standard error that are looked at.
_SAID = 1 << 16
_BLOCK = 1 << 16
#: Bytes that wait until the far end takes them, while something else is done.
_AHEAD = 16 << 20
#: Bytes that are kept of what a far end says while it does not listen.
_EARLY = 1 << 26
#: Seconds between two looks whether a login has succeeded, and after which it is taken for done where nothing tells.
_LOOK_AGAIN, _LOGIN = 0.25, 30.0


class Patience(NamedTuple):
    """How long to wait for a far end, in seconds."""

    silence: float = 600.0  # that it may send nothing; 0 for any time
    answer: float = 60.0  # for its first answer after the login: a slow host takes that long, nobody is asked again


DEFAULT_PATIENCE = Patience()
#: How many times as long to wait for a far end that sends only signs of life: no answer takes so long.
AT_WORK = 100
#: Seconds: an agent that is working sends a sign of life a few times in that.
LEAST_SILENCE = 10.0
#: Seconds for a first answer, where it does no harm to take a slow host for one that never answers.
HURRIED = 10.0


class Link:
    """A process that is used over pipes, here or through a remote shell."""

    def __init__(self, words: list[str], name: str, silence: float = 0.0) -> None:
        """With `silence`, the far end is lost if it sends nothing for so many seconds."""
        self.name = name
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the link
        self.process: subprocess.Popen[bytes] = process.open_pipes(words, self.errors)
        assert self.process.stdin and self.process.stdout
        self._streams = (self.process.stdin, self.process.stdout)
        self._in, self._out = (stream.fileno() for stream in self._streams)
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        self._silence = silence
        self._began = time.monotonic()
        self._early = bytearray()
        self._outgoing: deque[memoryview] = deque()
        self._waiting = 0  # bytes of that
        self._why_lost = ""
        self._said = ""
        self.output: IO[bytes] = io.BufferedReader(_Output(self.read_into), _BLOCK)

    def wait_for(self, *lines: bytes) -> bytes:
        """Skip what a login shell prints and return the first of the `lines` that arrives."""
        left = _NOISE
        while left > 0:
            line = self.output.readline(left)
            if line.rstrip(b"\r\n") in lines:
                return line.rstrip(b"\r\n")
            if not line:
                break
            left -= len(line)
        raise self.failure()

    def first_answer(self, lines: tuple[bytes, ...], within: float, is_logged_in: Callable[[], bool]) -> bytes:
        """Return the first of the `lines` that arrives, so many seconds after the login at most.

        Raise NoAgentError where something else answers, or nobody: another command is run than was sent.
        """
        seen, since = b"", 0.0
        while True:
            *whole, rest = seen.split(b"\n")
            for number, line in enumerate(whole):
                if line.rstrip(b"\r") in lines:
                    self._early += b"\n".join([*whole[number + 1 :], rest])
                    return line.rstrip(b"\r")
            if b"\0" in seen or len(seen) > _NOISE:
                raise self._no_agent("rsync answers" if b"\0" in seen else "something else answers")
            now = time.monotonic()
            if _can_be_read(self._out, _LOOK_AGAIN):
                data = os.read(self._out, _BLOCK)
                if not data:
                    raise self._refused(seen)
                seen += data
            elif not since and (seen or is_logged_in() or now - self._began > _LOGIN):
                since = now
            elif since and now - since > within:
                raise self._no_agent(f"no answer within {within:.0f} seconds")
            elif self._silence and now - self._began > self._silence:
                raise self._lost()

    def send(self, data: bytes) -> None:
        """Write, or say that the far end is gone."""
        self.send_later(data)
        self._send_all()

    def send_later(self, data: bytes) -> None:
        """Write what there is room for; the rest waits for `push`, or until something is read."""
        if data:
            self._outgoing.append(memoryview(data))
            self._waiting += len(data)
        self._send_all(_AHEAD)

    def push(self) -> None:
        """Write what there is room for now, or say that the far end is gone."""
        while self._outgoing:
            try:
                written = os.write(self._in, self._outgoing[0])
            except BlockingIOError:
                return
            except (OSError, ValueError):
                raise self.failure() from None
            self._waiting -= written
            if written == len(self._outgoing[0]):
                self._outgoing.popleft()
            else:
                self._outgoing[0] = self._outgoing[0][written:]

    def read_into(self, buffer: WriteableBuffer) -> int:
        """Read what there is, at least a byte; 0 at the end. Raise ConnectionFailed if nothing arrives."""
        self._send_all()  # what arrives meanwhile is kept
        if self._early:
            view = memoryview(buffer).cast("B")
            size = min(len(view), len(self._early))
            view[:size] = self._early[:size]
            del self._early[:size]
            return size
        while True:
            try:
                return os.readv(self._out, [buffer])
            except BlockingIOError:
                if not _can_be_read(self._out, self._silence):
                    raise self._lost() from None

    def failure(self) -> ConnectionFailed:
        """Return the error for a far end that stopped answering, in the words of ssh if there are any."""
        reason = self._last_words() or "it ended without a message"
        code = Exit.SSH if self.process.returncode == Exit.SSH else Exit.STREAM
        if self._why_lost:
            reason, code = self._why_lost, Exit.TIMEOUT
        return ConnectionFailed(f"{self.name}: the connection failed: {reason}", code)

    def close(self) -> None:
        """End the process: the far end sees its input close."""
        self._end()
        self.errors.close()

    def _send_all(self, but: int = 0) -> None:
        """Wait until all has been written, but so many bytes at the most."""
        self.push()
        left, since = self._waiting, time.monotonic()
        while self._waiting > but:
            self._wait_for_room()
            self.push()
            if self._waiting == left:
                self.see_work(since)
            else:
                left, since = self._waiting, time.monotonic()

    def _wait_for_room(self) -> None:
        """Wait until something can be written; what arrives meanwhile is kept, and is a sign of life."""
        poll = select.poll()
        poll.register(self._in, select.POLLOUT)
        if len(self._early) < _EARLY:
            poll.register(self._out, select.POLLIN)
        ready = dict(poll.poll(self._silence * 1000 if self._silence else None))
        if not ready:
            raise self._lost()
        if self._in not in ready:
            data = os.read(self._out, _BLOCK)
            if not data:
                raise self.failure()
            self._early += data

    def see_work(self, since: float) -> None:
        """Raise ConnectionFailed if the far end has sent only signs of life since then, for too long."""
        most = AT_WORK * self._silence
        if most and time.monotonic() - since > most:
            raise self._lost(f"for {most:.0f} seconds it has sent only signs of life")

    def _lost(self, why: str = "") -> ConnectionFailed:
        self._why_lost = why or f"it has sent nothing for {self._silence:.0f} seconds"
        self.process.kill()
        return self.failure()

    def _refused(self, said: bytes) -> ConnectionFailed | NoAgentError:
        """Return the error for a far end that has ended instead of answering."""
        reason = self._last_words() or said.decode("utf-8", "backslashreplace").strip().rpartition("\n")[2]
        if self.process.returncode == Exit.SSH or self.process.returncode < 0:
            return self.failure()
        return self._no_agent(reason or f"it ended with code {self.process.returncode}")

    def _no_agent(self, reason: str) -> NoAgentError:
        self.process.kill()
        self.close()
        return NoAgentError(f"{self.name}: it does not run what it is sent: is there a forced command? {reason}")

    def _last_words(self) -> str:
        """Return the last line on standard error, with what to do, "" for none; the process is ended for that."""
        self._end()
        if not self.errors.closed:
            self.errors.seek(max(0, self.errors.seek(0, os.SEEK_END) - _SAID))
            self._said = last_words(self.errors.read(_SAID).decode("utf-8", "backslashreplace"))
            self.errors.close()
        return self._said

    def _end(self) -> None:
        for stream in self._streams:
            try:
                stream.close()
            except OSError:
                pass
        self._in = self._out = -1  # the numbers may be another's soon
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class _Output(io.RawIOBase):
    """What a far end says, to be read through a buffer."""

    def __init__(self, read_into: Callable[[WriteableBuffer], int]) -> None:
        self._read_into = read_into

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        return self._read_into(buffer)


def _can_be_read(descriptor: int, seconds: float) -> bool:
    """Wait for a descriptor, with 0 seconds for ever; tell whether it has more to be read, or is at its end."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000 if seconds else None))
