"""A table with a line below its heads only. Imports rich: import this module only where it is used."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich import box
from rich.table import Table


def new_table(heads: Sequence[str], *, words: Collection[str], fold: Collection[str]) -> Table:
    """Return an empty table: all but `words` are numbers, and only columns to `fold` are narrower than their cells."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold", justify="left" if head in words else "right", no_wrap=head not in fold)
    return table
