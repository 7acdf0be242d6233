"""The versions of a mailbox: its kept states, and what was added and removed from one to the next."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import compress
from typing import Any

from cyrsync.cyrus.mailbox import entry, records
from cyrsync.cyrus.mailbox.locks import LockTimeout
from cyrsync.cyrus.server.server import Located
from cyrsync.errors import error_text
from cyrsync.history import moment
from cyrsync.history.choose import shown
from cyrsync.history.kept import excerpt
from cyrsync.history.kept.kept import WRONG, Kept


@dataclass(frozen=True, slots=True)
class FoundVersion:
    """A mailbox as it was for some time."""

    mailbox: bytes
    since: int  # nanoseconds since 1970
    now: bool  # the mailbox as it is
    messages: int  # that users saw
    size: int  # bytes of these
    came: int
    went: int

    def to_json(self) -> dict[str, Any]:
        """Return one line of `history --json`."""
        return {
            "mailbox": os.fsdecode(self.mailbox),
            "name": shown(self.mailbox),
            "version": moment.iso(self.since),
            "now": self.now,
            "messages": self.messages,
            "bytes": self.size,
            "came": self.came,
            "went": self.went,
        }


@dataclass(frozen=True, slots=True)
class _Seen:
    """The messages that users saw."""

    uidvalidity: int
    uids: frozenset[int]
    size: int

    def lost(self, other: _Seen) -> int:
        """Return how many messages another version has not."""
        return len(self.uids - other.uids) if self.uidvalidity == other.uidvalidity else len(self.uids)


def versions(kept: Kept, mailbox: bytes, place: Located, unreadable: Callable[[str], None]) -> Iterator[FoundVersion]:
    """Yield the versions of a mailbox, the oldest first. `mailbox` is the name of the directory with its states."""
    before = _Seen(0, frozenset(), 0)
    passed: set[int] = set()  # UIDs of messages that arrived and were deleted since
    name = place.mailbox.name
    first = True
    for since, now, read in _indexes(kept, mailbox):
        try:
            seen = _seen(read())
        except (LockTimeout, *WRONG) as error:
            unreadable(f"{shown(name)}: {moment.shown(since)}: {error_text(error)}")
            continue
        if now is None:  # records of messages that arrived and were deleted
            passed |= seen.uids - before.uids if seen.uidvalidity == before.uidvalidity else seen.uids
            continue
        came, went = (0, 0) if first else (seen.lost(before) + len(passed), before.lost(seen) + len(passed))
        yield FoundVersion(name, since, now, len(seen.uids), seen.size, came, went)
        before, passed, first = seen, set(), False


def _indexes(kept: Kept, mailbox: bytes) -> Iterator[tuple[int, bool | None, Callable[[], bytes]]]:
    """Yield since when, whether it is the present index (None: only messages that are gone), and what reads it."""
    for state in kept.readable_states(mailbox):
        if state.gone:
            yield state.since, None, lambda state=state: excerpt.as_index(state.index())  # type: ignore[misc]
        else:
            yield state.since, False, state.index
    live = kept.live.get(mailbox)
    since = kept.live_since(mailbox)
    if live and since is not None:
        yield since, True, lambda: kept.tree.files(live).metadata[entry.INDEX]


def _seen(data: bytes) -> _Seen:
    index = records.read(data, check_records=False, sorted_uids=False)
    uids = frozenset(compress(index.uids, index.live))
    return _Seen(index.header.uidvalidity, uids, sum(compress(index.sizes, index.live)))
