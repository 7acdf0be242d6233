"""One run of the index engine: ask every mailbox whether it has changed, and send those that have."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

from cyrsync.cyrus.server.config import Config
from cyrsync.errors import GuardError, InterruptedRun, UnusableError, hint
from cyrsync.server import changes, locations, lost, mounted, standby
from cyrsync.server.conf_run import ConfChanges, ConfRun
from cyrsync.server.deleting import delete
from cyrsync.server.delivery import Delivery
from cyrsync.server.engine import MailboxChange, count_gone
from cyrsync.server.gone import find_not_named, remove_gone, report_doubtful
from cyrsync.server.in_full import FullComparison, compare_in_full
from cyrsync.server.last_looks import LastLooks
from cyrsync.server.linking import Linker
from cyrsync.server.ownership import Ownership
from cyrsync.server.part_there import PartThere
from cyrsync.server.rename import find_renamed, relink
from cyrsync.server.replica import Replica
from cyrsync.server.selection import check_users
from cyrsync.server.sender import Sender
from cyrsync.server.server_session import ServerSession
from cyrsync.server.snapshots import Snapshots
from cyrsync.server.visits import SendNow, Visits
from cyrsync.state.lock import state_directory
from cyrsync.state.mailbox_row import Key, MailboxRow, StateDamaged
from cyrsync.state.state_file import copied, set_aside
from cyrsync.state.store import Store
from cyrsync.sync.folder_plan import FolderPlan
from cyrsync.sync.result import FileCounts
from cyrsync.sync.session import Session
from cyrsync.text import path_text


@dataclass(slots=True)
class ServerPlan:
    """What a run is to do."""

    changed: bool = False  # some mailbox is not as it was
    gone: list[MailboxRow] = field(default_factory=list)
    stay: list[FolderPlan] = field(default_factory=list)  # what the replica keeps, though mailboxes.db lacks it
    warnings: list[str] = field(default_factory=list)
    renamed: list[tuple[MailboxChange, MailboxRow]] = field(default_factory=list)  # with what it was
    mailboxes: int = 0  # of the source


class ServerRun:
    """Brings the replica of a whole server up to date."""

    snapshots: Snapshots  # of the present look at the server

    def __init__(
        self,
        session: Session,
        config: Config,
        *,
        looks: bool = False,
        patient: bool = True,
        between: Callable[[SendNow], None] = lambda _: None,
    ) -> None:
        """The session's source is the imapd.conf. The run `looks` at the replica, also where it has nothing to do.

        `between` two mailboxes, others may be sent before their turn. For `patient` see `RunPatience`.
        """
        self._between = between
        self._looks = looks
        self._server = ServerSession.of(session, config, patient=patient)
        self._session = session
        self._config = config
        self._selection = self._server.selection
        self._roots = self._server.roots
        self._conf: ConfRun | None = None
        self._sender: Sender | None = None
        self._delivery: Delivery | None = None
        #: Seconds that the stats of all mailboxes took: what a run costs that finds no change, without any wait.
        self.seconds_looked = 0.0
        #: Mailboxes that are not as they were when they were last sent; False for those that were never sent.
        self.changed: dict[Key, bool] = {}
        #: Of the errors, those of mailboxes that could not be read.
        self.errors_of_unread: list[str] = []

    def attempt(self) -> None:
        """Do all of it once."""
        session = self._session
        with closing(Replica(session.replica, session.options, session.directory)) as replica:
            self._with_state(replica)
        session.result.exit = session.result.exit_code()

    def over(self, store: Store, replica: Replica) -> None:
        """Do all of it once, with a state and a connection that stay open."""
        self._run(store, replica)
        self._session.result.exit = self._session.result.exit_code()

    def failed(self) -> dict[Key, str]:
        """Return the mailboxes that could not be read, or not be written, with the reasons."""
        return self._delivery.failed() if self._delivery else self.snapshots.unread()

    def unsent(self, store: Store) -> set[Key]:
        """Return the mailboxes that are not, as they are now, known to be on the replica."""
        return set(changes.find(store, self._session.progress, delete=False).changed)

    def _with_state(self, replica: Replica) -> None:
        """Run with what is known of the replica; a state that proves damaged is made anew once."""
        path = state_directory(self._session.options.state) / f"{self._session.key}.sqlite"
        if self._session.options.dry_run:
            path = copied(path, self._session.directory / "state")
        store, warning = Store.open(path, self._session.key)
        self._session.result.warnings += [warning] if warning else []
        try:
            self._narrow(store)
            self._run(store, replica)
        except InterruptedRun:
            self._count_interrupted()
            raise
        except StateDamaged as error:
            if self._sender:
                self._sender.give_up()
            store.close()
            aside = set_aside(path)
            self._start_over(f"{path}: {error}: set aside as {aside.name}, and made anew from the replica")
            try:
                store = Store(path, self._session.key)
                self._narrow(store)
                self._run(store, replica)
            except StateDamaged as again:
                reason = f"{again}: damaged again right after it was made anew: look for a failing disk"
                raise UnusableError(f"{path}: {reason}") from None
        finally:
            store.close()

    def _count_interrupted(self) -> None:
        """Report what has arrived of what was planned so far."""
        if self._sender:
            result = self._session.result
            files, arrived = result.files, self._sender.files
            files.planned = max(files.planned, arrived)
            files.sent, files.failed = arrived, files.planned - arrived
            result.bytes_sent = max(result.bytes_sent, self._sender.bytes_sent)

    def _narrow(self, store: Store) -> None:
        """Let the state speak of the part that the run is for."""
        if self._selection:
            store.narrow(self._selection.has, self._selection.has_path)

    def _run(self, store: Store, replica: Replica, *, in_full: bool = False) -> None:
        options = self._session.options
        self._session.limit.begin()
        self._linker = Linker(store, replica, self._roots, self._config.deletedprefix)
        self._there = FullComparison()
        self.snapshots = self._server.snapshots()
        self._conf = self._server.conf_run(store)
        ownership = self._server.ownership(store, replica, self._conf, has_leftovers=not options.dry_run)
        # What the owner files say is of all shards, and so tells none of them about its own part.
        anew = options.full or options.overwrite or options.part.shard is not None
        in_full = in_full or anew or not store.complete or (self._conf is not None and not self._conf.is_complete)
        progress = self._session.progress
        sender = (
            None if options.dry_run else Sender(store, replica, ownership.enter, progress, self._linker, options.jobs)
        )
        self._sender = sender
        delivery = self._server.delivery(store, replica, self.snapshots, sender) if sender else None
        self._delivery = delivery
        with self._session.phases.phase("scan"):
            self._refresh(store, in_full=in_full)
            if in_full:
                doubted = bool(ownership.check(anew=anew, in_full=True))
                self._compare_in_full(store, replica, ownership, doubted=doubted)
            if self._selection:
                check_users(self._selection, store, self._session.source.text, delete=self._session.options.delete)
            found = self._look(store, ownership, sender, delivery)
            conf = self._conf.look() if self._conf else ConfChanges()
        reason = sender.reason if sender else ""
        if not reason:
            self._guard_server(found, conf)
            to_do = self._has_to_do(found, conf) or ownership.begun
            if not (in_full or ownership.begun) and (to_do or self._looks or ownership.is_due()):
                reason = ownership.check(anew=False)
        if reason:
            what = "what was under way then" if ownership.knows_doubts else "all of it"
            self._start_over(f"{reason}: {what} is compared")
            self._run(store, replica, in_full=not ownership.knows_doubts)
            return
        for key, (path, number) in ownership.foreign_writes.unseen.items():
            if key not in self._there.unlisted:
                self._session.result.errors.append(f"{path_text(path)}: {os.strerror(number)}")
        if to_do and delivery:
            self._write(store, replica, ownership, delivery, found, conf)
        self._session.result.roots = ownership.roots
        self._session.result.warnings += [one for one in ownership.warnings if one not in self._session.result.warnings]
        self._report_unread()
        if self._session.full:
            raise self._session.full

    def _has_to_do(self, found: ServerPlan, conf: ConfChanges) -> bool:
        """Tell whether anything is not as it was."""
        lists = bool(self._conf and self._conf.sends_list)
        return bool(found.changed or found.gone or conf.changed or conf.gone or lists)

    def _write(
        self,
        store: Store,
        replica: Replica,
        ownership: Ownership,
        delivery: Delivery,
        found: ServerPlan,
        conf: ConfChanges,
    ) -> None:
        """Send what is left and delete what is gone, and say on the replica that a run is over."""
        if not ownership.begun:
            ownership.begin()
        self._session.result.files = FileCounts()
        with self._session.phases.phase("transfer"):
            self._send_and_delete(store, replica, delivery, found, conf)
        undone = self._session.result.errors or self.snapshots.left() or self._session.full
        ownership.end(complete=not (undone or self._selection))

    def _compare_in_full(self, store: Store, replica: Replica, ownership: Ownership, *, doubted: bool) -> None:
        """Make the state from what the replica has.

        A run for a part says nothing of the rest: that is to be looked at by the next run for all if it is `doubted`.
        """
        part = PartThere(self._selection, store, replica) if self._selection else None
        complete = part is None or (store.complete and not doubted)
        same = self._conf.same_there(replica) if self._conf and not doubted else {}  # before the state is made anew
        self._there = compare_in_full(self._session, self._roots, store, replica, ownership, part, doubted=doubted)
        self.snapshots.same_there = self._there.same
        if self._conf:
            self._conf.learn(replica, same)
            self._session.result.warnings += standby.warnings(replica, self._session.source.path, self._config)
        store.complete = complete and not self._there.unlisted

    def _start_over(self, warning: str) -> None:
        """Forget what was found, but not what was said."""
        self._session.start_over()
        self._session.result.warnings.append(warning)

    def _refresh(self, store: Store, *, in_full: bool = False) -> bool:
        """Read mailboxes.db if it has changed, and keep a copy of just that for the replica; `in_full`, anyway.

        Tell whether it was read.
        """
        anyway = self._conf is not None and (in_full or not self._conf.list_is_known)
        concerns = self._selection.concerns if self._selection else locations.all_mailboxes
        errors, read = locations.refresh(store, self._config, anyway=anyway, concerns=concerns)
        self._session.result.errors += [error for error in errors if error not in self._session.result.errors]
        if self._conf:
            self._conf.take_list(read, anyway=in_full)
        if self._selection and (read or not self._selection.has_learned):
            self._selection.learn(store.locations.names())
        return read is not None

    def _look(self, store: Store, ownership: Ownership, sender: Sender | None, delivery: Delivery | None) -> ServerPlan:
        """Stat header and index of every mailbox, look into those that are not as they were, and send them.

        What needs a look at all of them first is left for later.
        """
        looks = (lambda: self._there.unlisted.without(store.gone()), partial(self._refresh, store))
        not_named, warnings = find_not_named(self._session, self._roots, *looks)
        found = ServerPlan(gone=not_named.gone, stay=not_named.would_go(), warnings=warnings)
        counts = self._session.result
        began = time.monotonic()
        seen = changes.find(store, self._session.progress, delete=self._session.options.delete)
        self.seconds_looked = time.monotonic() - began
        mounted.check_indexes(self._roots, store, seen.total, seen.missing)
        changed = [key for key in seen.changed if key not in self._there.unlisted]
        self.changed, found.changed, found.mailboxes = seen.known_before, bool(changed), sum(seen.total.values())
        empty = mounted.EmptyRoots(self._roots, store)
        late = delivery.late if delivery else {}
        if delivery:
            at_once = lost.is_expected(self._config, store, changed)
            self._linker.expect_lost(changed, not_named.gone, at_once=at_once)
        there = store.messages()
        parts = (self._session, store, self.snapshots, sender, delivery, ownership)
        visits = Visits(*parts, empty=empty, unlisted=self._there.unlisted, late=late, unchanged=there)
        visits.all(changed, self._between)
        unchanged, there = visits.unchanged, there + visits.unproven
        for row in (*not_named.gone, *not_named.stay()):
            unchanged -= len(row.uids) + len(row.archived)
            there += row.unproven()
        found.renamed = [] if self._session.options.part.shard else find_renamed(store, late.values())
        moved = {row.key for _, row in found.renamed}
        for row in found.gone:
            self._count(row.key, count_gone(row, renamed=row.key in moved))
        counts.folders.seen = found.mailboxes
        counts.messages.seen += unchanged
        counts.messages.present += unchanged
        self._session.limit.of(messages=there, folders=store.rows())
        return found

    def _count(self, key: Key, summary: FolderPlan, name: bytes = b"") -> None:
        self._session.limit.count(key, summary)
        self._session.result.add(summary, name)

    def _has_all_below(self, path: bytes) -> bool:
        """Tell whether what is below a directory may be deleted with it, if both are gone."""
        return self._selection is None or self._selection.has_all_below(path)

    def _guard_server(self, found: ServerPlan, conf: ConfChanges) -> None:
        if not (found.mailboxes or (self._selection and self._selection.has_learned)):
            conf_name = self._session.source.text
            raise GuardError(f"{conf_name}: mailboxes.db has no mailbox on this server: is it the right file?")
        self._session.result.warnings += found.warnings
        self._session.limit.files(len(conf.gone), of=self._conf.count() if self._conf else 0)
        self._decide(found.stay)
        if self._session.limit.reason:
            conf.gone.clear()

    def _decide(self, stay: list[FolderPlan]) -> None:
        """See whether too much would be deleted; and be it that mailboxes.db is so old that it would lose too much.

        That one must not take the place of the replica's either: `stay` is what it does not name, though it is there.
        """
        limit = self._session.limit
        limit.decide()
        limit.doubt(stay, f"mailboxes.db does not name {len(stay)} mailboxes of the replica's: is it an old one?")
        self._session.note_withheld()

    def _send_and_delete(
        self, store: Store, replica: Replica, delivery: Delivery, found: ServerPlan, conf: ConfChanges
    ) -> None:
        if found.renamed:
            relink(store, replica, self._roots, found.renamed, self._session.result)
        delivery.send_all_late()
        refresh = partial(self._refresh, store)
        looks = (store, self._roots, self.snapshots, delivery, refresh, self._there.unlisted)
        last_looks = LastLooks(*looks, patient=self._server.patience.patient)
        last_looks.look()
        # Also what has gone since: what was sent of it is not to wait for the next run without an index.
        rows, now = last_looks.not_named()
        report_doubtful(self._session, now)
        known = {row.key for row in found.gone}
        there = store.messages() + sum(row.unproven() for row in rows)
        self._session.limit.of(messages=there, folders=store.rows())
        for row in now.gone:
            if row.key not in known:
                self._count(row.key, count_gone(self.snapshots.before(row), renamed=False))
        self._decide(now.would_go())
        if self._conf:
            self._conf.send(conf, replica)
            if not self._session.limit.reason:  # one that has lost so many mailboxes may be the wrong one
                self._conf.send_list(replica)
        delivery.delete_sent()
        if self._session.limit.allows():
            remove_gone(self._session, self._roots, store, replica, now.gone, self._has_all_below)
            for root, plans in self._there.leftovers.items():
                delete(self._session, replica, root, plans)
            if self._conf:
                self._conf.remove(conf, replica)
        delivery.finish()

    def _report_unread(self) -> None:
        self._session.result.warnings += self.snapshots.warnings
        self.errors_of_unread = []
        for key, reason in {**self.snapshots.locked, **self.snapshots.unreadable}.items():
            self.errors_of_unread.append(f"{self.snapshots.text_of(key)}: {hint(reason)}")
            self._session.result.folders.unreadable += 1
        self._session.result.errors += self.errors_of_unread
        for key, reason in self.snapshots.moving.items():
            moving = f"being made, renamed or deleted just now ({reason}): left for the next run"
            self._session.result.warnings.append(f"{self.snapshots.text_of(key)}: {moving}")
