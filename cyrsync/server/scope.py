"""What a run of a server is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyrsync.cyrus.server.config import Partition


@dataclass(frozen=True, slots=True)
class Scope:
    """What of a server goes, and how far what is known of its replica is believed."""

    full: bool = False  # what the replica has is looked up there
    listing: bool = False  # and what mailboxes have, in their directories
    with_conf: bool = True  # not the partitions alone
    partition: Partition | None = None  # only this one, to where the replica's address leads

    @property
    def engine(self) -> str:
        """How changes are found."""
        return "walk" if self.listing else "index"
