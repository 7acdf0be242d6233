"""What a check finds, printed: a line for each thing that was looked at."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from cyrsync.standby.checked import Finding, Verdict
from cyrsync.text import Reasons, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import Console


def summed(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield findings as they come; of those of one check with one reason only the first, then how many more."""
    for _, of_one_check in groupby(findings, lambda one: one.check):
        reasons: dict[tuple[Verdict, str], Reasons] = {}
        for one in of_one_check:
            if reasons.setdefault((one.verdict, one.advice), Reasons()).is_shown(one.found.partition(": ")[2]):
                yield one
        for (verdict, advice), counted in reasons.items():
            for more, reason in counted.more():
                yield Finding(verdict, one.check, f"{more}: {reason}", advice)


def show(one: Finding, console: Console) -> None:
    """Print one finding: a line for programs, with a mark and in color for people."""
    from rich.text import Text

    word, mark, style = one.verdict.value
    text = printable(f"{one.check}: {one.found}{f': {one.advice}' if one.advice else ''}")
    if console.is_terminal and console.encoding.startswith("utf"):
        word = mark
    console.print(Text.assemble((f"{word:<4}" if word != mark else word, style), " ", text), soft_wrap=True)
