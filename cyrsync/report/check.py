"""What a check before the first run finds: one model that lines, JSON and the exit code are made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from cyrsync.errors import Exit
from cyrsync.text import Reasons, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import Console


class Verdict(Enum):
    """What comes of one thing that was looked at: its word, and its mark and color on a terminal."""

    OK = ("ok", "✓", "green")
    NOTE = ("note", "!", "yellow")  # something to know, by which no run would fail
    FAIL = ("FAIL", "✗", "bold red")


class Finding(NamedTuple):
    """One line: which check, what it found, and what to do about it."""

    verdict: Verdict
    check: str
    found: str
    advice: str = ""


@dataclass(slots=True)
class Checked:
    """All that was found; `to_json` is the schema of `check --json`."""

    conf: str
    destination: str
    findings: list[Finding] = field(default_factory=list)

    @property
    def exit(self) -> int:
        """Return what tells whether a run could work."""
        return Exit.UNSOUND if any(one.verdict is Verdict.FAIL for one in self.findings) else Exit.DONE

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` prints."""
        checks = [{**one._asdict(), "verdict": one.verdict.value[0].lower()} for one in self.findings]
        return {"conf": self.conf, "destination": self.destination, "checks": checks, "exit": self.exit}


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
