"""How the options change a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cyrsync.ends.tree import ALL_RIGHTS, Rights
from cyrsync.rsync.filters import NO_RULES, Rules
from cyrsync.rsync.preserve import Preserve


@dataclass(frozen=True, slots=True)
class Policy:
    """Which differences rsync would mend, and what is left out."""

    skip_derived: bool = False
    #: Whether every message is to be named, also where one list entry could stand for a folder.
    one_by_one: bool = False
    preserve: Preserve = field(default_factory=Preserve)
    #: False: options are in force that make rsync's own check another one, so it has to see every metadata file.
    own_quick_check: bool = True
    #: Whether one side's times are known in whole seconds only (what a daemon lists).
    whole_seconds: bool = False
    #: Whether a file of the same size counts for the same, if it is no message and need not fit messages that change.
    size_only: bool = False
    #: Whether the run deletes at all; matters with `size_only`.
    deletes: bool = True
    #: What the user leaves out.
    rules: Rules = NO_RULES
    #: The rights of the process that writes the replica.
    rights: Rights = ALL_RIGHTS
    #: The numbers that names have on the replica's side, see `Tree.numbers`; what is not in it was not asked.
    numbers: Mapping[str, int | None] = field(default_factory=dict)
