"""The result of a promotion: one model that lines, JSON and the exit code are made from."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from cyrsync.errors import Exit
from cyrsync.report.audit import AuditResult, render
from cyrsync.text import human_count, human_seconds, path_text, printable

if TYPE_CHECKING:
    from rich.console import Console

    from cyrsync.standby.commands import Step
    from cyrsync.standby.sweep import Swept

#: It keeps mail from nobody who had it: Cyrus does not know of such a directory.
_HARMLESS = frozenset(["no mailbox"])


@dataclass(slots=True)
class Promotion:
    """What was found and done; `to_json` is the schema of `promote --json`."""

    conf: str | None
    tree: str | None
    audit: AuditResult
    promoted: str = ""  # since when: ISO 8601
    again: bool = False
    source: str = "unknown"
    begun: float = 0.0  # the last run that sent anything, seconds since 1970
    complete: float = 0.0  # the last one that left nothing undone
    cut_off: bool = False
    roots: list[bytes] = field(default_factory=list)
    removed: int = 0
    owner: str | None = None
    foreign: int = 0
    examples: list[bytes] = field(default_factory=list)
    mended: int = 0  # directories that had problems before the commands were run
    steps: list[Step] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def take_swept(self, swept: Swept) -> None:
        """Take over what a sweep came to."""
        self.removed, self.foreign, self.examples = swept.removed, swept.foreign, swept.examples
        self.errors += swept.errors

    @property
    def exit(self) -> int:
        """Return what tells whether Cyrus can be started."""
        if self.errors:
            return Exit.PARTIAL
        unsound = any(problem.kind not in _HARMLESS for _, problem in self.audit.problems)
        return Exit.UNSOUND if unsound or self.foreign else Exit.DONE

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` prints."""
        audit = self.audit.to_json()
        return {
            "conf": self.conf,
            "tree": self.tree,
            "promoted": self.promoted,
            "again": self.again,
            "source": self.source,
            "last_run": _iso(self.begun),
            "last_complete_run": _iso(self.complete),
            "cut_off": self.cut_off,
            "roots": [path_text(root) for root in self.roots],
            "leftovers": self.removed,
            "owner": self.owner,
            "foreign": self.foreign,
            **{key: audit[key] for key in ("mailboxes", "messages", "files", "bytes_read", "problems")},
            "mended": self.mended,
            "steps": [
                {"command": step.command, "why": step.why, "operator": not step.words, "exit": step.exit}
                for step in self.steps
            ],
            "warnings": self.warnings,
            "errors": self.errors,
            "exit": self.exit,
        }


def show(result: Promotion, console: Console, verbose: bool) -> None:
    """Print what is known of the replica, what is wrong with it, and the commands that remain."""
    from rich.text import Text

    for line in _lines(result):
        console.print(Text(printable(line)), soft_wrap=True)
    render(result.audit, console, verbose)
    remaining = [step for step in result.steps if step.exit != 0]
    if remaining:
        console.print()
        console.print(Text("What remains to be done", style="bold"))
    for step in remaining:
        console.print(Text(step.command), soft_wrap=True, end="" if step.why else "\n")
        if step.why:
            console.print(Text(f"  # {printable(step.why)}", style="dim"), soft_wrap=True)


def _lines(result: Promotion) -> list[str]:
    again = " already" if result.again else ""
    lines = [f"Promoted{again} at {result.promoted}: no cyrsync writes here any more.", *_age(result)]
    if result.removed:
        lines.append(f"Leftovers of runs and writers that were cut off, now removed: {human_count(result.removed)}.")
    if result.foreign:
        few = ", ".join(map(path_text, result.examples))
        more = ", ..." if result.foreign > len(result.examples) else ""
        files = f"{human_count(result.foreign)} files and folders are not {result.owner}'s to write to"
        lines.append(f"{files}: {few}{more}")
    done = [step for step in result.steps if step.exit == 0]
    if done:
        mended = f"; mailboxes that were damaged, and are well now: {result.mended}" if result.mended else ""
        lines.append(f"Commands that were run: {len(done)}{mended}.")
    return lines


def _age(result: Promotion) -> list[str]:
    if not result.begun:
        return [f"A replica of {result.source}; how old it is, nothing tells."]
    lines = [f"A replica of {result.source}. The last run that sent anything began {_ago(result.begun)}."]
    if result.cut_off:
        last = f"began {_ago(result.complete)}" if result.complete else "there is none"
        lines.append(f"That run was cut off, or is in doubt. The last one that left nothing undone: {last}.")
    elif result.complete < result.begun:
        last = f"began {_ago(result.complete)}" if result.complete else "there is none"
        lines.append(f"It left something undone. The last one that did not: {last}.")
    return [*lines, "Mail that reached the master later is not here; runs that find nothing new leave no trace here."]


def _ago(when: float) -> str:
    return f"{human_seconds(max(time.time() - when, 0.0))} ago ({_iso(when)})"


def _iso(when: float) -> str | None:
    return datetime.fromtimestamp(when, timezone.utc).isoformat(timespec="seconds") if when else None
