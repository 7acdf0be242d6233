"""What stands in for rsync in tests of what drives it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from cyrsync.rsync.driver import Ends
from cyrsync.rsync.features import Features

ENDS = Ends("/src/", "/dst/", (b"/src", b"/dst"))
ALL = Features(frozenset({"--files-from", "--trust-sender", "-@"}))


class FakeProcess:
    """Stands in for `process.run`: keeps the command and its list, prints what a test says."""

    def __init__(self) -> None:
        self.code = 0
        self.out = self.err = b""
        self.command: list[str] = []
        self.listed = b""

    def run(
        self,
        words: Sequence[str],
        out: IO[bytes] | None,
        err: IO[bytes],
        tick: Callable[[], None] | None = None,
        **_: object,
    ) -> int:
        self.command = list(words)
        (option,) = [word for word in words if word.startswith("--files-from=")]
        self.listed = Path(option.partition("=")[2]).read_bytes()
        if out:
            out.write(self.out)
            out.flush()
        err.write(self.err)
        if tick:
            tick()
        return self.code
