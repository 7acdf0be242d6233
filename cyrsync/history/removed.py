"""What mailboxes had, and have no more, by the states that are kept of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import compress

from cyrsync.cyrus.mailbox import entry, records
from cyrsync.cyrus.mailbox.locks import LockTimeout
from cyrsync.cyrus.server.server import Located
from cyrsync.errors import error_text
from cyrsync.history.choose import Request
from cyrsync.history.kept.kept import WRONG, Kept
from cyrsync.history.mailbox_files import MailboxFiles, Unreadable
from cyrsync.history.reading import read
from cyrsync.history.selected import Message, Selection
from cyrsync.text import path_text

_SECOND = 10**9
_NOT = bytes(not byte for byte in range(256))
_EVERY = Request(every=True)


class Removed:
    """A mailbox's messages that are gone, as the newest state has them in which they are, newest state first."""

    def __init__(self, kept: Kept, mailbox: bytes, place: Located, unreadable: Callable[[str], None]) -> None:
        """`mailbox` is the name of the directory with the states, `place` what is known of it by now."""
        self._kept, self._mailbox, self._place, self._unreadable = kept, mailbox, place, unreadable

    def selections(self) -> Iterator[tuple[Selection, int]]:
        """Yield messages of one state each, and when the next one came to be, in nanoseconds since 1970."""
        known: dict[int, set[int]] = {}  # UIDs that are there, or in a newer state, by UIDVALIDITY
        until = self._live(known)
        try:
            states = self._kept.states(self._mailbox)
        except OSError as error:
            self._unreadable(error_text(error))
            return
        seen: dict[bytes, int] = {}
        for state in reversed(states):
            try:
                data = state.new_records(seen)
                new = _note(records.read(data, check_records=False, sorted_uids=False), known)
                if new:
                    yield self._read(self._kept.files(state, data), new), until or state.made()
            except WRONG as error:
                self._unreadable(f"{path_text(state.path)}: {error_text(error)}")
            except Unreadable as error:
                self._unreadable(str(error))
            until = state.since

    def _live(self, known: dict[int, set[int]]) -> int:
        """Note what is there, and return since when; 0 where the mailbox is gone."""
        live = self._kept.live.get(self._mailbox)
        if live is None:
            return 0
        try:
            index = records.read(self._kept.tree.files(live).metadata[entry.INDEX], check_records=False)
            _note(index, known)
        except (LockTimeout, *WRONG):
            pass  # told of elsewhere
        return self._kept.live_since(live) or 0

    def _read(self, files: MailboxFiles, uids: frozenset[int]) -> Selection:
        return read(self._kept.tree, self._place, _EVERY, files, uids)


def when_removed(message: Message, until: int) -> int:
    """Return when a message was removed, in seconds since 1970; `until` is when the next state came to be."""
    return message.last_changed if message.expunged else until // _SECOND


def _note(index: records.Index, known: dict[int, set[int]]) -> frozenset[int]:
    """Note the UIDs that an index has a message of, and return those that were not known."""
    here = known.setdefault(index.header.uidvalidity, set())
    uids = list(compress(index.uids, index.unlinked.translate(_NOT)))
    new = frozenset(uids).difference(here)
    here |= new
    return new
