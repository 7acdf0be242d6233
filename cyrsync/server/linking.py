"""Messages that the replica has under another name: they are linked there, not sent.

Either both names are one file on the source, and this run has sent it under the other name, by the same stream before
or so that it has arrived. Then both have one SHA-1, too: a file that has gone leaves its number to the next one.

Or an earlier run has sent it. Then the indexes of the user's other mailboxes are looked through for its GUID, and what
is found is proven: the state says that the replica has that message, and on the source it is the same file. Or it was
lost with its file, by a MOVE, or with its mailbox; then one other takes its place.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from cyrsync.cyrus.mailbox import guids
from cyrsync.cyrus.server.layout import deleted_name, owner_of_name
from cyrsync.far import uids as uid_sets
from cyrsync.far.frames import Target
from cyrsync.far.walk import incarnation_in
from cyrsync.server import lost
from cyrsync.server.engine import MailboxChange
from cyrsync.server.lost import Lost, Message, message_of
from cyrsync.server.replica import Replica
from cyrsync.server.roots import Roots
from cyrsync.state.mailbox_row import Key, MailboxRow
from cyrsync.state.store import Store

#: Files with several names that are remembered of one mailbox until it has arrived; and messages of one that are looked
#: for at once.
_MOST = 1 << 16
_INODE = struct.Struct("<QQ")
_TABLES = (
    "CREATE TABLE file (inode BLOB PRIMARY KEY, partition TEXT, path BLOB, root BLOB, uid INTEGER, digest BLOB)"
    " WITHOUT ROWID",
    "CREATE TABLE lost (owner BLOB, guid BLOB, partition TEXT, path BLOB, uniqueid TEXT, uidvalidity INTEGER,"
    " root BLOB, uid INTEGER)",
    "CREATE INDEX by_guid ON lost (guid)",
)


class SentFile(NamedTuple):
    """A message file that was sent: its mailbox, what it is on the replica, and its SHA-1."""

    key: Key
    target: Target
    digest: bytes


#: By what names a file on the source.
SentFiles = dict[bytes, SentFile]


class Linker:
    """What the replica has that one run may link to."""

    def __init__(self, store: Store, replica: Replica, roots: dict[str, Roots], deletedprefix: bytes) -> None:
        """`deletedprefix` is imapd.conf's."""
        #: Roots of the replica between which there are no links.
        self.apart: set[tuple[bytes, bytes]] = set()
        self._store = store
        self._replica = replica
        self._roots = roots
        self._deletedprefix = deletedprefix
        self._table = _Table()
        self._new: set[Key] = set()  # mailboxes of which all was sent by this run
        self._changed: set[Key] = set()  # mailboxes that this run has found so
        self._find_lost: Callable[[], Iterator[Lost]] | None = None  # once, before anything is sent
        self._losers: set[bytes] = set()  # users of whom the table has messages that were lost

    def expect_lost(self, changed: list[Key], gone: list[MailboxRow], *, at_once: bool) -> None:
        """Look for the messages that mailboxes have lost before anything is sent, see `lost.find`; forget others."""
        self._changed = set(changed)
        of_this = (self._store, self._roots, self._replica, self._deletedprefix, changed, gone)
        self._find_lost = partial(lost.find, *of_this, at_once=at_once) if gone or at_once else None
        self._losers = set()
        self._table.forget_lost()

    def of(self, change: MailboxChange, going: Mapping[bytes, SentFile]) -> Linking:
        """Return the finder of a mailbox's messages; what is `going` to the same receiver is installed before."""
        find, self._find_lost = self._find_lost, None
        if find:
            self._losers = self._table.put_lost(find())
        if change.row is None:
            self._new.add(change.location.key)
        owner = owner_of_name(change.location.name, self._deletedprefix) if self._losers else b""
        return Linking(change, self, going, owner if owner in self._losers else None)

    def there(self, root: bytes) -> bytes:
        """Return where a root has its replica."""
        return self._replica.root(root, make=True)

    def arrived(self, files: SentFiles) -> None:
        """Note files that are installed."""
        self._table.put_files(files)

    def find(self, inode: bytes) -> SentFile | None:
        """Return a file that is installed under another name."""
        return self._table.file(inode)

    def among_lost(self, owner: bytes, guid: bytes) -> list[Message]:
        """Return the messages with this GUID that a user's mailboxes have lost."""
        return self._table.lost(owner, guid)

    def in_siblings(self, name: bytes, wanted: set[bytes]) -> dict[bytes, list[Message]]:
        """Return which messages of before this run have these GUIDs, in mailboxes of the user who has this one."""
        found: dict[bytes, list[Message]] = {}
        owner, siblings = owner_of_name(name, self._deletedprefix), self._store.locations.siblings
        # Nobody has copied from those that had been deleted before.
        deleted = (key for key in siblings(deleted_name(owner, self._deletedprefix)) if key in self._changed)
        for key in chain(siblings(owner), deleted):
            row = self._store.row(key) if key not in self._new else None
            if row and row.uniqueid and (row.uids or row.archived):
                for guid, uid in self._in_index(row, wanted):
                    found.setdefault(guid, []).append(message_of(row, self._roots[key.partition], uid))
        return found

    def _in_index(self, row: MailboxRow, wanted: set[bytes]) -> list[tuple[bytes, int]]:
        """Return GUID and UID of messages that the index of a mailbox has, if that is the one that was sent."""
        try:
            location = self._store.locations.get(row.key)
            found = [(guid, uid) for uid, guid in guids.read(location.index_path) if guid in wanted and row.has(uid)]
            now = incarnation_in(location.header_path, location.index_path) if found else None
        except (KeyError, OSError):
            return []
        return found if now and now[:2] == (row.uniqueid, row.uidvalidity) else []

    def note_used(self, messages: dict[Message, bytes]) -> None:
        """Note that messages that were lost, here with their GUIDs, have become others."""
        self._table.drop_lost(messages)

    def proven(self, message: Message, status: os.stat_result, *, may_be_gone: bool) -> Target | None:
        """Return a message that the replica has, if on the source it is this very file, or may be gone and is."""
        if self._store.life(message.key) != message.life or not _is_same(message, status, may_be_gone=may_be_gone):
            return None
        return Target(self.there(message.root), message.key.path, message.uid)


class Linking:
    """Finds the messages of one mailbox."""

    def __init__(
        self, change: MailboxChange, linker: Linker, going: Mapping[bytes, SentFile], loser: bytes | None
    ) -> None:
        """`loser` is the user, if other mailboxes of that user have lost messages."""
        self.files: SentFiles = {}  # of this mailbox, that others may be linked to
        self.count = 0  # messages that were found
        self.roots: set[tuple[bytes, bytes]] = set()  # of both names
        self.used: dict[Message, bytes] = {}  # that were lost, with their GUIDs
        self._location = change.location
        self._index = change.mailbox.index
        self._linker = linker
        self._going = going
        self._loser = loser
        self._siblings: dict[bytes, list[Message]] = {}
        self._looked_for = range(0)  # records of the index

    def may_find(self, status: os.stat_result) -> bool:
        """Tell whether it is worth looking for a message."""
        return status.st_nlink > 1 or self._loser is not None

    def find(self, root: bytes, uid: int, status: os.stat_result, digest: Callable[[], bytes]) -> Target | None:
        """Return what a message can be linked to, None if it is to be sent; `digest` reads its file."""
        number, guid = self._record(uid)
        if number is not None and self._index and self._index.sizes[number] != status.st_size:
            return None
        there = self._linker.there(root)
        target = self._among_sent(there, status, guid, digest) if status.st_nlink > 1 else None
        if target is None and number is not None and guid:
            target = self._of_before(there, status, number, guid)
        if target:
            self.count += 1
            self.roots.add((target.root, there))
        return target

    def add(self, root: bytes, uid: int, status: os.stat_result, digest: bytes) -> None:
        """Note a message of the mailbox that is sent."""
        self._note(status, Target(self._linker.there(root), self._location.key.path, uid), digest)

    def depends(self) -> bool:
        """Tell whether anything is, or may be, linked to what its stream has not written yet."""
        return bool(self.roots or self._going)

    def _note(self, status: os.stat_result, target: Target, digest: bytes) -> None:
        """Remember what others of a file's names may be linked to."""
        if status.st_nlink > 1 and len(self.files) < _MOST:
            self.files[_inode(status)] = SentFile(self._location.key, target, digest)

    def _among_sent(
        self, there: bytes, status: os.stat_result, guid: bytes | None, digest: Callable[[], bytes]
    ) -> Target | None:
        """Return a file that this run has sent; parts of one mailbox take their places together."""
        inode = _inode(status)
        found = self.files.get(inode) or self._going.get(inode) or self._linker.find(inode)
        if found is None or (found.target.root, there) in self._linker.apart:
            return None
        if found.key == self._location.key and found.target.root != there:
            return None
        return found.target if (guid or digest()) == found.digest else None

    def _of_before(self, there: bytes, status: os.stat_result, number: int, guid: bytes) -> Target | None:
        """Return a file that an earlier run has sent."""
        lost_ones = self._linker.among_lost(self._loser, guid) if self._loser is not None else []
        for message in lost_ones:
            target = self._proven(message, status, there) if message not in self.used else None
            if target:
                self.used[message] = guid
                self._note(status, target, guid)
                return target
        for message in self._in_siblings(number, guid) if status.st_nlink > 1 else ():
            target = self._proven(message, status, there, may_be_gone=False)
            if target:
                self._note(status, target, guid)
                return target
        return None

    def _proven(
        self, message: Message, status: os.stat_result, there: bytes, *, may_be_gone: bool = True
    ) -> Target | None:
        target = self._linker.proven(message, status, may_be_gone=may_be_gone)
        return target if target and (target.root, there) not in self._linker.apart else None

    def _in_siblings(self, number: int, guid: bytes) -> list[Message]:
        if number not in self._looked_for and self._index:
            self._looked_for = range(number, number + _MOST)
            found = map(self._index.guid, range(len(self._index))[number : number + _MOST])
            self._siblings = self._linker.in_siblings(self._location.name, set(filter(None, found)))
        return self._siblings.get(guid, [])

    def _record(self, uid: int) -> tuple[int | None, bytes | None]:
        """Return which record of the index a message has, and its SHA-1; None for what is not known."""
        if self._index is None or not uid_sets.has(self._index.uids, uid):
            return None, None
        number = bisect_left(self._index.uids, uid)
        return number, self._index.guid(number)


class _Table:
    """What may be linked to: in a file without a name, as there may be millions. What there is no room for is sent."""

    def __init__(self) -> None:
        self._db: sqlite3.Connection | None = None
        self._is_full = False

    def put_files(self, files: SentFiles) -> None:
        """Keep files of this run, by what names them on the source."""
        if files:
            rows = ((inode, *file.key, file.target.root, file.target.uid, file.digest) for inode, file in files.items())
            self._put("INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?)", rows)

    def file(self, inode: bytes) -> SentFile | None:
        """Return what a file is on the replica, None where that is not known."""
        for _, partition, path, root, uid, digest in self._find("SELECT * FROM file WHERE inode = ?", inode):
            return SentFile(Key(partition, path), Target(root, path, uid), digest)
        return None

    def put_lost(self, found: Iterable[Lost]) -> set[bytes]:
        """Keep messages that mailboxes have lost, and return the users whose they were."""
        owners: set[bytes] = set()

        def rows() -> Iterator[tuple[object, ...]]:
            for owner, guid, message in found:
                owners.add(owner)
                yield owner, guid, *message.key, *message.life, message.root, message.uid

        self._put("INSERT INTO lost VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows())
        return owners

    def forget_lost(self) -> None:
        """Forget all messages that mailboxes have lost."""
        if self._db:
            self._put("DELETE FROM lost", [()])

    def lost(self, owner: bytes, guid: bytes) -> list[Message]:
        """Return the messages with this GUID that a user's mailboxes have lost."""
        rows = self._find("SELECT * FROM lost WHERE owner = ? AND guid = ?", owner, guid)
        return [
            Message(Key(partition, path), (uniqueid, uidvalidity), root, uid)
            for _, _, partition, path, uniqueid, uidvalidity, root, uid in rows
        ]

    def drop_lost(self, messages: dict[Message, bytes]) -> None:
        """Forget messages, given with their GUIDs."""
        if messages:
            query = "DELETE FROM lost WHERE guid = ? AND partition = ? AND path = ? AND uid = ?"
            self._put(query, ((guid, *message.key, message.uid) for message, guid in messages.items()))

    def _put(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        if self._is_full:
            return
        try:
            if self._db is None:
                self._db = sqlite3.connect("", check_same_thread=False)
                for table in _TABLES:
                    self._db.execute(table)
            with self._db:
                self._db.executemany(statement, rows)
        except sqlite3.Error:
            self._is_full = True

    def _find(self, query: str, *values: bytes) -> list[tuple[Any, ...]]:
        if self._db is None or self._is_full:
            return []
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error:
            self._is_full = True
            return []


def _inode(status: os.stat_result) -> bytes:
    return _INODE.pack(status.st_dev, status.st_ino)


def _is_same(message: Message, status: os.stat_result, *, may_be_gone: bool) -> bool:
    """Tell whether a message is this very file on the source, or may be gone and is."""
    try:
        now = os.lstat(os.path.join(message.root, message.key.path, b"%d." % message.uid))
    except FileNotFoundError:
        return may_be_gone
    except OSError:
        return False
    return (now.st_dev, now.st_ino) == (status.st_dev, status.st_ino)
