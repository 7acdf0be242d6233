"""What is talked to over pipes: an agent, or a shell, here or at the far end of a connection."""

from __future__ import annotations

import subprocess
import tempfile
from typing import IO

from cyrsync import process
from cyrsync.errors import ConnectionFailed, Exit

#: What a login shell may print before the far end speaks (bytes).
_NOISE = 1 << 16


class Link:
    """A process that is talked to over pipes, here or through a remote shell."""

    def __init__(self, words: list[str], name: str) -> None:
        self.name = name
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the link
        self.process: subprocess.Popen[bytes] = process.open_pipes(words, self.errors)
        assert self.process.stdin and self.process.stdout
        self.input: IO[bytes] = self.process.stdin
        self.output: IO[bytes] = self.process.stdout

    def wait_for(self, *lines: bytes) -> bytes:
        """Skip what a login shell prints and return the first of the `lines` that arrives."""
        seen = 0
        for line in iter(self.output.readline, b""):
            if line.rstrip(b"\r\n") in lines:
                return line.rstrip(b"\r\n")
            seen += len(line)
            if seen > _NOISE:
                break
        raise self.failure()

    def send(self, data: bytes) -> None:
        """Write, or say that the far end is gone."""
        try:
            self.input.write(data)
            self.input.flush()
        except OSError:
            raise self.failure() from None

    def failure(self) -> ConnectionFailed:
        """Return what to say of a far end that stopped answering, in the words of ssh if it has any."""
        self._end()
        said = b""
        if not self.errors.closed:
            self.errors.seek(0)
            said = self.errors.read()
        self.errors.close()
        lines = said.decode("utf-8", "backslashreplace").strip().splitlines()
        reason = lines[-1].strip() if lines else "it hung up without a word"
        code = Exit.SSH if self.process.returncode == Exit.SSH else Exit.STREAM
        return ConnectionFailed(f"{self.name}: the connection failed: {reason}", code)

    def close(self) -> None:
        """End the process: the far end sees its input close."""
        self._end()
        self.errors.close()

    def _end(self) -> None:
        for stream in (self.input, self.output):
            try:
                stream.close()
            except OSError:
                pass
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
