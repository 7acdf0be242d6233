"""What a tree holds, as `history` shows it: mailboxes and messages, also removed ones that can be restored."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from cyrsync.cyrus.mailbox import entry
from cyrsync.cyrus.server import layout
from cyrsync.cyrus.server.server import Located
from cyrsync.errors import error_text
from cyrsync.history import moment
from cyrsync.history.choose import Request, choose, deleted_at, former_name, shown
from cyrsync.history.envelopes import Envelope, Envelopes
from cyrsync.history.kept.kept import WRONG, Kept
from cyrsync.history.kept.store import State
from cyrsync.history.mailbox_files import Unreadable
from cyrsync.history.reading import chosen, of_each, read, read_if_readable
from cyrsync.history.removed import Removed, when_removed
from cyrsync.history.selected import Message, Selection
from cyrsync.history.tree import Tree
from cyrsync.history.versions import FoundVersion, versions
from cyrsync.sync.progress import Reporter
from cyrsync.text import iso, path_text


@dataclass(frozen=True, slots=True)
class FoundMailbox:
    """A mailbox, and how much there is in it to restore."""

    name: bytes  # internal
    uniqueid: str
    uidvalidity: int
    messages: int
    expunged: int  # messages that were expunged and have their file still
    size: int  # bytes of all these messages
    deleted: bool
    removed: int | None  # when it was deleted, in seconds since 1970
    former_name: bytes | None  # what it was called before
    versions: int = 0  # states of it that are kept
    oldest: int | None = None  # of these, since when it was so, in nanoseconds since 1970

    def to_json(self) -> dict[str, Any]:
        """Return one line of `history --json`."""
        return {
            "mailbox": os.fsdecode(self.name),
            "name": shown(self.name),
            "uniqueid": self.uniqueid,
            "uidvalidity": self.uidvalidity,
            "messages": self.messages,
            "expunged": self.expunged,
            "bytes": self.size,
            "deleted": self.deleted,
            "removed": _iso(self.removed),
            "former_name": os.fsdecode(self.former_name) if self.former_name else None,
            "versions": self.versions,
            "oldest": moment.iso(self.oldest) if self.oldest is not None else None,
        }


@dataclass(frozen=True, slots=True)
class FoundMessage:
    """A message that can be restored."""

    mailbox: bytes
    message: Message
    envelope: Envelope
    removed: int | None  # when it was expunged, or its mailbox deleted, in seconds since 1970; None: it was not

    def to_json(self) -> dict[str, Any]:
        """Return one line of `history --json`."""
        one = self.message
        return {
            "mailbox": os.fsdecode(self.mailbox),
            "name": shown(self.mailbox),
            "uid": one.uid,
            "guid": one.guid.hex() if one.guid else None,
            "size": one.size,
            "internaldate": _iso(one.internaldate),
            "flags": list(one.flags),
            "expunged": one.expunged,
            "removed": _iso(self.removed),
            "message_id": self.envelope.message_id,
            "from": self.envelope.sender,
            "subject": self.envelope.subject,
        }


@dataclass(frozen=True)
class Meant:
    """The selected mailboxes: those that exist, and all of them by the directories with their states."""

    tree: Tree
    live: list[Located]
    kept: Kept | None
    states: dict[bytes, Located]
    gone: dict[bytes, Located]  # of these, those that no longer exist


def meant(tree: Tree, request: Request, unreadable: Callable[[str], None]) -> Meant:
    """Return which mailboxes are selected. Raise UnusableError if there are none."""
    request = replace(request, deleted=True)
    kept = Kept(tree) if tree.past is None else None
    if kept is None or not kept.stores:
        found = chosen(tree, request, unreadable)
        return Meant(tree, found, None, {}, {})
    for problem in tree.unreadable:
        unreadable(problem)
    by_place = {place: mailbox for mailbox, place in [*kept.gone.items(), *kept.live.items()]}
    places = [*kept.places, *kept.gone.values()]
    found = choose(places, request, tree.deletedprefix)
    states = {by_place[place]: place for place in found if place in by_place}
    gone = {name: place for name, place in states.items() if name in kept.gone}
    live = set(kept.places)
    return Meant(tree, [place for place in found if place in live], kept, states, gone)


def mailboxes(
    found: Meant, unreadable: Callable[[str], None], reporter: Reporter, *, only_deleted: bool = False
) -> Iterator[FoundMailbox]:
    """Yield the selected mailboxes, deleted ones last."""
    tree, kept = found.tree, found.kept
    by_place = {place: name for name, place in found.states.items()}
    every = Request(every=True, deleted=True)
    for place in found.live:
        if only_deleted and not _is_deleted(place, tree):
            continue
        for one in of_each(tree, [place], every, unreadable, reporter):
            states = kept.readable_states(by_place[place]) if kept and place in by_place else []
            yield _mailbox(one, tree.deletedprefix, states)
    for name, place in found.gone.items():
        state = kept.newest(name) if kept else None
        if kept is None or state is None:
            continue
        try:
            one = read(tree, place, every, kept.files(state))
            gone = _mailbox(one, tree.deletedprefix, kept.readable_states(name))
            yield replace(gone, deleted=True, removed=state.made() // 10**9, former_name=place.mailbox.name)
        except WRONG as error:
            unreadable(f"{path_text(state.path)}: {error_text(error)}")
        except Unreadable as error:
            unreadable(str(error))


def versions_of(found: Meant, unreadable: Callable[[str], None]) -> Iterator[FoundVersion]:
    """Yield the versions of the selected mailboxes."""
    for name, place in found.states.items():
        if found.kept is not None:
            yield from versions(found.kept, name, place, unreadable)


def messages(
    found: Meant,
    unreadable: Callable[[str], None],
    reporter: Reporter,
    *,
    text: str | None = None,
    only_removed: bool = False,
    only_expunged: bool = False,
) -> Iterator[FoundMessage]:
    """Yield messages: those with a `text` in Message-ID, subject or sender; those that were removed.

    With `only_expunged`, those of mailboxes that are there still.
    """
    asked = Request(every=not only_expunged, only_expunged=only_expunged, deleted=True)
    names = {place: name for name, place in found.states.items()}
    count = 0
    for number, place in enumerate(found.live):
        reporter.scan(number, count)
        one = read_if_readable(found.tree, place, asked, unreadable)
        is_meant = not (only_expunged and _is_deleted(place, found.tree))
        if one is not None and is_meant:
            count += one.count
            yield from _live_messages(found.tree, one, text, only_removed=only_removed)
        if found.kept is not None and place in names and is_meant:
            index = one.metadata[entry.INDEX] if one else None
            yield from _kept_messages(Removed(found.kept, names[place], place, unreadable, index), text)
    for name, place in found.gone.items():
        if found.kept is not None and not only_expunged:
            yield from _kept_messages(Removed(found.kept, name, place, unreadable), text)


def _live_messages(tree: Tree, one: Selection, text: str | None, *, only_removed: bool) -> Iterator[FoundMessage]:
    """Yield the messages of a mailbox as it is."""
    if only_removed and not (one.mailbox.deleted or one.expunged):
        return
    removed = deleted_at(one.mailbox.name, tree.deletedprefix)
    for message, envelope in _matching(one, text):
        if message.expunged or one.mailbox.deleted or not only_removed:
            when = message.last_changed if message.expunged else removed
            yield FoundMessage(one.mailbox.name, message, envelope, when)


def _kept_messages(removed: Removed, text: str | None) -> Iterator[FoundMessage]:
    """Yield the messages of a mailbox that are only kept."""
    for one, until in removed.selections():
        for message, envelope in _matching(one, text):
            yield FoundMessage(one.mailbox.name, message, envelope, when_removed(message, until))


def _matching(one: Selection, text: str | None) -> Iterator[tuple[Message, Envelope]]:
    """Yield messages with their envelopes, those with a text in it where one is given."""
    envelopes = Envelopes(one)
    try:
        for message in one.messages():
            envelope = envelopes.of(message) if text is None else envelopes.matching(message, text)
            if envelope is not None:
                yield message, envelope
    finally:
        envelopes.close()


def _is_deleted(place: Located, tree: Tree) -> bool:
    return layout.is_deleted(place.mailbox.name, tree.deletedprefix)


def _mailbox(one: Selection, prefix: bytes, states: list[State]) -> FoundMailbox:
    return FoundMailbox(
        name=one.mailbox.name,
        uniqueid=one.mailbox.uniqueid,
        uidvalidity=one.mailbox.uidvalidity,
        messages=one.count - one.expunged,
        expunged=one.expunged,
        size=one.size,
        deleted=one.mailbox.deleted,
        removed=deleted_at(one.mailbox.name, prefix),
        former_name=former_name(one.mailbox.name, prefix),
        versions=sum(not state.gone for state in states),
        oldest=states[0].since if states else None,
    )


def _iso(when: int | None) -> str | None:
    return iso(when) if when else None
