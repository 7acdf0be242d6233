"""What is asked for and not in the tree is looked for in its history."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from cyrsync.cyrus.server.server import Located
from cyrsync.errors import UnusableError
from cyrsync.history import moment
from cyrsync.history.choose import Request, choose
from cyrsync.history.kept.kept import WRONG, Kept
from cyrsync.history.kept.store import State
from cyrsync.history.mailbox_files import MailboxFiles, Unreadable
from cyrsync.history.reading import read
from cyrsync.history.selected import Selection
from cyrsync.history.tree import Tree


def of(tree: Tree) -> Kept | None:
    """Return the history of a tree; None if it has none, or if the tree is already shown as of another time."""
    if tree.past is not None:
        return None
    kept = Kept(tree)
    return kept if kept.stores else None


def hint(kept: Kept, request: Request, reason: str) -> str:
    """Return why a mailbox is not found, and until when there was one of that name."""
    with suppress(UnusableError):
        gone = _chosen(kept.gone, replace(request, deleted=True), kept)
        made = [_made(state) for mailbox in gone if (state := kept.newest(mailbox))]
        if made:
            return f"{reason}; it was there until {moment.shown(max(made))}: --as-of takes a time before"
    return reason


def messages(kept: Kept, request: Request) -> Iterator[Selection]:
    """Yield the message that is asked for, from the newest state that has it; for a UID, one from each mailbox."""
    try:
        places = _chosen({**kept.gone, **kept.live}, replace(request, deleted=True), kept)
    except UnusableError:
        return
    wanted = request.message
    if isinstance(wanted, bytes):
        deleted = max((when for store in kept.stores if (when := _ctime(store.pool(wanted)))), default=0)
        if not deleted:
            return
        for states in (_likely(kept, places, deleted), _every(kept, places)):
            for place, state in states:
                found = _with(kept, place, request, [state])
                if found:
                    yield found
                    return
    else:
        for mailbox, place in places.items():
            found = _with(kept, place, request, kept.readable_states(mailbox)[::-1])
            if found:
                yield found


def _likely(kept: Kept, places: dict[bytes, Located], deleted: int) -> list[tuple[Located, State]]:
    """Return the last state of each mailbox that was kept before a message was deleted, the latest first."""
    found = []
    for mailbox, place in places.items():
        states = kept.readable_states(mailbox)
        number = bisect_right(states, deleted, key=_made)
        if number:
            found.append((_made(states[number - 1]), place, states[number - 1]))
    return [(place, state) for _, place, state in sorted(found, key=lambda one: -one[0])]


def _every(kept: Kept, places: dict[bytes, Located]) -> Iterator[tuple[Located, State]]:
    """Yield all states of each mailbox, the newest first."""
    for mailbox, place in places.items():
        for state in reversed(kept.readable_states(mailbox)):
            yield place, state


def _chosen(places: dict[bytes, Located], request: Request, kept: Kept) -> dict[bytes, Located]:
    """Return which mailboxes are selected, by the directories with their states. Raise UnusableError for none."""
    by_place = {place: mailbox for mailbox, place in places.items()}
    return {by_place[place]: place for place in choose(list(by_place), request, kept.tree.deletedprefix)}


def _with(kept: Kept, place: Located, request: Request, states: list[State]) -> Selection | None:
    """Return the message that is asked for, from the first state that has it."""
    for state in states:
        with suppress(Unreadable, *WRONG):
            for asked, files in _files(kept, request, state):
                found = read(kept.tree, place, asked, files)
                if found.count:
                    return found
    return None


def _files(kept: Kept, request: Request, state: State) -> Iterator[tuple[Request, MailboxFiles]]:
    """Yield the files of a state that may have the message that is asked for, and how to ask these for it."""
    wanted = request.message
    digests = {digest: uid for (_, uid), digest in state.store.hashed(state.mailbox).items()}
    if not isinstance(wanted, bytes):
        yield request, kept.files(state)
    elif wanted in digests:
        yield replace(request, message=digests[wanted]), kept.files(state)
    else:
        for index in state.with_guid(wanted):
            yield request, kept.files(state, index)


def _ctime(path: bytes) -> int:
    try:
        return os.lstat(path).st_ctime_ns
    except OSError:
        return 0


def _made(state: State) -> int:
    try:
        return state.made()
    except OSError:
        return 0
