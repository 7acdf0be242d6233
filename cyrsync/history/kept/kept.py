"""The history of a tree beside its mailboxes as they are: the stores of all its roots together."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cached_property

from cyrsync.cyrus.mailbox import entry, header, records, regular_file
from cyrsync.cyrus.mailbox import index as indexes
from cyrsync.cyrus.mailbox.records import BadIndex, IndexHeader
from cyrsync.cyrus.mailbox.snapshot import MetaFiles
from cyrsync.cyrus.server.conf_files import ConfFiles
from cyrsync.cyrus.server.server import Located
from cyrsync.errors import UnusableError, error_text
from cyrsync.far.store import VERSIONS, directory_of, last, since
from cyrsync.history import by_directory
from cyrsync.history.kept import excerpt
from cyrsync.history.kept.roots import has_store, roots_of, roots_of_tree
from cyrsync.history.kept.store import State, Store, Version
from cyrsync.history.kept.unpack import BadState
from cyrsync.history.mailbox_files import MailboxFiles, Places
from cyrsync.history.rooted import is_within
from cyrsync.history.tree import Tree, message_places
from cyrsync.text import path_text

#: What may be wrong with a state.
WRONG = (OSError, BadState, BadIndex, header.HeaderError)


class Kept:
    """The history of a tree. Mailboxes are known by the name of the directory with their states, see `directory_of`."""

    def __init__(self, tree: Tree) -> None:
        """Find the stores; `tree` is as it is now."""
        self.tree = tree
        #: By the roots as imapd.conf has them, which need not be where links lead.
        self._stores: dict[bytes, Store] = {}
        for root in roots_of_tree(tree):
            place = self._place(root)
            if place not in [store.root for store in self._stores.values()] and has_store(place):
                self._stores[root] = Store(place)

    @property
    def stores(self) -> list[Store]:
        """The stores there are."""
        return list(self._stores.values())

    @cached_property
    def mailboxes(self) -> list[bytes]:
        """All mailboxes with a kept state. Raises UnusableError."""
        try:
            return sorted({name for store in self.stores for name in store.mailboxes()})
        except OSError as error:
            raise UnusableError(error_text(error)) from None

    def readable_states(self, mailbox: bytes) -> list[State]:
        """Return the states of a mailbox as `states` does; none, and a warning, where they cannot be listed."""
        try:
            return self.states(mailbox)
        except OSError as error:
            self.tree.warnings.append(error_text(error))
            return []

    def states(self, mailbox: bytes) -> list[State]:
        """Return the states of a mailbox, the oldest first.

        Those with only messages that arrived and were deleted are among them. Raise OSError.
        """
        found = [state for store in self.stores for state in store.states(mailbox)]
        return sorted(found, key=lambda state: state.name)

    @cached_property
    def complete_since(self) -> int | None:
        """The time from which on every state is kept, in nanoseconds since 1970, by the oldest states; None: never."""
        made = []
        for mailbox in self.mailboxes:
            for state in self.readable_states(mailbox)[:1]:
                with suppress(OSError):
                    made.append(state.made())
        return min(made, default=None)

    @cached_property
    def places(self) -> list[Located]:
        """All mailboxes as they are now; none if only the history is left."""
        try:
            return self.tree.mailboxes
        except UnusableError:
            if self.mailboxes:
                return []
            raise

    @cached_property
    def live(self) -> dict[bytes, Located]:
        """The mailboxes as they are now, as far as they can be distinguished."""
        found: dict[bytes, Located] = {}
        for place in self.places:
            if uniqueid := place.mailbox.uniqueid or self._uniqueid(place):
                found[directory_of(uniqueid)] = place
        return found

    @cached_property
    def gone(self) -> dict[bytes, Located]:
        """The mailboxes that no longer exist, as they were last."""
        found: dict[bytes, Located] = {}
        for mailbox in self.mailboxes:
            if mailbox not in self.live and (state := self.newest(mailbox)):
                try:
                    found[mailbox] = self.located(state)
                except WRONG as error:
                    self.tree.warnings.append(f"{path_text(state.path)}: {error_text(error)}")
        return found

    def newest(self, mailbox: bytes) -> State | None:
        """Return the newest whole state of a mailbox."""
        return next((state for state in reversed(self.readable_states(mailbox)) if not state.gone), None)

    def live_since(self, mailbox: bytes) -> int | None:
        """Return since when a mailbox is as it is now, in nanoseconds since 1970; None where it is not there.

        That is after its states, also if the source's clock was set back since (`far.store.last`).
        """
        place = self.live.get(mailbox)
        if place is None:
            return None
        try:
            changed = os.stat(self.tree.placed(place).files.index_path, follow_symlinks=False).st_mtime_ns
        except OSError:
            return None
        return _after(changed, (state.name for state in self.readable_states(mailbox)))

    def file_since(self, path: bytes) -> int | None:
        """Return the same of a file that is no mailbox's, or of a symbolic link, by its path in the tree."""
        above, name = os.path.split(path)
        try:
            if self._files and self._files.may_be_link(path):
                changed = os.stat(self.tree.place(path)).st_mtime_ns
            else:
                changed = os.lstat(os.path.join(self.tree.place(above), name)).st_mtime_ns
        except OSError:
            return None
        return _after(changed, (since(version.since) for version in self.versions(path)))

    @cached_property
    def _files(self) -> ConfFiles | None:
        return ConfFiles(self.tree.config) if self.tree.config else None

    def versions(self, path: bytes) -> list[Version]:
        """Return the versions of a file that is no mailbox's, by its path in the tree, the oldest first."""
        for root in sorted(self._stores, key=len, reverse=True):
            if is_within(path, root):
                found = self._stores[root].versions(path[len(root) :].lstrip(b"/"))
                if found:
                    return found
        return []

    def paths(self) -> Iterator[bytes]:
        """Yield the paths in the tree of the files that are no mailbox's and have versions. Raise OSError."""
        for root, store in self._stores.items():
            for path in dict.fromkeys(version.directory for version in store.every_version()):
                yield os.path.join(root, path.removesuffix(VERSIONS))

    def located(self, state: State) -> Located:
        """Return what a state tells of its mailbox, and where that was. Raise OSError, BadState, HeaderError."""
        folder, config = state.folder(), self.tree.config
        partition = next((name for name, roots in self._partitions if state.store.root in roots), "")
        known = header.read(state.header())
        mailbox = by_directory.mailbox_at(folder, partition, known, config.hashimapspool if config else None)
        root = config.partitions[partition].data if config and partition else state.store.root
        directory = os.path.join(root, folder) if folder else root
        return Located(mailbox, directory, directory, directory, MetaFiles(b"", b"", b""))

    def files(self, state: State, index: bytes | None = None) -> MailboxFiles:
        """Return a mailbox's files as a state has them, or with another `index`. Raise what is WRONG with it."""
        metadata = state.metadata(index)
        if state.gone and index is None:
            metadata[entry.INDEX] = excerpt.as_index(metadata[entry.INDEX])
        head = records.read_header(metadata[entry.INDEX])
        end = head.start_offset + head.num_records * head.record_size
        if len(metadata[entry.INDEX]) < end:
            raise BadIndex(len(metadata[entry.INDEX]), f"torn: {head.num_records} records need {end} bytes")
        live = self.live.get(state.mailbox)
        now = self._head(live) if live else None
        # A mailbox with the same uniqueid may have been made anew, and have other messages under the same UIDs.
        same = live is not None and (now is None or now.uidvalidity == head.uidvalidity)
        placed = self.tree.placed(live) if live and same else None
        stores = self._of_partition(state.store.root, live)
        last_uid, highest_modseq = self._highest(state, head, live)
        return MailboxFiles(
            metadata=metadata,
            directory=state.path,
            caches=self._caches(live if same else None, metadata[entry.INDEX][:4], state),
            places=_places(placed, stores),
            digests={
                uid: digest
                for store in stores
                for (uidvalidity, uid), digest in store.hashed(state.mailbox).items()
                if uidvalidity == head.uidvalidity
            },
            last_uid=last_uid,
            highest_modseq=highest_modseq,
            since=state.since,
        )

    def live_files(self, mailbox: bytes) -> MailboxFiles:
        """Return a mailbox's files as they are, and its messages as they are or in the pool: a run may move them there.

        Raise OSError, LockTimeout, Unreadable.
        """
        live = self.live[mailbox]
        placed = self.tree.placed(live)
        stores = self._of_partition(b"", live)
        return replace(self.tree.files(live), places=_places(placed, stores))

    @cached_property
    def _partitions(self) -> list[tuple[str, frozenset[bytes]]]:
        """The partitions, and where their roots are in the tree."""
        partitions = self.tree.config.partitions.values() if self.tree.config else ()
        return [(one.name, frozenset(map(self._place, roots_of(one)))) for one in partitions]

    def _place(self, root: bytes) -> bytes:
        """Return where a root is in the tree, its own path where links run in a circle."""
        try:
            return self.tree.place(root)
        except OSError:
            return root

    def _of_partition(self, home: bytes, live: Located | None) -> list[Store]:
        """Return the stores that may have a mailbox's messages: those of the partition of a root, and where it is."""
        near = {home}
        for name, roots in self._partitions:
            if home in roots or (live and live.mailbox.partition == name):
                near |= roots
        found = [store for store in self.stores if store.root in near or not self._partitions]
        return sorted(found, key=lambda store: store.root != home)

    def _highest(self, state: State, head: IndexHeader, live: Located | None) -> tuple[int, int]:
        """Return the highest UID and modseq that are known to have been given, also after a state."""
        for found in self._heads(state, live):
            if found.uidvalidity == head.uidvalidity:
                return max(found.last_uid, head.last_uid), max(found.highestmodseq, head.highestmodseq)
        return head.last_uid, head.highestmodseq

    def _heads(self, state: State, live: Located | None) -> Iterator[IndexHeader]:
        """Yield headers of a mailbox's index, the newest first."""
        if live and (now := self._head(live)):
            yield now
        for one in reversed(self.states(state.mailbox)):
            if one.since <= state.since:
                return
            try:
                yield records.read_header(one.index(indexes.READ_SIZE))
            except WRONG:
                continue

    def _head(self, place: Located) -> IndexHeader | None:
        try:
            return records.read_header(regular_file.start(self.tree.placed(place).files.index_path, indexes.READ_SIZE))
        except WRONG:
            return None

    def _caches(self, live: Located | None, generation: bytes, state: State) -> tuple[bytes, bytes]:
        """Return where a mailbox's caches are, if they belong to an index of a generation: what they had they have."""
        nowhere = os.path.join(state.path, b"cyrus.cache")  # none is kept
        if live is None:
            return nowhere, nowhere
        main, archived = (path if _starts_with(path, generation) else nowhere for path in self.tree.caches(live))
        return main, archived

    def _uniqueid(self, place: Located) -> str:
        try:
            return header.uniqueid(regular_file.start(self.tree.placed(place).files.header_path, header.READ_SIZE))
        except OSError:
            return ""


def _places(placed: Located | None, stores: list[Store]) -> Places:
    def places(uid: int, guid: bytes | None, archived: bool) -> tuple[bytes, ...]:
        found = message_places(placed, uid, archived) if placed else ()
        return (*found, *(store.pool(guid) for store in stores)) if guid else found

    return places


def _starts_with(path: bytes, data: bytes) -> bool:
    try:
        return regular_file.start(path, len(data)) == data
    except OSError:
        return False


def _after(changed: int, names: Iterable[bytes]) -> int:
    """Return since when something is as it is now that changed at a time, and has states of these names."""
    newest = last(names, time.time_ns())
    return changed if changed > newest else newest + 1


def no_store(tree: Tree) -> UnusableError:
    """Return the error for a tree without a history."""
    return UnusableError(f"{path_text(tree.top)}: no history is kept in it: `cyrsync sync -C ... --history` keeps one")
