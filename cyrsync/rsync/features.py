"""What the rsyncs at both ends can do, asked of themselves: version numbers lie (distributions port back)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cyrsync import process
from cyrsync.errors import ConnectionFailed, Exit, UnusableError

_OPTION = re.compile(rb"(?<![\w-])(--[a-z][a-z0-9-]+|-@)")


@dataclass(frozen=True, slots=True)
class Features:
    """The options an rsync knows, as its --help lists them."""

    options: frozenset[str]

    @property
    def nanoseconds(self) -> bool:
        """Whether its quick check can compare more than whole seconds (3.1.3 and newer)."""
        return "-@" in self.options

    @property
    def coarse(self) -> bool:
        """Whether times travel to the nanosecond (3.1.0 and newer, which know --info), and are not compared so."""
        return "--info" in self.options and not self.nanoseconds

    def __and__(self, other: Features) -> Features:
        return Features(self.options & other.options)


def near() -> Features:
    """Ask the rsync on this machine."""
    finished = process.capture(["rsync", "--help"])
    return _read(finished, "rsync")


def far(words: Callable[[str], list[str]], rsync_path: str | None, silence: float = 0.0) -> Features:
    """Ask the rsync at the far end, and wait so many seconds for it; `words` returns how to run a command there."""
    command = f"{rsync_path or 'rsync'} --help"
    finished = process.capture(words(command), silence)
    if finished.code == Exit.SSH:
        reason = finished.err.decode("utf-8", "backslashreplace").strip().rpartition("\n")[2]
        raise ConnectionFailed(f"the connection failed while rsync was looked for: {reason}", Exit.SSH)
    return _read(finished, "rsync at the far end")


def version(command: Sequence[str] = ("rsync", "--version")) -> str:
    """Return rsync's version as it gives it, or why there is none."""
    try:
        words = process.capture(command).out.split()
    except UnusableError:
        return "not installed"
    return words[2].decode("ascii", "replace") if len(words) > 2 else "unknown"


def _read(finished: process.Finished, name: str) -> Features:
    options = frozenset(word.decode() for word in _OPTION.findall(finished.out + finished.err))
    if "--files-from" not in options:
        said = (finished.err or finished.out).decode("utf-8", "backslashreplace").strip().partition("\n")[0]
        raise UnusableError(f"{name} cannot be used: {said or f'it ended with code {finished.code}'}")
    return Features(options)
