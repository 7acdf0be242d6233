"""A watcher that runs beside a test: `cyrsync sync -C CONF --watch DEST`."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.tools import wait_for
from support.tree import cyrsync_argv, plain_env

SETTINGS = {
    "sync_log": "yes",
    "sync_log_channels": "cyrsync",
    "sync_log_unsuppressable_channels": "squatter cyrsync",
}


class Watcher:
    """One watcher's process; what it says is in a file."""

    def __init__(self, conf: Path, *words: str | Path, said: Path, before: str = "") -> None:
        """`before` is Python that its process runs first."""
        self._argv = cyrsync_argv("sync", "-v", "-C", conf, "--watch", *words)
        if before:
            self._argv[1:3] = ["-c", f"{before}\nfrom cyrsync.cli.app import main\nmain()"]
        self._said = said
        self._said.touch()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it has looked at everything."""
        before = self.said().count("connection: connected")
        self.start_only()
        self.wait(lambda: self.said().count("connection: connected") > before, name="its first pass")

    def start_only(self, **env: str) -> None:
        with self._said.open("ab") as said:
            self._process = subprocess.Popen(
                self._argv,
                env=plain_env(env),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def said(self) -> str:
        return self._said.read_text()

    def signal(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    def end(self) -> int:
        """Wait for its end, and return the exit code."""
        assert self._process
        code = self._process.wait(timeout=60)
        self._process = None
        return code

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.end()

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.end()

    def wait(self, what: Callable[[], bool], *, name: str) -> None:
        """Wait for something that this watcher is to do."""
        assert self._process

        def is_so() -> bool:
            assert self._process
            assert self._process.poll() is None, f"it has ended: {self.said()}"
            return what()

        try:
            wait_for(is_so, seconds=60, name=name)
        except pytest.fail.Exception as error:
            raise AssertionError(f"{error}: {self.said()}") from None

    def status(self, state: Path) -> dict[str, Any]:
        """What it tells other processes."""
        (path,) = state.glob("*.watch")
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def close(self) -> None:
        """End it, whatever it does."""
        if self._process:
            self.kill()


@contextmanager
def watching(conf: Path, *words: str | Path, said: Path, before: str = "") -> Iterator[Watcher]:
    """A watcher that is at work; it may be ended and started again meanwhile."""
    watcher = Watcher(conf, *words, said=said, before=before)
    try:
        watcher.start()
        yield watcher
    finally:
        watcher.close()
