"""Mailboxes as one run has taken them: read under their locks, their metadata staged; and those that could not be."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Protocol

from cyrsync.cyrus.mailbox.locks import LockTimeout
from cyrsync.far.folder import Folder
from cyrsync.far.take import Taken
from cyrsync.server.engine import Work, plan_mailbox
from cyrsync.server.reading import MailboxReader, Reading, UnreadableMailboxError
from cyrsync.server.roots import Roots
from cyrsync.server.source_links import SourceLinks
from cyrsync.spool.staging import Staging
from cyrsync.state.sent import Key, Place, Sent
from cyrsync.state.store import Store
from cyrsync.sync.extended import NO_KINDS, Kinds
from cyrsync.sync.folder_plan import State
from cyrsync.sync.guard import DeleteLimit
from cyrsync.text import path_text

#: From so many messages on, a folder that the replica lacks goes to rsync as one entry: it is slow at reading lists.
_MANY = 100


class Direct(Protocol):
    """Who sends mailboxes at once, while what was read of them is at hand."""

    def takes(self, work: Work, reader: MailboxReader) -> bool:
        """Take charge of a mailbox that has just been read, or leave it."""


class Takings:
    """Takes mailboxes, and remembers which it could not."""

    def __init__(
        self,
        partitions: dict[str, Roots],
        directory: Path,
        *,
        listing: bool,
        numeric_ids: bool,
        last_look: bool,
        kinds: Kinds = NO_KINDS,
    ) -> None:
        """Metadata is staged below a `directory`, with attributes of these `kinds`; for `listing` see MailboxReader."""
        self.unreadable: dict[Key, str] = {}  # with the reason
        self.locked: dict[Key, str] = {}  # by somebody else, for too long
        self.moving: dict[Key, str] = {}  # being made, renamed or deleted, so that the next run is to see
        self.warnings: list[str] = []
        #: Whether there is no other look: then a header that mailboxes.db does not agree with is believed.
        self.last_look = last_look
        #: Where nothing moves any more: a header that mailboxes.db does not agree with stays so.
        self.settled: set[Key] = set()
        self._directory = directory
        self._numeric_ids = numeric_ids
        self._kinds = kinds
        self._readers = {name: MailboxReader(roots, listing=listing) for name, roots in partitions.items()}
        self._links = {name: SourceLinks(roots) for name, roots in partitions.items()}
        self._folders: dict[str, set[bytes]] = {}
        self._before: dict[Key, Sent] = {}
        self._stagings: dict[bytes, Staging] = {}

    def take(self, store: Store, key: Key, *, stage: bool = True, quick: Direct | None = None) -> Work | None:
        """Read a mailbox, and return what is to be done for it; None if it has to stay as it is.

        If it goes `quick`, its metadata is not staged.
        """
        place, sent = store.place(key), store.sent(key)
        reader = self._readers[key.partition]
        try:
            reading = reader.read(place)
            work = plan_mailbox(place, sent, reading, reader.roots, staged=stage, before=self._before.get(key))
            if quick and self._is_right(place, reading) and quick.takes(work, reader):
                work.staged = False
            elif stage:
                self._stage(key, reading)
        except LockTimeout as error:
            self.locked[key] = str(error)
            return None
        except UnreadableMailboxError as error:
            self.unreadable[key] = str(error)
            return None
        if not (self._is_right(place, reading) or self.last_look or key in self.settled):
            self.unreadable[key] = f"the mailbox has uniqueid {reading.incarnation.uniqueid}, not {place.uniqueid}"
            return None
        if not reading.known_version and not self.warnings:
            name = path_text(key.path)
            self.warnings.append(f"{name}: an index of an unknown version: what is in the directory is sent")
        reading.let_go()
        # Behind a link anything may lie by the time that rsync lists it: there it gets the names of what was read.
        if work.summary.state is State.NEW and len(reading.messages) >= _MANY and not self.is_behind_link(key):
            with suppress(OSError):
                folders = self._all_folders(store, key.partition)
                work.plans[reader.roots.data].whole = reader.holds_only(key.path, reading.messages, folders)
        return work

    def is_behind_link(self, key: Key) -> bool:
        """Tell whether a mailbox lies behind a link on the source."""
        return self._links[key.partition].hide(key.path)

    def left(self) -> bool:
        """Tell whether some mailboxes are left as they were."""
        return bool(self.locked or self.unreadable or self.moving)

    def _is_right(self, place: Place, reading: Reading) -> bool:
        """Tell whether it is the mailbox that mailboxes.db names."""
        return place.uniqueid in ("", reading.incarnation.uniqueid)

    def remember(self, work: Work) -> None:
        """Remember what the replica had of a mailbox before this run sent anything of it."""
        self._before.setdefault(work.place.key, work.sent or Sent(work.place.key))

    def before(self, sent: Sent) -> Sent:
        """Return what the replica had of a mailbox when this run began."""
        return self._before.get(sent.key, sent)

    def reader(self, partition: str) -> MailboxReader:
        """Return what reads the mailboxes of a partition."""
        return self._readers[partition]

    def staging(self, root: bytes) -> Staging:
        """Return where metadata is staged that lies below a root."""
        if root not in self._stagings:
            directory = self._directory / str(len(self._stagings))
            self._stagings[root] = Staging(directory, self._numeric_ids, self._kinds.below(root))
        return self._stagings[root]

    def clear(self) -> None:
        """Remove what is staged."""
        for staging in self._stagings.values():
            staging.clear()

    def _stage(self, key: Key, reading: Reading) -> None:
        for root in {root for root, _ in reading.bound}:
            files = tuple(file for found, file in reading.bound if found == root)
            above = self._readers[key.partition].above(root, key.path)
            self.staging(root).add(Taken(Folder(key.path), files, above))

    def _all_folders(self, store: Store, partition: str) -> set[bytes]:
        if partition not in self._folders:
            self._folders[partition] = store.directories(partition)
        return self._folders[partition]


def take_late(
    takings: Takings, limit: DeleteLimit, store: Store, key: Key, direct: Direct | None = None
) -> Work | None:
    """Read a mailbox when others have been sent already, or once more; what it would delete is counted first.

    It is staged, or offered to who sends it `direct`.
    """
    work = takings.take(store, key, stage=direct is None, quick=direct)
    if work:
        limit.replan(key, work.summary)
    return work
