"""The part of a spool or a server that a run is about."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """What of the source a run sends and deletes: what all kinds of conditions that are given allow.

    Without any condition it is no part, but all.
    """

    users: frozenset[str] = frozenset()  # as people write them: `joe`, `jane@example.com`
    partitions: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        """Tell whether it is less than all."""
        return bool(self.users or self.partitions)

    def words(self) -> list[str]:
        """Return the options that name it."""
        return [
            *(f"--user={user}" for user in sorted(self.users)),
            *(f"--partition={name}" for name in sorted(self.partitions)),
        ]

    def has(self, owner: str | None, partition: str) -> bool:
        """Tell whether a mailbox belongs to it, by its owner, None for a shared one, and its partition."""
        return (not self.users or owner in self.users) and self.may_have(partition)

    def may_have(self, partition: str) -> bool:
        """Tell whether any mailbox of a partition may belong to it."""
        return not self.partitions or partition in self.partitions

    def has_all_below(self, owner: str | None) -> bool:
        """Tell whether a directory and all that is below it belongs to it, on a partition of which anything does.

        `owner` is the user whose directory it is, None where others' may be below it.
        """
        return not self.users or owner in self.users
