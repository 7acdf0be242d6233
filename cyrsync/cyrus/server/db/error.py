"""What can be wrong with a database file."""

import os


class DbError(Exception):
    """A database that cannot be read as it stands: what is wrong, at which byte, and in which file if known."""

    def __init__(self, reason: str, offset: "int | None" = None, path: bytes = b"") -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset
        self.path = path

    def __str__(self) -> str:
        where = "" if self.offset is None else f" at byte {self.offset}"
        return (os.fsdecode(self.path) + ": " if self.path else "") + self.reason + where


class UnsupportedDb(DbError):
    """A database of a kind that is not read here; the reason says what to do."""


class BusyDb(DbError):
    """A database that somebody else kept locked, or kept replacing, for too long."""
