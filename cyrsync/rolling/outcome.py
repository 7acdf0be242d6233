"""What is left to do after a pass, and which changes it found that were not logged. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cyrsync.rolling.backoff import mailbox_pause
from cyrsync.rolling.log_lines import Change, Kind
from cyrsync.rolling.meanwhile import Meanwhile
from cyrsync.rolling.parts import Passed
from cyrsync.rolling.plain import Late
from cyrsync.state.pending import Waiting
from cyrsync.text import path_text

#: Everything; and the files of all users: which of them have changed, their looks tell.
ALL, FILES = Change(Kind.ALL, b""), Change(Kind.FILES, b"")


class Settled(NamedTuple):
    """What a pass did with the rows that were waiting."""

    sent: list[Waiting]  # mailboxes
    others: list[Waiting]  # that are done
    failed: list[Waiting]
    anew: list[Waiting]  # that were done, and have been logged again meanwhile


def waiting(change: Change, since: float, not_before: float, reason: str = "") -> Waiting:
    """Return a row for a change."""
    return Waiting(change.kind.value, change.name, since, 0, not_before, reason)


def settle(before: list[Waiting], passed: Passed, now: float, meanwhile: Meanwhile) -> Settled:
    """Return which waiting rows a pass has done, and which it could not do: of these, each mailbox waits by itself.

    Rows that it neither did nor failed at are in none of the lists, and wait as before. Those that were noted
    `meanwhile` wait once more: the pass may have been there already.
    """
    known = {row.name: row for row in before if row.kind == Kind.MAILBOX.value}
    failed = [
        again(known.get(name) or Waiting(Kind.MAILBOX.value, name, now), reason, now)
        for name, reason in passed.failed.items()
    ]
    sent = [row for name, row in known.items() if name not in passed.failed and name not in passed.unsent]
    others = [row for row in before if row.kind != Kind.MAILBOX.value]
    if passed.error:
        failed += [again(row, passed.error, now) for row in others if row.kind == Kind.ALL.value]
        others = []
    sent = [row for row in sent if row.name not in meanwhile.sent]
    anew = [meanwhile.noted[row[:2]] for row in (*sent, *others) if row[:2] in meanwhile.noted]
    return Settled(sent, others, failed, anew)


def again(row: Waiting, reason: str, now: float) -> Waiting:
    """Return a row after one more failed try."""
    tries = row.tries + 1
    return row._replace(tries=tries, not_before=now + mailbox_pause(tries), reason=reason)


def set_back(rows: list[Waiting], now: float) -> list[Waiting]:
    """Return rows that wait for no time that was reached before the clock was set back to `now`."""
    return [row._replace(since=min(row.since, now), not_before=min(row.not_before, now)) for row in rows]


def missed(passed: Passed, named: set[bytes]) -> Iterator[tuple[list[bytes], str]]:
    """Yield the mailboxes that a pass has sent and the log did not name, by their kinds, with what to say of these."""
    for was_known in (True, False):
        names = [name for name, known in passed.changed.items() if known is was_known and name not in named]
        if names:
            yield names, _missed(names, was_known=was_known)


def late_ones(rows: list[Waiting]) -> tuple[list[Late], list[float]]:
    """Return what waits, failures first, and since when the replica lacks what of it. Times are seconds since 1970."""
    # A pass that is merely due says nothing of changes.
    late = [row for row in rows if row.kind != Kind.ALL.value or row.reason]
    late.sort(key=lambda row: not row.tries)
    lacks = [row.since for row in late if row.kind != Kind.ALL.value or not row.tries]
    return [Late(shown(row), row.since, row.tries, row.reason) for row in late], lacks


def shown(row: Waiting) -> str:
    """Return the name of what waits, for people."""
    if row.name:
        return f"files of {path_text(row.name)}" if row.kind == Kind.FILES.value else path_text(row.name)
    return {Kind.ALL.value: "all mailboxes", Kind.FILES.value: "users' files"}.get(row.kind, "")


def _missed(names: list[bytes], *, was_known: bool) -> str:
    """Return what to say of mailboxes that a pass found, and the log did not name."""
    first = path_text(min(names))
    if was_known:
        cause = "processes that are older than sync_log in imapd.conf, programs of Cyrus 3.0 and older that do not log"
        return (
            f"{len(names)} mailboxes have changed and were not logged (first {first}): {cause}, or a log not writable?"
        )
    cause = "did users arrive by replication? `cyrsync check` names what to set for them"
    return f"{len(names)} mailboxes are new and were not logged (first {first}): {cause}"
