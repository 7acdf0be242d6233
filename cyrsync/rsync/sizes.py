"""The sizes of files in a folder that only rsync can look at, by its own listing."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from cyrsync import process
from cyrsync.errors import ConnectionFailed
from cyrsync.process import TooMuchError

#: A line of `rsync --list-only`, of a file whose name needs no escape.
_LINE = re.compile(rb"-\S{9,10}\s+([\d,.]{1,40}) \d{4}/\d\d/\d\d \d\d:\d\d:\d\d (?:.*/)?([^/]+)\Z")
_SECONDS = 600.0
_LONGEST = 1 << 16  # bytes of a line


class _Sizes:
    """Sizes by name, as lines come."""

    def __init__(self, names: Collection[bytes]) -> None:
        self.found: dict[bytes, int] = {}
        self._names = frozenset(names)
        self._rest = b""

    def add(self, data: bytes) -> None:
        """Take what comes next."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-_LONGEST:]
        for line in lines:
            match = _LINE.match(line)
            if match and match[2] in self._names:
                self.found[match[2]] = int(re.sub(rb"\D", b"", match[1]))


def listed(words: Sequence[str], tree: str, directory: Path, names: Collection[bytes]) -> list[int]:
    """Return the sizes of files in the one folder of a tree that a list in the `words` names; none for an error.

    rsync wants to know of a `directory` to copy to, and writes nothing.
    """
    sizes = _Sizes(names)
    command = ["rsync", *words, "--list-only", "--dry-run", "-8", tree, f"{directory}/"]
    try:
        finished = process.capture(command, _SECONDS, take=sizes.add)
    except (ConnectionFailed, TooMuchError):
        return []
    return [] if finished.code else list(sizes.found.values())
