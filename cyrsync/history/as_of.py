"""A tree as it was at some time, by its history: each mailbox in its newest state that was not later."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

from cyrsync.cyrus.server.config import Config
from cyrsync.cyrus.server.db import reader
from cyrsync.cyrus.server.db.error import DbError
from cyrsync.cyrus.server.server import Located
from cyrsync.errors import UnusableError, error_text
from cyrsync.far.store import directory_of
from cyrsync.history import moment
from cyrsync.history.kept.kept import WRONG, Kept, no_store
from cyrsync.history.kept.store import State, Version
from cyrsync.history.mailbox_files import MailboxFiles, Unreadable
from cyrsync.history.tree import Tree, by_records
from cyrsync.text import path_text

_Result = TypeVar("_Result")
#: A version, and since when it was so, in nanoseconds since 1970; None for the file itself.
_Known = tuple[int, Version | None]


def tree_as_of(tree: Tree, when: int) -> Tree:
    """Return a tree as it was at a time, in nanoseconds since 1970. Raise UnusableError where nothing is kept."""
    kept = Kept(tree)
    if not kept.stores:
        raise no_store(tree)
    return replace(tree, past=AsOf(kept, when))


@dataclass(frozen=True)
class AsOf:
    """How a tree was at a time."""

    kept: Kept
    when: int  # nanoseconds since 1970

    def mailboxes(self) -> list[Located]:
        """Return the mailboxes there were: by mailboxes.db of that time, else by their states. Raise UnusableError."""
        config = self.kept.tree.config
        records = self._records(config) if config else None
        if config is not None and records is not None:
            found = by_records(config, records, self.kept.tree.warnings, lambda _: self._by_states())
        else:
            found = list(self._by_states())
        if not found:
            raise UnusableError(self.unknown(f"{path_text(self.kept.tree.top)}: no mailboxes"))
        return found

    def files(self, place: Located) -> MailboxFiles:
        """Return a mailbox's files. Raise OSError, LockTimeout, Unreadable."""
        uniqueid = place.mailbox.uniqueid
        mailbox = directory_of(uniqueid) if uniqueid else self._by_path.get((place.mailbox.partition, place.data))
        if mailbox is None:
            raise Unreadable(self.unknown("nothing is known of it"))
        since = self.kept.live_since(mailbox)
        states = self._states(mailbox)
        while states and states[-1] is None:
            found = self.kept.live_files(mailbox)
            again = self.kept.live_since(mailbox)
            if again == since:
                return replace(found, since=since)
            since, states = again, self._states(mailbox)  # a run has replaced it meanwhile, and kept it
        for state in filter(None, reversed(states)):
            try:
                return self.kept.files(state)
            except WRONG as error:
                text = f"{path_text(state.path)}: {error_text(error)}"
                self.kept.tree.warnings.append(f"{text}: skipped, an older state is used")
        raise Unreadable(self._unknown_state(mailbox))

    def database(self, path: bytes) -> list[tuple[bytes, bytes]]:
        """Return the pairs of a database as it was. Raise OSError, DbError."""
        return self._read(self._versions(path), path, lambda data, _: reader.records(data, path))

    def paths(self) -> Iterator[bytes]:
        """Yield the paths in the tree of the files beside the mailboxes that are kept. Raise OSError."""
        return self.kept.paths()

    def had(self, path: bytes) -> bool:
        """Tell whether there was such a file, as far as is known."""
        every = self._all_versions(path)
        found = [version for since, version in every if since <= self.when]
        if not found or len(found) < len(every) or found[-1] is None:
            return bool(found)
        # It is gone, and was kept when it was deleted; one that was packed is known to have been packed later.
        return found[-1].ended() > self.when

    def link(self, path: bytes, now: bytes) -> bytes:
        """Return what a symbolic link said, b"" where it was a file; `now` is what it says now. Raise OSError."""
        _, version = next(self._versions(path), (0, None))
        return version.link() if version else now

    def contents(self, path: bytes) -> tuple[bytes, int]:
        """Return what was in a file, and when it was changed last, in seconds since 1970. Raise OSError, DbError."""
        versions = self._versions(path)
        return self._read(versions, path, lambda data, since: (data, since // 10**9))

    def _read(self, versions: Iterable[_Known], path: bytes, read: Callable[[bytes, int], _Result]) -> _Result:
        """Return what `read` makes of the first version that can be read. Raise OSError, DbError."""
        for since, version in versions:
            try:
                data = reader.stable(self.kept.tree.place(path))[0] if version is None else version.contents()
                return read(data, since)
            except (DbError, *WRONG) as error:
                which = f" of {moment.shown(since)}" if version else ""
                self.kept.tree.warnings.append(f"{path_text(path)}{which}: {error_text(error)}: skipped")
        raise FileNotFoundError(errno.ENOENT, "no version of it is kept", path)

    def unknown(self, reason: str) -> str:
        """Return why something is not found, with the time, and from when on something is known."""
        text = f"{reason} as of {moment.shown(self.when)}"
        oldest = [states[0].since for name in self.kept.mailboxes if (states := self.kept.readable_states(name))]
        if oldest and min(oldest) > self.when:
            return f"{text}: the earliest that is kept is of {moment.shown(min(oldest))}"
        return text

    def _unknown_state(self, mailbox: bytes) -> str:
        """Return why there is no state of a mailbox."""
        live = self.kept.live_since(mailbox)
        known = [state.since for state in self.kept.states(mailbox) if not state.gone] + ([live] if live else [])
        later = [when for when in known if when > self.when]
        if not later:
            return f"nothing is known of it as of {moment.shown(self.when)}"
        return f"not known as of {moment.shown(self.when)}: the earliest is of {moment.shown(min(later))}"

    def _states(self, mailbox: bytes) -> list[State | None]:
        """Return the states that were not later, the oldest first; None for the mailbox as it is now."""
        states = self.kept.states(mailbox)
        found: list[State | None] = [one for one in states if not one.gone and one.since <= self.when]
        since = self.kept.live_since(mailbox)
        if since is not None and since <= self.when:
            found.append(None)
        return found

    def _state(self, mailbox: bytes) -> State | Located | None:
        """Return the state of that time; the mailbox itself if it has not changed since; None if there was none."""
        live = self.kept.live.get(mailbox)
        try:
            states = self._states(mailbox)
        except OSError as error:
            self.kept.tree.warnings.append(error_text(error))
            return None
        if not states or self._was_deleted(mailbox, live):
            return None
        return states[-1] or live

    def _was_deleted(self, mailbox: bytes, live: Located | None) -> bool:
        """Tell whether a deleted mailbox was deleted by then: its last state was kept when it was removed."""
        if live is not None:
            return False
        with suppress(OSError):
            whole = [state for state in self.kept.states(mailbox) if not state.gone]
            return bool(whole) and whole[-1].made() <= self.when
        return False

    def _records(self, config: Config) -> list[tuple[bytes, bytes]] | None:
        path = config.database("mboxlist")[1]
        try:
            return self.database(path)
        except (OSError, DbError):
            text = "no version of it can be read: mailboxes are looked for by their states"
            self.kept.tree.warnings.append(f"{path_text(path)}: {text}")
            return None

    def _versions(self, path: bytes) -> Iterator[_Known]:
        """Yield the versions of a file that were not later, the newest first; if there is none, the earliest."""
        every = self._all_versions(path)
        found = [one for one in every if one[0] <= self.when]
        if not found and every:
            text = f"not known as of {moment.shown(self.when)}: the earliest, of {moment.shown(every[0][0])}, is used"
            self.kept.tree.warnings.append(f"{path_text(path)}: {text}")
            found = every[:1]
        yield from reversed(found)

    def _all_versions(self, path: bytes) -> list[_Known]:
        """Return the versions of a file, the oldest first, with the file itself."""
        every: list[_Known] = [(one.since, one) for one in self.kept.versions(path)]
        since = self.kept.file_since(path)
        if since is not None:
            every.append((since, None))
        return sorted(every, key=lambda one: one[0])

    def _by_states(self) -> Iterator[Located]:
        """Yield the mailboxes by their states; of several with the same name, the newest."""
        found: dict[bytes, tuple[int, Located]] = {}
        for mailbox in sorted({*self.kept.mailboxes, *self.kept.live}):
            state, live = self._state(mailbox), self.kept.live.get(mailbox)
            since = state.since if isinstance(state, State) else self.when
            place = live
            if isinstance(state, State):
                try:
                    place = self.kept.located(state)
                except WRONG as error:
                    self.kept.tree.warnings.append(f"{path_text(state.path)}: {error_text(error)}")
                    continue
            elif state is None and live:
                # It was made later, or what it was is not known.
                if (self.kept.complete_since or self.when) < self.when:
                    continue
                since = 0
            if place and (place.mailbox.name not in found or found[place.mailbox.name][0] < since):
                found[place.mailbox.name] = since, place
        return (place for _, place in found.values())

    @cached_property
    def _by_path(self) -> dict[tuple[str, bytes], bytes]:
        """Mailboxes by partition and directory, for a mailboxes.db without uniqueids [up to 2.4]; the newest states."""
        found: dict[tuple[str, bytes], tuple[int, bytes]] = {}
        for mailbox in {*self.kept.mailboxes, *self.kept.live}:
            state = self._state(mailbox)
            if state is None:
                continue
            with suppress(*WRONG):
                place = self.kept.located(state) if isinstance(state, State) else state
                since = (state.since if isinstance(state, State) else self.kept.live_since(mailbox)) or 0
                key = place.mailbox.partition, place.data
                found[key] = max(found.get(key, (0, b"")), (since, mailbox))
        return {key: mailbox for key, (_, mailbox) in found.items()}
