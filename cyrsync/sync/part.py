"""The part of a spool or a server that a run is about."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import NamedTuple

from cyrsync.errors import UsageError

_SHARD = re.compile(
    r"(?:(?P<auto>auto)(?:/(?P<of_all>[0-9]{1,6}))?|(?P<number>[0-9]{1,6})/(?P<of>[0-9]{1,6}))", re.ASCII
)


class Shard(NamedTuple):
    """One of several parts that together are all, each sent by a process of its own."""

    number: int  # from 1
    of: int

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str]) -> Shard:
        """Read `K/N`, or take them from what started us: a Slurm array, or an indexed job of Kubernetes' with `auto/N`.

        Raise UsageError for what is neither.
        """
        match = _SHARD.fullmatch(text)
        if not match:
            raise UsageError(f"--shard {text}: give K/N, from 1/N to N/N, or auto")
        number, of = match["number"], match["of"]
        if match["auto"]:
            number, of = _from_environment(environment, match["of_all"])
        if not 1 <= int(number) <= int(of):
            raise UsageError(f"--shard {text}: there is no shard {number} of {of}: they are counted from 1")
        return cls(int(number), int(of))

    def __str__(self) -> str:
        """Return it as it is given."""
        return f"{self.number}/{self.of}"

    def has(self, name: bytes) -> bool:
        """Tell whether it is the one for a user, or for a shared mailbox: the same on all machines, and for ever."""
        digest = hashlib.sha256(name).digest()
        return int.from_bytes(digest[:8], "big") % self.of == self.number - 1


class Part(NamedTuple):
    """The part of the source that a run sends and deletes: what meets all kinds of conditions that are given.

    Without any condition, it is all.
    """

    users: frozenset[str] = frozenset()  # as people write them: `joe`, `jane@example.com`
    partitions: frozenset[str] = frozenset()
    shard: Shard | None = None

    def __bool__(self) -> bool:
        """Tell whether it is less than all."""
        return bool(self.users or self.partitions or self.shard)

    @property
    def is_by_name(self) -> bool:
        """Tell whether names of mailboxes decide what belongs to it, not partitions alone."""
        return bool(self.users or self.shard)

    def words(self) -> list[str]:
        """Return the options that name it."""
        return [
            *(f"--user={user}" for user in sorted(self.users)),
            *(f"--partition={name}" for name in sorted(self.partitions)),
            *([f"--shard={self.shard}"] if self.shard else []),
        ]

    def has(self, owner: str | None, partition: str, name: bytes | None = None) -> bool:
        """Tell whether a mailbox belongs to it, by its owner, its partition, and if it is shared, its name.

        One that has no owner, and whose name is not known, belongs to no user and no shard.
        """
        return self.may_have_of(owner, name) and self.may_have(partition)

    def may_have_of(self, owner: str | None, name: bytes | None = None) -> bool:
        """Tell whether a mailbox belongs to it as far as its owner, and if it is shared, its name tell."""
        if self.users and owner not in self.users:
            return False
        key = name if owner is None else owner.encode("utf-8", "surrogateescape")
        return self.shard is None or (key is not None and self.shard.has(key))

    def may_have(self, partition: str) -> bool:
        """Tell whether any mailbox of a partition may belong to it."""
        return not self.partitions or partition in self.partitions

    def has_all_below(self, owner: str | None) -> bool:
        """Tell whether a directory and all that is below it belongs to it, on a partition of which anything does.

        `owner` is the user whose directory it is, None where others' may be below it.
        """
        return not self.is_by_name or (owner is not None and self.may_have_of(owner))


def _from_environment(environment: Mapping[str, str], of: str | None) -> tuple[str, str]:
    """Return number and count of the process that we are, among those that were started together."""
    number, least = environment.get("SLURM_ARRAY_TASK_ID", ""), environment.get("SLURM_ARRAY_TASK_MIN", "1")
    count = environment.get("SLURM_ARRAY_TASK_COUNT", "")
    if number.isdecimal() and least.isdecimal() and count.isdecimal():
        return str(int(number) - int(least) + 1), of or count
    index = environment.get("JOB_COMPLETION_INDEX", "")
    if index.isdecimal() and of:
        return str(int(index) + 1), of
    if index.isdecimal():
        raise UsageError("--shard auto: JOB_COMPLETION_INDEX does not say how many there are: give auto/N")
    raise UsageError("--shard auto: neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set: give K/N")
