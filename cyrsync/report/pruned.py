"""What `prune` and `forget` removed, and who is held, printed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cyrsync.history.prune import Held, Pruned
from cyrsync.text import human_bytes, human_count, printable

if TYPE_CHECKING:
    from rich.table import Table


def lines(result: Pruned) -> Iterator[str]:
    """Yield lines that say what was removed, and what stays."""
    yield from result.notes
    removed = "Would be removed" if result.dry_run else "Removed"
    states = f"{_number(result.states, 'state')} of mailboxes, {_number(result.files, 'version')} of other files"
    yield f"{removed}: {states}, {_number(result.messages, 'message')} ({human_bytes(result.size)})."
    kept = f"{_number(result.states_kept, 'state')}, {_number(result.files_kept, 'version')}"
    if result.user is not None:
        yield f"Rewritten without the user: {_number(result.rewritten, 'file')} of databases and of others."
        yield f"{printable(result.user)} is forgotten in the history alone: what the replica itself has of him stays."
        return
    yield f"Kept: {kept}, {_number(result.messages_kept, 'message')}."
    if result.messages_unnamed:
        yield f"No kept state has {_number(result.messages_unnamed, 'message')} of these: removed after their grace."
    if result.held:
        yield f"Held, and left alone: {', '.join(result.held)}."


def held_table(found: Sequence[Held]) -> Table:
    """Return a table of who is held."""
    from cyrsync.report.table import new_table

    heads = ("User", "Since", "By")
    table = new_table(heads, words=heads, fold=("By",))
    for one in found:
        table.add_row(*(printable(cell) for cell in (one.user, one.since, one.by)))
    return table


def _number(number: int, what: str) -> str:
    return f"{human_count(number)} {what}{'' if number == 1 else 's'}"
