"""The result of a promotion: one model that lines, JSON and the exit code are made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cyrsync.errors import Exit
from cyrsync.text import iso, path_text
from cyrsync.verify.result import AuditResult

if TYPE_CHECKING:
    from cyrsync.standby.commands import Step
    from cyrsync.standby.sweep import Swept


#: Such a directory takes mail from nobody: Cyrus does not know it.
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
        """Add the result of a sweep."""
        self.removed, self.foreign, self.examples = swept.removed, swept.foreign, swept.examples
        self.errors += swept.errors

    @property
    def exit(self) -> int:
        """Return the exit code: whether Cyrus can be started."""
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
            "last_run": iso(self.begun),
            "last_complete_run": iso(self.complete),
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
