"""The findings of a check before the first run: lines, JSON and the exit code are made from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from cyrsync.errors import Exit

if TYPE_CHECKING:
    pass


class Verdict(Enum):
    """The outcome of one check: its word, and its mark and color on a terminal."""

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
        """Return the exit code: whether a run could work."""
        return Exit.UNSOUND if any(one.verdict is Verdict.FAIL for one in self.findings) else Exit.DONE

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` prints."""
        checks = [{**one._asdict(), "verdict": one.verdict.value[0].lower()} for one in self.findings]
        return {"conf": self.conf, "destination": self.destination, "checks": checks, "exit": self.exit}
