"""A run that cannot begin."""

from __future__ import annotations

from pathlib import Path

from cyrsync.ends.address import Address
from cyrsync.errors import UnusableError
from cyrsync.spool.run import Run
from cyrsync.sync.options import Options


class UnreadyRun(Run):
    """A run of a server whose imapd.conf cannot be understood: it ends, and is told of, like any other."""

    def __init__(self, source: Address, replica: Address, options: Options, error: UnusableError, engine: str) -> None:
        self.engine = engine
        super().__init__(source, replica, options)
        self._error = error

    def _attempt(self, directory: Path) -> None:
        raise self._error
