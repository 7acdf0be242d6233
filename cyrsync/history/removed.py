"""What mailboxes had and no longer have, by their kept states."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator

from cyrsync.cyrus.mailbox import entry, records
from cyrsync.cyrus.mailbox.locks import LockTimeout
from cyrsync.cyrus.server.server import Located
from cyrsync.errors import error_text
from cyrsync.far import packed
from cyrsync.far import uids as uid_sets
from cyrsync.far.locked_folder import have_file
from cyrsync.history.choose import Request
from cyrsync.history.kept import excerpt
from cyrsync.history.kept.kept import WRONG, Kept
from cyrsync.history.kept.store import State
from cyrsync.history.mailbox_files import MailboxFiles, Unreadable
from cyrsync.history.reading import read
from cyrsync.history.selected import Message, Selection
from cyrsync.text import path_text

_SECOND = 10**9
_EVERY = Request(every=True)


class Removed:
    """The removed messages of a mailbox, each from the newest state that has it, newest state first."""

    def __init__(
        self,
        kept: Kept,
        mailbox: bytes,
        place: Located,
        unreadable: Callable[[str], None],
        index: bytes | None = None,
    ) -> None:
        """`mailbox` is the name of the directory with the states, `place` what is known of it by now.

        `index` is the index that is there, if somebody has just read it, and found it right.
        """
        self._kept, self._mailbox, self._place, self._unreadable = kept, mailbox, place, unreadable
        self._index = index

    def selections(self) -> Iterator[tuple[Selection, int]]:
        """Yield the messages of each state, and when the next state began, in nanoseconds since 1970."""
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
                index, new = _new(state, known, seen)
                if new:
                    yield self._read(self._kept.files(state, index), new), until or state.made()
            except WRONG as error:
                self._unreadable(f"{path_text(state.path)}: {error_text(error)}")
            except Unreadable as error:
                self._unreadable(str(error))
            until = state.since

    def _live(self, known: _Known, seen: dict[bytes, int]) -> int:
        """Note the messages that exist, and their pieces; return since when it is so, 0 for a deleted mailbox."""
        live = self._kept.live.get(self._mailbox)
        if live is None:
            return 0
        try:
            data = self._index or self._kept.tree.files(live).metadata[entry.INDEX]
            view = memoryview(data)
            header = records.read_header(data)
            end = header.start_offset + header.num_records * header.record_size
            if self._index is None:
                records.read(data, check_records=False, sorted_uids=False)
            uids = records.uids_with_file(header, view[header.start_offset : end])
            known.note(header.uidvalidity, uids if self._index else _sorted(uids))
            if packed.is_large(len(data)):
                pieces = packed.cut_index(lambda at, size: view[at : at + size], len(data))
                seen.update((packed.name_of(piece), len(piece)) for piece in pieces)
        except (LockTimeout, *WRONG):
            pass  # told of elsewhere
        return self._kept.live_since(self._mailbox) or 0

    def _read(self, files: MailboxFiles, uids: frozenset[int]) -> Selection:
        return read(self._kept.tree, self._place, _EVERY, files, uids)


def when_removed(message: Message, until: int) -> int:
    """Return when a message was removed, in seconds since 1970; `until` is when the next state began."""
    return message.last_changed if message.expunged else until // _SECOND


class _Known:
    """Messages that are known, by UIDVALIDITY: the UIDs noted first, sorted, which may be many, and the others."""

    def __init__(self) -> None:
        self._uids: dict[int, tuple[array[int], set[int]]] = {}

    def note(self, uidvalidity: int, uids: array[int]) -> None:
        """Note sorted UIDs."""
        if uidvalidity in self._uids:
            self._uids[uidvalidity][1].update(uids)
        else:
            self._uids[uidvalidity] = uids, set()

    def new(self, uidvalidity: int, uids: array[int]) -> array[int]:
        """Return those UIDs that are not known, sorted."""
        first, others = self._uids.get(uidvalidity, (uid_sets.empty(), frozenset[int]()))
        new = uid_sets.difference(_sorted(uids), first)
        return array("I", [uid for uid in new if uid not in others]) if others else new


def _new(state: State, known: _Known, seen: dict[bytes, int]) -> tuple[bytes, frozenset[int]]:
    """Return an index with those messages of a state that are not known, and their UIDs; note them.

    Raise what is WRONG with the state.
    """
    found = state.new_pieces(seen)
    if found is None:
        data = state.whole_index()
        index = records.read(data, check_records=False, sorted_uids=False)
        new = known.new(index.header.uidvalidity, have_file(index))
        known.note(index.header.uidvalidity, new)
        return data, frozenset(new)
    head, pieces = found
    header = records.read_header(head)
    new, taken = uid_sets.empty(), [head]
    for piece in pieces:
        some = known.new(header.uidvalidity, records.uids_with_file(header, piece))
        if some:
            taken.append(excerpt.of_uids(header, piece, some))
            new.extend(some)
    known.note(header.uidvalidity, _sorted(new))
    return excerpt.as_index(b"".join(taken)), frozenset(new)


def _sorted(uids: array[int]) -> array[int]:
    ascending = array("I", sorted(uids))
    return uids if uids == ascending else uid_sets.sort(ascending)
