"""The result of a restore."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from cyrsync.errors import Exit
from cyrsync.history import moment
from cyrsync.history.contents import Damaged
from cyrsync.history.selected import Message, Selection
from cyrsync.sync.progress import Reporter

#: Receives what would be restored of a mailbox.
Told = Callable[[Selection], None]


@dataclass(slots=True)
class MailboxOutcome:
    """The result for one mailbox."""

    name: str  # as people read it
    selected: int = 0  # messages that were to be restored
    restored: int = 0
    present: int = 0  # messages that were there already
    bytes: int = 0  # of those restored
    how: str = ""  # what was done to the server's mailbox
    since: int | None = None  # of which state, in nanoseconds since 1970; None: as it is

    def add(self, size: int) -> None:
        """Count a message that was restored."""
        self.restored += 1
        self.bytes += size

    def show(self, selection: Selection, lacking: Callable[[], Iterator[Message]], told: Told | None) -> None:
        """Record what would be done; a message without a GUID is told, as only its file says what it is."""
        sizes = [message.size for message in lacking()]
        self.present, self.selected, self.bytes = self.selected - len(sizes), len(sizes), sum(sizes)
        if told is not None and sizes:
            told(replace(selection, messages=lacking, count=len(sizes), size=sum(sizes)))


@dataclass(slots=True)
class Outcome:
    """The result of a whole restore; counts while it runs."""

    tree: str
    target: str
    dry_run: bool = False
    mailboxes: list[MailboxOutcome] = field(default_factory=list)
    files: int = 0  # beside the mailboxes
    errors: list[str] = field(default_factory=list)  # what is lacking, a line each
    warnings: list[str] = field(default_factory=list)

    def begin(self, name: str, selected: int, since: int | None = None) -> MailboxOutcome:
        """Count a mailbox."""
        self.mailboxes.append(MailboxOutcome(name, selected, since=since))
        return self.mailboxes[-1]

    @property
    def restored(self) -> int:
        """Messages that were restored."""
        return sum(one.restored for one in self.mailboxes)

    @property
    def present(self) -> int:
        """Messages that were there already."""
        return sum(one.present for one in self.mailboxes)

    @property
    def exit(self) -> int:
        """The exit code of the command."""
        return Exit.PARTIAL if self.errors else Exit.DONE

    def to_json(self) -> dict[str, Any]:
        """Return what `restore --json` prints."""
        return {
            "tree": self.tree,
            "target": self.target,
            "dry_run": self.dry_run,
            "mailboxes": [
                {
                    "mailbox": one.name,
                    "selected": one.selected,
                    "restored": one.restored,
                    "present": one.present,
                    "bytes": one.bytes,
                    "how": one.how,
                    "since": None if one.since is None else moment.iso(one.since),
                }
                for one in self.mailboxes
            ],
            "restored": self.restored,
            "present": self.present,
            "files": self.files,
            "errors": self.errors,
            "warnings": self.warnings,
            "exit": int(self.exit),
        }


class MailboxRestore:
    """A mailbox that is restored message by message: the result of each is recorded and shown."""

    def __init__(self, outcome: Outcome, reporter: Reporter) -> None:
        """The mailbox is the one that `outcome` has begun last."""
        *others, self.one = outcome.mailboxes
        self.damaged: list[Damaged] = []  # messages that are not restored
        self._outcome, self._reporter = outcome, reporter
        self._before, self._bytes_before = sum(one.selected for one in others), sum(one.bytes for one in others)

    def present(self) -> None:
        """Record a message that is there already."""
        self.one.present += 1
        self._show()

    def restored(self, size: int) -> None:
        """Record a message that was restored, and its bytes."""
        self.one.add(size)
        self._show()

    def warn(self, text: str) -> None:
        """Record a warning about the mailbox."""
        self._outcome.warnings.append(f"{self.one.name}: {text}")

    def _show(self) -> None:
        one, before = self.one, self._before
        done = before + one.restored + one.present
        self._reporter.transfer("restoring", done, before + one.selected, self._bytes_before + one.bytes)
