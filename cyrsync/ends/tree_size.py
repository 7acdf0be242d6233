"""How large a tree may be that a far end tells of: larger than any real one; without an end it would fill memory."""

from __future__ import annotations

from cyrsync.far.wire import WireError

#: What is no message, in a whole tree: folders, and their metadata and other files.
MAX_OTHERS = 1 << 24
#: Bytes of the paths of all that.
MAX_PATHS = 4 << 30
MAX_MESSAGES = 1 << 30


class TreeSize:
    """How much of a tree was told of so far."""

    def __init__(self) -> None:
        self._others = 0
        self._paths = 0
        self._messages = 0

    def add(self, path: bytes, others: int = 1, messages: int = 0) -> None:
        """Count what is in the folder at this path. Raise WireError for more than any tree has."""
        self._others += others
        self._paths += others * len(path)
        self._messages += messages
        if self._others > MAX_OTHERS:
            raise WireError(f"more than a tree has: {MAX_OTHERS:,} files and folders beside messages")
        if self._paths > MAX_PATHS:
            raise WireError(f"more than a tree has: {MAX_PATHS:,} bytes of paths")
        if self._messages > MAX_MESSAGES:
            raise WireError(f"more than a tree has: {MAX_MESSAGES:,} messages")
