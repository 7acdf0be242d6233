"""The result of an audit: one model that tables, JSON and the exit code are made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cyrsync.errors import Exit
from cyrsync.far.finding import NO_INDEX, Audited, Problem
from cyrsync.text import path_text

if TYPE_CHECKING:
    pass


#: A folder with such a problem need not be a mailbox.
_NO_MAILBOX = frozenset(["no mailbox", "extra folder"])


@dataclass(slots=True)
class AuditResult:
    """What an audit looked at, and what is wrong; `to_json` is the schema of `verify --json`."""

    tree: str
    replica: str | None
    content: bool
    started: str
    history: bool = False  # what is kept was looked at: states instead of mailboxes
    seconds: float = 0.0
    mailboxes: int = 0
    messages: int = 0
    files: int = 0
    bytes_read: int = 0
    problems: list[tuple[bytes, Problem]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    #: Cyrus's own names of mailboxes with problems, by their paths, where they are known.
    names: dict[bytes, bytes] = field(default_factory=dict)

    def add(self, audited: Audited) -> None:
        """Count one mailbox."""
        self.mailboxes += not any(problem.kind in _NO_MAILBOX for problem in audited.problems)
        self.messages += audited.messages
        self.files += audited.files
        self.bytes_read += audited.bytes_read
        self.problems += [(audited.path, problem) for problem in audited.problems]
        if audited.problems and audited.mailbox:
            self.names[audited.path] = audited.mailbox

    @property
    def has_no_index(self) -> bool:
        """Tell whether there are mailboxes, and none has an index."""
        return 0 < self.mailboxes == [problem for _, problem in self.problems].count(NO_INDEX)

    @property
    def exit(self) -> int:
        """Return the exit code: whether all is sound."""
        return Exit.UNSOUND if self.problems else Exit.DONE

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` prints."""
        return {
            "tree": self.tree,
            "replica": self.replica,
            "content": self.content,
            "history": self.history,
            "started": self.started,
            "seconds": self.seconds,
            "mailboxes": self.mailboxes,
            "messages": self.messages,
            "files": self.files,
            "bytes_read": self.bytes_read,
            "problems": [
                {
                    "kind": problem.kind,
                    "mailbox": path_text(self.names[path]) if path in self.names else None,
                    "folder": path_text(path),
                    "uids": list(problem.uids),
                    "detail": problem.detail,
                }
                for path, problem in self.problems
            ],
            "warnings": self.warnings,
            "exit": self.exit,
        }
