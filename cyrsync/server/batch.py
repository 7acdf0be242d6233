"""Mailboxes of one partition, carried over together: messages, metadata, and what the replica has from then on."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Sequence
from functools import partial

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far import agent
from cyrsync.far import uids as uid_sets
from cyrsync.far.folder import Folder
from cyrsync.far.message_files import MessageFiles
from cyrsync.far.walk import incarnation_in
from cyrsync.rsync.driver import Rsync
from cyrsync.server.absence import is_seen_absent
from cyrsync.server.at_once import AtOnce
from cyrsync.server.deleting import delete
from cyrsync.server.engine import Work
from cyrsync.server.reading import MailboxReader, identity_of
from cyrsync.server.replica import Replica
from cyrsync.server.roots import Roots
from cyrsync.server.takings import Takings, take_late
from cyrsync.spool import room
from cyrsync.spool.booking import book, forget
from cyrsync.spool.carry import carry, make_room
from cyrsync.spool.steps import Transfer
from cyrsync.state.sent import Key, Sent
from cyrsync.state.store import Store
from cyrsync.sync.folder_plan import FolderPlan, State
from cyrsync.sync.session import Session
from cyrsync.text import path_text


class Batch:
    """Mailboxes of one partition that are carried over together."""

    def __init__(
        self,
        session: Session,
        takings: Takings,
        store: Store,
        replica: Replica,
        roots: Roots,
        works: list[Work],
        rsyncs: dict[bytes, Rsync],
    ) -> None:
        self._session = session
        self._takings = takings
        self._store = store
        self._replica = replica
        self._roots = roots
        self._rsyncs = rsyncs
        self._works = {work.place.key.path: work for work in works}
        self._index_root = replica.root(roots.homes[kinds.INDEX], make=True)
        self._lost_before: set[tuple[bytes, int]] = set()
        self._transfers = [
            Transfer(
                [work.plans[root] for work in works],
                rsyncs[root],
                replica.side,
                replica.root(root, make=True),
                session.progress.transfer,
                skip_derived=session.options.policy.skip_derived,
                staging=takings.staging(root).tree,
                may_delete=session.limit.start,
            )
            for root in roots.all()
        ]

    def carry(self) -> None:
        """Send, and keep what has arrived; then delete, and keep that. Do so again where there was no room."""
        self._carry(clear=False)
        works = dict(self._works)

        def again(before: Sequence[Transfer], paths: list[bytes], *, clear: bool) -> list[Transfer]:
            forget(self._session.result, before, paths)
            some = [works[path] for path in paths if path in works]
            batch = Batch(self._session, self._takings, self._store, self._replica, self._roots, some, self._rsyncs)
            batch._carry(clear=clear)
            works.update(batch._works)
            return batch._transfers

        sizes = [partial(_sizes, root) for root in self._roots.all()]
        full = room.try_again(self._transfers, self._index_root, sizes, again, self._device)
        self._session.full = full or self._session.full

    def _device(self, root: bytes) -> int:
        return self._replica.side.room(root).device

    def _carry(self, *, clear: bool) -> None:
        self._finish()
        self._store.put(work.before() for work in self._works.values())
        try:
            if clear:
                room.make_way(self._transfers, self._index_root, sorted(self._works))
            held = carry(self._transfers, self)
        except BaseException:
            for transfer in self._transfers:
                book(self._session.result, transfer)
            raise
        make_room(self._transfers, self._index_root)
        done = [work for path, work in self._works.items() if path not in held]
        self._store.put(work.after(deleted=not work.deletes()) for work in done)
        new = [work for work in done if work.summary.state is State.NEW]
        self._session.limit.sent(messages=sum(work.summary.messages_send for work in done), folders=len(new))
        deletes = self._session.limit.allows()
        failed = set(held)
        for transfer in self._transfers:
            failed |= delete(self._session, transfer)
        if deletes:
            gone = [work for work in done if work.deletes()]
            self._session.limit.done(work.place.key for work in gone)
            self._store.put(work.after(deleted=True) for work in gone if work.place.key.path not in failed)

    def _finish(self) -> None:
        for root in self._roots.all():
            self._takings.staging(root).finish()
        if not self._session.limit.allows():
            for work in self._works.values():
                work.keep()

    def check(self, transfer: Transfer, plans: list[FolderPlan]) -> None:
        """See that the mailboxes are those that were read, and of those that went whole, that all was there."""
        reader = self._takings.reader(self._roots.name)
        for plan in plans:
            place = self._works[plan.path].place
            if identity_of(place) != plan.identity:
                transfer.lose(plan.path, None)
                if plan.messages_send:
                    listed = _listed(reader, plan.path)
                    self._forget(place.key, listed.uids if listed else plan.uids)
            elif plan.whole:
                now = incarnation_in(place.header_path, place.index_path)
                listed = _listed(reader, plan.path)
                if listed is None:
                    transfer.lose(plan.path, plan.uids)  # it is read again, and then said why that cannot be
                else:
                    transfer.lose_of_whole(plan, Folder(plan.path, messages=listed, incarnation=now))

    def _forget(self, key: Key, uids: array[int]) -> None:
        """Note that messages of two mailboxes are mixed on the replica: it is not known whose any is."""
        old = self._store.sent(key) or Sent(key)
        for more in (old.uids, old.archived, old.maybe):
            uids = uid_sets.union(uids, more)
        self._store.put([Sent(key, maybe=uids, names=old.names, stale=old.stale)])

    def retake(self, paths: list[bytes]) -> list[list[FolderPlan]]:
        """Read mailboxes again that have lost messages; those that they still name and do not have are told of."""
        plans: list[list[FolderPlan]] = [[] for _ in self._transfers]
        for path in paths:
            old = self._works.pop(path)
            self._takings.remember(old)
            new = take_late(self._takings, self._session.limit, self._store, old.place.key)
            if new:
                self._session.result.revise(old.summary, new.summary)
                self._works[path] = new
                for root, transfer in zip(self._roots.all(), self._transfers, strict=True):
                    self._note_lacking(new, root, transfer.lost(path))
            for found, root in zip(plans, self._roots.all(), strict=True):
                found.append(new.plans[root] if new else FolderPlan(path, State.VANISHED))
        self._store.put(self._works[path].before() for path in paths if path in self._works)
        self._finish()
        return plans

    def send_at_once(self, path: bytes, arrived: Sequence[array[int]]) -> list[FolderPlan] | None:
        """Send a mailbox from what is read of it now: what it loses meanwhile is lost by its own index."""
        old = self._works[path]
        roots = self._roots.all()
        sender = AtOnce(self._roots, dict(zip(roots, arrived, strict=True)))
        work = sender.read(lambda: take_late(self._takings, self._session.limit, self._store, old.place.key, sender))
        if work is None or not self._session.options.policy.keeps_all():
            return None
        self._session.result.revise(old.summary, work.summary)
        self._works[path] = work
        self._store.put([work.before()])
        if not sender.send(self._replica, work):
            return None
        self._session.result.count_sent(work.summary.files_planned())
        return [work.plans[root] for root in roots]

    def _note_lacking(self, work: Work, root: bytes, lost: Iterable[bytes]) -> None:
        """Leave out what was twice not there, though the index named it before and after."""
        path = work.place.key.path
        names = MessageFiles(b"".join(name for name in lost if kinds.is_message(name)))
        gone = [uid for uid in names.uids if is_seen_absent(os.path.join(root, path, b"%d." % uid))]
        lacking = [uid for uid in gone if (path, uid) in self._lost_before and work.leave_out(root, uid)]
        self._lost_before.update((path, uid) for uid in gone)
        if lacking:
            some = ", ".join(map(str, lacking[:3])) + (", ..." if len(lacking) > 3 else "")
            self._session.result.errors.append(
                f"{path_text(path)}: the index names messages without a file: {some}: run reconstruct"
            )


def _sizes(root: bytes, paths: list[bytes]) -> list[int | None]:
    """Return the sizes of files below a root of the source; None where that is not known."""
    found = [agent.status(os.path.join(root, path)) for path in paths]
    return [one[0] if isinstance(one, tuple) else None for one in found]


def _listed(reader: MailboxReader, path: bytes) -> MessageFiles | None:
    """Return the message files in a mailbox's directory, None where that cannot be listed."""
    try:
        return reader.listed(path)
    except OSError:
        return None
