"""The near end of the stream: mailboxes are sent as they are read, and what has arrived is kept in the state.

What is small is read at once, and sent together with others when the state knows of them; what is large is sent while
it is read. A mailbox that loses messages meanwhile is read again, and gets its index when all that this names is there.
"""

from __future__ import annotations

import errno
import os
from collections import ChainMap
from collections.abc import Callable, Iterator
from itertools import chain

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.server.names import mailbox_text
from cyrsync.ends.sink import Sink
from cyrsync.errors import hint
from cyrsync.far.receive import Failure
from cyrsync.far.remove import Removal
from cyrsync.server.contents import Contents, CutShort, Item, UnreadableFileError
from cyrsync.server.engine import MailboxChange
from cyrsync.server.lane import Lane
from cyrsync.server.linking import Linker, Linking, SentFiles
from cyrsync.server.read_again import ReadAgain
from cyrsync.server.reading import MailboxReader, UnreadableMailboxError, identity_of
from cyrsync.server.replica import Replica
from cyrsync.server.same_messages import leave_same
from cyrsync.state.mailbox_row import Key, MailboxRow
from cyrsync.state.store import Store
from cyrsync.sync.folder_plan import State
from cyrsync.sync.progress import Reporter
from cyrsync.text import path_text

#: Bytes and mailboxes that are on their way, before anybody asks whether the first of them have arrived.
_GROUP_BYTES, _GROUP = 64 << 20, 500
#: Streams that are on their way to each receiver: while one is written, the next is read.
_AT_ONCE = 2
#: Bytes of memory, and mailboxes, that wait until the state knows of them.
_PORTION_BYTES, _PORTION = 4 << 20, 50
#: Bytes of memory that a message takes while it waits, beside its contents.
_ITEM = 512
#: What a full disk says.
FULL = (errno.ENOSPC, errno.EDQUOT)
#: What two file systems say of a link from one to the other, and one that has no links.
_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
#: So many messages are named of one mailbox.
_NAMED = 3


class Sender:
    """Sends mailboxes that have just been read."""

    def __init__(
        self,
        store: Store,
        replica: Replica,
        enter: Callable[[], str],
        progress: Reporter,
        linker: Linker,
        jobs: int = 1,
    ) -> None:
        """There are as many streams side by side as `jobs`; `progress` is told of each large mailbox how far it is.

        `enter` is asked for the replica when there is something for it; it returns what speaks against that.
        """
        #: Why nothing could be sent: the state does not speak of what is there.
        self.reason = ""
        #: Everything has been seen: from now on, what was left until then is taken, too.
        self.is_late = False
        self.files = self.messages = self.folders = 0  # that have arrived; of folders, the new ones
        self.files_failed = 0
        self.linked = 0  # messages, of those that have arrived
        self.bytes_sent = 0
        self.errors: list[str] = []
        #: Mailboxes that have arrived, and of which something is to be deleted.
        self.deletes: dict[Key, MailboxChange] = {}
        #: Mailboxes for which there was no room, and where.
        self.full: dict[Key, tuple[MailboxChange, bytes]] = {}
        #: Mailboxes of which not all could be sent: they keep their metadata.
        self.failed: set[Key] = set()
        #: Mailboxes that were offered, and are to be read again: they have changed since.
        self.read_again = ReadAgain()
        #: Mailboxes of which a message could not be linked, or that have another cache on the replica than was sent:
        #: they are to be sent without trust in what is there.
        self.to_distrust: dict[Key, MailboxChange] = {}
        self._store = store
        self._replica = replica
        self._enter = enter
        self._progress = progress
        self._entered = self._began = False
        self._is_split = jobs > 1
        #: The one that is written to, then those that were ended, the oldest first.
        self._lanes = [Lane(replica, number) for _ in range(_AT_ONCE) for number in range(jobs)]
        self._waiting: list[tuple[MailboxChange, list[Item]]] = []
        self._waiting_bytes = self._waiting_weight = 0  # of contents; and of the memory that all of it takes
        self._same: list[MailboxRow] = []  # of mailboxes of which nothing is sent
        self._held: set[Key] = set()  # sent without metadata
        self._homes: set[tuple[str, int]] | None = None
        self._linker = linker
        self._links: dict[Key, Linking] = {}  # of mailboxes that are on their way, and have some
        self._distrusted: set[Key] = set()

    def accepts(self, change: MailboxChange, reader: MailboxReader) -> bool:
        """Send a mailbox that has just been read, or leave it.

        One that was recreated, or may have been renamed, is left until it is late: what the replica has of others may
        be its own.
        """
        key = change.location.key
        self.read_again.discard(key)
        if change.summary.state is State.SAME:
            self._note_same(change, reader)
            return True
        if not self.is_late and (change.summary.state is State.RECREATED or self._may_be_renamed(change)):
            return False
        if not self._may_begin():
            return False
        self._lanes[0].push()
        self._leave_same(change, reader)
        contents = self._contents(change, reader)
        items = iter(contents)
        read: list[Item] = []
        size = 0
        try:
            for item in items:
                read.append(item)
                size += len(item.data)
                if size + len(read) * _ITEM > _PORTION_BYTES:
                    return self._send_large(change, contents, chain(read, items))
        except _CHANGED as error:
            self.read_again.add_unsent(change, error)
            return False
        if any(contents.lost.values()) or identity_of(change.location) != change.mailbox.identity:
            self.read_again.add_lost(change, contents.lost)
            return False
        if change.summary.state is State.RECREATED:
            return self._send_large(change, contents, iter(read))
        self._note_wrong(change, contents)
        self._note_unreadable(change, contents)
        self._note_links(change, contents)
        self._waiting.append((change, read))
        self._waiting_bytes += size
        self._waiting_weight += size + len(read) * _ITEM
        if len(self._waiting) >= _PORTION or self._waiting_weight >= _PORTION_BYTES:
            self._send_waiting(much=True)
        return True

    def settle(self) -> None:
        """See that what was sent has arrived, and keep that in the state."""
        self._send_waiting(much=False)
        self._end_group()
        self._put_same()

    def give_up(self) -> None:
        """Let nothing be half sent: whoever is at the other end is asked for something else now."""
        for lane in self._by_age():
            lane.give_up()

    def _note_same(self, change: MailboxChange, reader: MailboxReader) -> None:
        """Note a mailbox that the replica has as it is: nothing is sent."""
        change.mailbox.caches = reader.caches(change.location.key.path)
        self._same.append(change.after(deleted=True))
        if len(self._same) >= _GROUP:
            self._put_same()

    def _put_same(self) -> None:
        same, self._same = self._same, []
        self._store.put(same)

    def _may_be_renamed(self, change: MailboxChange) -> bool:
        if change.summary.state is not State.NEW:
            return False
        if self._homes is None:
            self._homes = set(self._store.homes())
        return change.mailbox.incarnation[:2] in self._homes

    def _may_begin(self) -> bool:
        if not self._entered and not self.reason:
            self.reason = self._enter()
            self._entered = not self.reason
        return self._entered

    def _leave_same(self, change: MailboxChange, reader: MailboxReader) -> None:
        """Do without messages that the replica may have, and has."""
        if any(change.doubtful(root) for root in change.plans):
            self._end_group()
            leave_same(change, reader, self._replica)

    def _contents(self, change: MailboxChange, reader: MailboxReader) -> Contents:
        self._leave_out_lacking(change)
        wanted, bad = self.read_again.wanted(change), self.read_again.bad(change)
        if change.location.key in self._distrusted:
            return Contents(change, reader, wanted, self._there, bad)
        caches = change.row.caches if change.row and change.summary.state is State.CHANGED else {}
        links = self._linker.of(change, ChainMap(*self._files_going()))
        return Contents(change, reader, wanted, self._there, bad, caches, links)

    def _there(self, root: bytes) -> bytes:
        return self._replica.root(root, make=True)

    def _leave_out_lacking(self, change: MailboxChange) -> None:
        """Do without messages that have no file, and say so."""
        lacking = self.read_again.leave_out(change)
        if lacking:
            some = ", ".join(map(str, lacking[:_NAMED])) + (", ..." if len(lacking) > _NAMED else "")
            reason = f"the index names messages without a file: {some}: run reconstruct"
            self.errors.append(f"{mailbox_text(change.location.key.path, change.location.name)}: {reason}")

    def _note_unreadable(self, change: MailboxChange, contents: Contents) -> None:
        """Say what cannot be read of a mailbox, which is sent without its metadata then."""
        path = change.location.key.path
        for name, reason in contents.unreadable:
            self.errors.append(f"{mailbox_text(path, change.location.name, name)}: {hint(reason)}")
        if contents.unreadable:
            self._held.add(change.location.key)
            files = {name for name, _ in contents.unreadable}.union(change.summary.metadata, change.summary.derived)
            self.files_failed += len(files) + sum(len(contents.wanted[root]) for root in contents.unopened)

    def _note_links(self, change: MailboxChange, contents: Contents) -> None:
        """Remember what others may be linked to, and what this one is."""
        if contents.links:
            self._lanes[0].files.update(contents.links.files)
            self._linker.note_used(contents.links.used)
            if contents.links.count:
                self._links[change.location.key] = contents.links

    def _note_wrong(self, change: MailboxChange, contents: Contents) -> None:
        """Say which messages of a mailbox are sent though they are damaged."""
        path = change.location.key.path
        for uid in contents.wrong:
            reason = "its contents are not what the index says: it is sent as it is: run reconstruct -G"
            self.errors.append(f"{mailbox_text(path, change.location.name, b'%d.' % uid)}: {reason}")

    def _send_large(self, change: MailboxChange, contents: Contents, items: Iterator[Item]) -> bool:
        """Send a mailbox while it is read, and tell whether there is nothing more to be done for it."""
        key = change.location.key
        self._send_waiting(much=True)
        self._store.put([change.before()])
        if change.summary.state is State.RECREATED and (contents.count() or not change.arrived):
            self._end_group()
            if not self._clear(change, contents):
                return True
        if contents.links and self._is_split and contents.links.depends():
            self._end_group()  # of what is linked, something may be going by another stream
        lane = self._lanes[0]
        sink = self._begin(much=True)
        text, total, before = mailbox_text(key.path, change.location.name), contents.count(), self.bytes_sent
        try:
            for item in items:
                item.put(sink)
                lane.bytes += len(item.data)
                self.bytes_sent += len(item.data)
                self._progress.transfer(text, contents.messages, total, self.bytes_sent - before)
        except _CHANGED as error:
            sink.abandon()
            self.read_again.add_unsent(change, error)
            return False
        if identity_of(change.location) != change.mailbox.identity:
            sink.abandon()
            self.read_again.add(key)
            return False
        sink.commit()
        lane.going.append(change)
        self._note_links(change, contents)
        self._note_wrong(change, contents)
        if any(contents.lost.values()):
            self._held.add(key)
            self.read_again.add(key)
            if key in self._end_group():
                self.read_again.discard(key)
                return False
            self.read_again.add_lost(change, contents.lost)
            for root in contents.lost:
                self.read_again.note_arrived(change, root, contents.arrived(root))
            return False
        self._note_unreadable(change, contents)
        self._go_on()
        return True

    def _clear(self, change: MailboxChange, contents: Contents) -> bool:
        """Remove what another mailbox has under the same names, its index first; tell whether all of that is gone.

        Neither size nor time tells the files of two mailboxes apart. What has arrived from this one stays.
        """
        index_root = next((root for root, file in change.mailbox.snapshot_files if file.name == kinds.INDEX), b"")
        for root in sorted(change.plans, key=lambda root: root != index_root):
            plan = change.plans[root]
            removal = Removal(plan.path, contents.wanted[root], (kinds.INDEX,) if root == index_root else ())
            there = self._replica.root(root, make=True)
            for path, number in self._replica.tree.remove(there, [removal], keep_times=False).failed:
                self._fail(change, number, os.path.join(there, path))
                return False
        return True

    def _send_waiting(self, *, much: bool) -> None:
        """Send what was read, once the state knows of it; `much`: more will follow."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        self._store.put(change.before() for change, _ in waiting)
        sink, lane = self._begin(much=much), self._lanes[0]
        for change, items in waiting:
            for item in items:
                item.put(sink)
            sink.commit()
            lane.going.append(change)
        lane.bytes += self._waiting_bytes
        self.bytes_sent += self._waiting_bytes
        self._waiting_bytes = self._waiting_weight = 0
        self._go_on()

    def _begin(self, *, much: bool) -> Sink:
        self._began = self._began or much
        return self._lanes[0].begin(much=self._began)

    def _go_on(self) -> None:
        """Go on with another stream where this one has had its share."""
        lane, share = self._lanes[0], len(self._lanes)
        if len(lane.going) * share >= _GROUP or lane.bytes * share >= _GROUP_BYTES:
            lane.end()
            self._lanes.append(self._lanes.pop(0))
            self._collect(self._lanes[0])

    def _end_group(self) -> set[Key]:
        """See that what was sent has arrived; return the mailboxes that have not."""
        self._lanes[0].end()
        return set().union(*map(self._collect, self._by_age()))

    def _files_going(self) -> list[SentFiles]:
        """Return what is on its way to the receiver that gets the next mailbox, and arrives there before."""
        number = self._lanes[0].number
        return [lane.files for lane in self._lanes if lane.number == number]

    def _by_age(self) -> list[Lane]:
        """Return the streams, the oldest first: they are asked in this order."""
        return self._lanes[1:] + self._lanes[:1]

    def _collect(self, lane: Lane) -> set[Key]:
        """See that what was sent by one stream has arrived; return the mailboxes that have not."""
        going, failures = lane.collect()
        failed = {going[failure.mailbox].location.key for failure in failures if not failure.arrived}
        arrived = {change.location.key for change in going} - failed
        waiting = {change.location.key for change, _ in self._waiting}
        self._linker.arrived({inode: file for inode, file in lane.files.items() if file.key in arrived})
        lane.files = {inode: file for inode, file in lane.files.items() if file.key in waiting}
        for failure in failures:
            if failure.arrived:
                self.errors += [error for error in [undressed(failure)] if error not in self.errors]
            else:
                self._fail(going[failure.mailbox], failure.number, failure.path)
        held = self._held.intersection(change.location.key for change in going)
        done = [change for change in going if change.location.key not in failed | held]
        self._store.put(change.after(deleted=not change.deletes()) for change in done)
        for change in done:
            self._count(change)
        self.failed |= {key for key in held if key not in self.read_again}
        self._held -= held
        return failed

    def _count(self, change: MailboxChange) -> None:
        key = change.location.key
        links = self._links.pop(key, None)
        self.linked += links.count if links else 0
        self.files += change.summary.files_planned()
        self.messages += change.summary.messages_send
        self.folders += change.summary.state is State.NEW
        self.full.pop(key, None)
        self.failed.discard(key)
        self.deletes.pop(key, None)
        if change.deletes():
            self.deletes[key] = change

    def _fail(self, change: MailboxChange, number: int, path: bytes) -> None:
        links = self._links.pop(change.location.key, None)
        if number in FULL:
            self.full[change.location.key] = (change, path)
            return
        trusts = links or (change.row and change.row.caches)
        if trusts and change.location.key not in self._distrusted:
            self.to_distrust[change.location.key] = change
            self._distrusted.add(change.location.key)
            self._linker.apart |= links.roots if links and number in _NO_LINKS else set()
            return
        self.failed.add(change.location.key)
        self.files_failed += change.summary.files_planned()
        self.errors.append(f"{path_text(path)}: {hint(os.strerror(number))}")


def undressed(failure: Failure) -> str:
    """Return what to say of a directory on the replica that cannot be made as on the source."""
    reason = hint(os.strerror(failure.number))
    return f"{path_text(failure.path)}: its owner, permissions or time cannot be set: {reason}"


#: What reading says of a mailbox that is not any more as it was.
_CHANGED = (OSError, UnreadableMailboxError, UnreadableFileError, CutShort)
