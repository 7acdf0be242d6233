"""What became of the files of a transfer."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Account:
    """What became of every planned file: planned = sent + vanished + failed."""

    planned: int = 0
    vanished: int = 0
    failed: int = 0
    deleted: int = 0
    pending: int = 0  # planned, and rsync has not come to an end with them
    bytes_sent: int = 0
    same_messages: int = 0  # that were to be compared, and are the same
    same_folders: set[bytes] = field(default_factory=set)  # with nothing else to be done in them
    errors: dict[bytes, str] = field(default_factory=dict)  # by path below the root

    def plan(self, count: int) -> None:
        """Expect so many files more."""
        self.planned += count
        self.pending += count

    @property
    def sent(self) -> int:
        """What arrived, or was found on the replica as it should be."""
        return self.planned - self.vanished - self.failed - self.pending
