"""A file of Cyrus's that is copied while it is in use."""

from __future__ import annotations

import os
from pathlib import Path

from cyrsync.cyrus.server import database_copy
from cyrsync.cyrus.server.database_copy import Copied


class Original:
    """A file, and copies of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "original"
        self.target = root / "copies" / "copy"
        self.target.parent.mkdir()

    def copy(self, patience: float = 5.0) -> Copied:
        """Copy it, and see that nothing was written where it is."""
        before = self._looks()
        self.target.unlink(missing_ok=True)
        try:
            return database_copy.copy(os.fsencode(self.path), os.fsencode(self.target), patience)
        finally:
            assert self._looks() == before

    def content(self) -> bytes:
        return self.target.read_bytes()

    def _looks(self) -> dict[str, tuple[int, int, int, int]]:
        found = {}
        for name in os.listdir(self.root):
            status = os.lstat(self.root / name)
            if name != "copies":
                found[name] = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        return found
