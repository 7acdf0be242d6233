"""What the drop-in does in its own way where a run of ours has another: handed to the walk as a value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyrsync.rsync.driver import Rsync
    from cyrsync.spool.planning import Planned
    from cyrsync.spool.steps import Transfer


@dataclass(frozen=True, slots=True)
class Manner:
    """How a walk guards its plan, begins with rsync, and reports deletions."""

    #: Refuse a plan that must not be executed, or withhold its deletions.
    guard: Callable[[Planned], None]
    #: See that rsync accepts the words that the user gave.
    try_words: Callable[[Rsync], None]
    #: Told of a transfer right before it deletes.
    deleting: Callable[[Transfer], None] = lambda _: None
    #: Whether the user gets rsync's output as it is; also of a dry run, which is rsync's own then.
    verbatim: bool = False
