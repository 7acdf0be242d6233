"""Messages that mailboxes have lost since the last run, while others of the same user have got some: perhaps the same.

Where Cyrus expunges with a delay, the file of a message that was moved stays, and is found as that of a copy is. Where
it does not, only an index tells what the message was: Cyrus's own until it is rewritten, and then the replica's. The
replica's also tells what a mailbox had that is gone, or has another name, as Cyrus gives it one to delete it later.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice
from typing import NamedTuple

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox import records, regular_file
from cyrsync.cyrus.mailbox.index import READ_SIZE
from cyrsync.cyrus.mailbox.records import UNKNOWN_GUID, Index, IndexHeader
from cyrsync.cyrus.server.config import Config
from cyrsync.cyrus.server.layout import owner_of_name
from cyrsync.far import uids as uid_sets
from cyrsync.far.guids import Question
from cyrsync.far.locked_folder import have_file
from cyrsync.far.walk import incarnation_in
from cyrsync.server.replica import Replica
from cyrsync.server.roots import Roots
from cyrsync.state.mailbox_row import Key, Location, MailboxRow, index_size
from cyrsync.state.store import Store

#: Messages that the replica is asked about at once.
_PORTION = 50_000
#: Of a mailbox that is gone, so many GUIDs are worth asking for, for each message that others have got.
_WORTH = 1000
#: The first minor version of an index that a Cyrus writes which expunges with a delay if imapd.conf is silent (2.5).
_FIRST_DELAYED = 13


class Message(NamedTuple):
    """A message that the replica has: its mailbox, with uniqueid and UIDVALIDITY, the root it is below, and its UID."""

    key: Key
    life: tuple[str, int]
    root: bytes
    uid: int


class Lost(NamedTuple):
    """A message that a user's mailbox has lost."""

    owner: bytes
    guid: bytes
    message: Message


def find(
    store: Store,
    roots: dict[str, Roots],
    replica: Replica,
    deletedprefix: bytes,
    changed: list[Key],
    gone: list[MailboxRow],
    *,
    at_once: bool,
) -> Iterator[Lost]:
    """Yield messages that the user's other mailboxes have got, perhaps; nothing may be under way.

    They are those of mailboxes that are `gone`, and, if Cyrus expunges `at_once`, those that changed ones have lost.
    """
    asked: list[tuple[bytes, MailboxRow, array[int]]] = []
    waiting = 0
    changed_ones = _that_may_have_lost(store, deletedprefix, changed) if at_once else ()
    for owner, row, index in chain(changed_ones, _that_are_gone(store, deletedprefix, changed, gone)):
        unknown = uid_sets.union(row.uids, row.archived)
        if index is not None:  # one without records is false
            lost, unknown = uid_sets.difference(unknown, have_file(index)), uid_sets.empty()
            for uid in lost:
                guid = index.guid_of(uid)
                if guid:
                    yield Lost(owner, guid, message_of(row, roots[row.key.partition], uid))
                else:
                    unknown.append(uid)
        for start in range(0, len(unknown), _PORTION):
            asked.append((owner, row, unknown[start : start + _PORTION]))
            waiting += len(asked[-1][2])
            if waiting >= _PORTION:
                yield from _asked(roots, replica, asked)
                asked, waiting = [], 0
    yield from _asked(roots, replica, asked)


def is_expected(config: Config, store: Store, changed: list[Key]) -> bool:
    """Tell whether messages may be lost with their files: whether Cyrus expunges at once."""
    if config.text("expunge_mode") != "delayed":
        return True
    looks = (_Look.at(store, key) for key in changed)
    return any(look.header.minor_version < _FIRST_DELAYED for look in islice(filter(None, looks), 1))


class _Look(NamedTuple):
    """The header of an index, and what the replica has of its mailbox."""

    location: Location
    header: IndexHeader
    row: MailboxRow | None

    @classmethod
    def at(cls, store: Store, key: Key) -> _Look | None:
        """Return the present look of a mailbox, None if its index cannot be read."""
        location = store.locations.get(key)
        try:
            return cls(
                location, records.read_header(regular_file.start(location.index_path, READ_SIZE)), store.row(key)
            )
        except (OSError, records.BadIndex):
            return None

    def may_have_got(self) -> bool:
        """Tell whether there may be messages that the replica does not have."""
        return self.uids_new() > 0

    def lost_from(self) -> MailboxRow | None:
        """Return what the replica has if some of it may be lost: not as many records have come as UIDs."""
        header, row = self.header, self.row
        if row is None or not row.uniqueid or row.uidvalidity != header.uidvalidity:
            return None
        records_new = header.num_records - (index_size(row.seen) - header.start_offset) // header.record_size
        return row if header.exists < header.num_records or records_new != self.uids_new() else None

    def life(self) -> tuple[str, int] | None:
        """Return uniqueid and UIDVALIDITY of the mailbox, None if they cannot be read."""
        now = incarnation_in(self.location.header_path, self.location.index_path)
        return now[:2] if now else None

    def index_of(self, row: MailboxRow) -> Index | None:
        """Return the index as it is now, None if it is not that of the mailbox which was sent."""
        try:
            index = records.read(regular_file.read(self.location.index_path), check_records=False)
        except (OSError, records.BadIndex):
            return None
        return index if self.life() == (row.uniqueid, row.uidvalidity) else None

    def uids_new(self) -> int:
        """Return how many UIDs were given since."""
        return self.header.last_uid - (self.row.last_uid() if self.row else 0)


def _that_may_have_lost(
    store: Store, deletedprefix: bytes, changed: list[Key]
) -> Iterator[tuple[bytes, MailboxRow, Index]]:
    """Yield what the replica has of mailboxes, with the user and the index as it is now."""
    users: dict[bytes, list[Key]] = {}
    for key in changed:
        users.setdefault(owner_of_name(store.locations.get(key).name, deletedprefix), []).append(key)
    for owner, keys in users.items():
        if len(keys) < 2:
            continue
        looks = [look for look in (_Look.at(store, key) for key in keys) if look]
        grown = [look for look in looks if look.may_have_got()]
        for look in looks:
            row = look.lost_from() if grown not in ([], [look]) else None
            index = look.index_of(row) if row else None
            if row and index is not None:
                yield owner, row, index


def _that_are_gone(
    store: Store, deletedprefix: bytes, changed: list[Key], gone: list[MailboxRow]
) -> Iterator[tuple[bytes, MailboxRow, None]]:
    """Yield what the replica has of mailboxes that are gone, with the user; not if they were only renamed."""
    rows = {row.key: row for row in gone if row.uniqueid}
    if not (rows and changed):
        return
    lives = {(row.uniqueid, row.uidvalidity) for row in rows.values()}
    looks = [look for look in map(partial(_Look.at, store), changed) if look and look.may_have_got()]
    got: dict[bytes, int] = {}
    for look in looks:
        if look.life() not in lives:
            owner = owner_of_name(look.location.name, deletedprefix)
            got[owner] = got.get(owner, 0) + look.uids_new()
    for one in store.locations.names():
        row, owner = None if one.is_live else rows.get(one.key), owner_of_name(one.name, deletedprefix)
        if row and len(row.uids) + len(row.archived) <= got.get(owner, 0) * _WORTH:
            yield owner, row, None


def _asked(
    roots: dict[str, Roots], replica: Replica, asked: list[tuple[bytes, MailboxRow, array[int]]]
) -> Iterator[Lost]:
    for name in sorted({row.key.partition for _, row, _ in asked}):
        those = [one for one in asked if one[1].key.partition == name]
        there = replica.root(roots[name].homes[kinds.INDEX])
        questions = [Question(row.key.path, uids) for _, row, uids in those]
        for (owner, row, uids), found in zip(those, replica.tree.guids(there, questions), strict=True):
            for uid, guid in zip(uids, found, strict=False):
                if guid != UNKNOWN_GUID:
                    yield Lost(owner, guid, message_of(row, roots[name], uid))


def message_of(row: MailboxRow, roots: Roots, uid: int) -> Message:
    """Return a message that the replica has for certain."""
    root = roots.data if uid_sets.has(row.uids, uid) else roots.archive
    return Message(row.key, (row.uniqueid, row.uidvalidity), root, uid)
