"""What mailboxes had, and have no more, by the states that are kept of them."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import compress, islice
from operator import lt

from cyrsync.cyrus.mailbox import entry, records
from cyrsync.cyrus.mailbox.locks import LockTimeout
from cyrsync.cyrus.server.server import Located
from cyrsync.errors import error_text
from cyrsync.far import packed
from cyrsync.far import uids as uid_sets
from cyrsync.history.choose import Request
from cyrsync.history.kept import excerpt
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
        known = _Known()  # what is there, or in a newer state
        seen: dict[bytes, int] = {}  # sizes of pieces of an index
        try:
            if not self._kept.states(self._mailbox):
                return
            until = self._live(known, seen)
            states = self._kept.states(self._mailbox)  # a run may have kept one meanwhile
        except OSError as error:
            self._unreadable(error_text(error))
            return
        for state in reversed(states):
            try:
                part = state.new_records(seen)
                data = state.whole_index() if part is None else part
                new = frozenset(known.note(_read(data) if part is None else excerpt.records_of(part)))
                if new:
                    index = data if part is None else excerpt.of_uids(part, new)
                    yield self._read(self._kept.files(state, index), new), until or state.made()
            except WRONG as error:
                self._unreadable(f"{path_text(state.path)}: {error_text(error)}")
            except Unreadable as error:
                self._unreadable(str(error))
            until = state.since

    def _live(self, known: _Known, seen: dict[bytes, int]) -> int:
        """Note what is there, and in which pieces, and return since when; 0 where the mailbox is gone."""
        live = self._kept.live.get(self._mailbox)
        if live is None:
            return 0
        try:
            data = self._kept.tree.files(live).metadata[entry.INDEX]
            known.note(_read(data))
            if packed.is_large(len(data)):
                pieces = packed.cut_index(lambda at, size: data[at : at + size], len(data))
                seen.update((packed.name_of(piece), len(piece)) for piece in pieces)
        except (LockTimeout, *WRONG):
            pass  # told of elsewhere
        return self._kept.live_since(live) or 0

    def _read(self, files: MailboxFiles, uids: frozenset[int]) -> Selection:
        return read(self._kept.tree, self._place, _EVERY, files, uids)


def when_removed(message: Message, until: int) -> int:
    """Return when a message was removed, in seconds since 1970; `until` is when the next state came to be."""
    return message.last_changed if message.expunged else until // _SECOND


class _Known:
    """Messages that are known, by UIDVALIDITY: sorted arrays of UIDs, none of which is in two of them."""

    def __init__(self) -> None:
        self._uids: dict[int, list[array[int]]] = defaultdict(list)

    def note(self, index: records.Index) -> array[int]:
        """Note the UIDs that an index has a message of, and return those that were not known."""
        new = array("I", compress(index.uids, index.unlinked.translate(_NOT)))
        if not all(map(lt, new, islice(new, 1, None))):
            new = uid_sets.sort(new)
        for uids in self._uids[index.header.uidvalidity]:
            new = uid_sets.difference(new, uids)
        self._uids[index.header.uidvalidity].append(new)
        return new


def _read(data: bytes) -> records.Index:
    return records.read(data, check_records=False, sorted_uids=False)
