"""What is quick: mailboxes with little to send, carried over while the others are still being looked into.

To start an rsync takes longer than to copy the few messages that have come since the last run. So the replica's agent
is given them as they are found, each mailbox as one piece: its new messages, and the metadata that was read with it.
All that is larger, goes another way, or cannot be done so, is left to rsync.
"""

from __future__ import annotations

from types import TracebackType

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far.folder import File
from cyrsync.far.place import Placing
from cyrsync.far.uids import file_names
from cyrsync.server.claim import Claim
from cyrsync.server.engine import Work
from cyrsync.server.reading import MailboxReader, UnreadableMailboxError, identity_of
from cyrsync.server.replica import Replica
from cyrsync.state.sent import Key, StateDamaged
from cyrsync.state.store import Store
from cyrsync.sync.folder_plan import FolderPlan, State
from cyrsync.sync.options import Options
from cyrsync.sync.result import FileCounts

#: rsync's words that ask for nothing but a copy like the original.
_PLAIN = {"--archive", "--numeric-ids"}
#: Messages of one mailbox and of all, and mailboxes: with more rsync is faster.
_FEW, _FEW_IN_ALL, _MAILBOXES = 100, 5_000, 2_000
#: Bytes of one mailbox; and of all over a connection: of more, rsync sends only what differs.
_SMALL, _SMALL_IN_ALL = 16 << 20, 1 << 20
#: Bytes and mailboxes that wait until the state knows of them.
_PORTION_BYTES, _PORTION = 16 << 20, 250


class Quick:
    """Carries mailboxes over that have little to send. Use as a context manager."""

    def __init__(self, store: Store, replica: Replica, claim: Claim, options: Options) -> None:
        """`claim` is asked for the replica when there is something for it."""
        self.files = FileCounts()
        self.bytes_sent = 0
        #: Why nothing could be sent: the state does not speak of what is there.
        self.reason = ""
        self._store = store
        self._replica = replica
        self._claim = claim
        self._numeric_ids = options.policy.preserve.numeric_ids
        self._open = not (options.dry_run or options.bwlimit) and {"--archive"} <= {*options.words} <= _PLAIN
        self._waiting: list[tuple[Work, Placing]] = []
        self._going: list[tuple[Work, Placing]] = []  # without the contents
        self._placing = False
        self.messages = 0  # sent
        self._bytes = self._bytes_waiting = 0

    def __enter__(self) -> Quick:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._placing and isinstance(error, StateDamaged):
            self._end()  # this run goes on, and asks the agent again

    def takes(self, work: Work, reader: MailboxReader) -> bool:
        """Take charge of a mailbox that has just been read, or leave it."""
        if not self._open or work.deletes() or work.summary.state is not State.CHANGED:
            return False
        if work.summary.messages_send > _FEW or not work.reading.known_version:
            return False
        busy = [(root, plan) for root, plan in work.plans.items() if plan.sends()]
        if len(busy) != 1:
            return False
        placing = placing_of(*busy[0], work, reader)
        size = sum(len(file.data) for file in placing.files) if placing else 0
        self._open = self._has_room(work, size)
        if not placing or not self._open or not self._enter():
            return False
        self.messages += work.summary.messages_send
        self._bytes += size
        self._bytes_waiting += size
        self._waiting.append((work, placing))
        if len(self._waiting) >= _PORTION or self._bytes_waiting >= _PORTION_BYTES:
            self._send()
        return True

    def finish(self) -> set[Key]:
        """Return the mailboxes that the replica has now."""
        if self._waiting:
            self._send()
        self._open = False
        failed = self._end() if self._placing else set()
        done = [(work, placing) for work, placing in self._going if (placing.root, placing.path) not in failed]
        self._store.put(work.after(deleted=True) for work, _ in done)
        for work, placing in done:
            self.files.planned += work.summary.files_planned()
            self.files.sent += work.summary.files_planned()
            self.bytes_sent += sum(file.entry.size for file in placing.files)
        return {work.place.key for work, _ in done}

    def _has_room(self, work: Work, size: int) -> bool:
        too_many = self.messages + work.summary.messages_send > _FEW_IN_ALL
        too_many = too_many or len(self._going) + len(self._waiting) >= _MAILBOXES
        return not too_many and (self._replica.address.local or self._bytes + size <= _SMALL_IN_ALL)

    def _enter(self) -> bool:
        if not self._placing:
            self.reason = self._claim.enter()
            self._open = not self.reason
            if self._open:
                self._replica.side.begin_placing(numeric_ids=self._numeric_ids)
                self._placing = True
        return self._open

    def _send(self) -> None:
        self._store.put(work.before() for work, _ in self._waiting)
        for work, found in self._waiting:
            placing = found._replace(root=self._replica.root(found.root))
            self._replica.side.place(placing)
            empty = tuple(file._replace(data=b"") for file in placing.files)
            self._going.append((work, placing._replace(files=empty)))
        self._waiting.clear()
        self._bytes_waiting = 0

    def _end(self) -> set[tuple[bytes, bytes]]:
        self._placing = False
        return self._replica.side.end_placing()


def placing_of(root: bytes, plan: FolderPlan, work: Work, reader: MailboxReader) -> Placing | None:
    """Return what is to be put in its place of a mailbox; None if it is much, or is not there any more."""
    bound = [file for found, file in work.reading.bound if found == root and file.name in plan.metadata]
    size = sum(len(file.data) for file in bound)
    files: list[File] = []
    try:
        for name in (*file_names(plan.uids), *plan.odd, *plan.loose):
            files.append(reader.file(root, plan.path, name, _SMALL - size))
            size += len(files[-1].data)
        above = reader.above(root, plan.path)
    except (OSError, UnreadableMailboxError):
        return None
    if identity_of(work.place) != plan.identity:
        return None
    return Placing(root, plan.path, above, (*files, *sorted(bound, key=lambda file: file.name == kinds.INDEX)))
