"""What is logged while a pass goes on: it may take hours, and nobody waits so long for a new message."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import InitVar, dataclass, field

from cyrsync.rolling.log_lines import Kind
from cyrsync.rolling.parts import Table
from cyrsync.state.pending import Waiting

#: A step that took some time is followed by so many times that of the pass.
_SHARE = 2


@dataclass(slots=True)
class Meanwhile:
    """What was noted since a pass began, and what of it was sent: that the pass ends says nothing of the rest."""

    before: InitVar[Iterable[Waiting]]  # what waited already when the pass began
    _ended: float  # the last step, or else when the pass began
    pause: float  # seconds between two steps, at least
    noted: dict[tuple[str, bytes], Waiting] = field(default_factory=dict)  # and not sent since, by kind and name
    sent: set[bytes] = field(default_factory=set)  # mailboxes
    _to_send: dict[bytes, float] = field(default_factory=dict)  # mailboxes that were noted, and when each is due
    _backlog: dict[bytes, float] = field(default_factory=dict)  # others, whose turn the pass may be late to reach
    _took: float = 0.0

    def __post_init__(self, before: Iterable[Waiting]) -> None:
        self._backlog = {row.name: row.not_before for row in before if row.kind == Kind.MAILBOX.value}

    def is_time(self, now: float) -> bool:
        """Tell whether another step may begin: steps must not take all of the time. The clock may be set back."""
        return not 0 <= now - self._ended < max(self.pause, _SHARE * self._took)

    def ended(self, began: float, now: float) -> None:
        """Note that a step has ended."""
        self._ended, self._took = now, max(now - began, 0.0)

    def note(self, rows: Iterable[Waiting]) -> None:
        """Note what has changed."""
        for row in rows:
            known = self.noted.get(row[:2], row)
            due = min(known.not_before, row.not_before)
            self.noted[row[:2]] = known._replace(not_before=due, reason=known.reason or row.reason)
            if row.kind == Kind.MAILBOX.value:
                self._to_send[row.name] = min(self._to_send.get(row.name, due), due)
                self._backlog.pop(row.name, None)

    def due(self, table: Table, now: float, most: int) -> list[Waiting]:
        """Return mailboxes that are to be sent now, what was noted before what waited; each of them once."""
        found: list[Waiting] = []
        for names in (self._to_send, self._backlog):
            for name in [name for name, due in names.items() if due <= now]:
                if len(found) == most:
                    return found
                del names[name]
                row = table.find(Kind.MAILBOX.value, name)
                if row and row.not_before > now:
                    names[name] = row.not_before  # it has failed before
                elif row:
                    found.append(row)
        return found

    def done(self, rows: Iterable[Waiting]) -> None:
        """Note mailboxes as sent."""
        for row in rows:
            self.noted.pop(row[:2], None)
            self.sent.add(row.name)
