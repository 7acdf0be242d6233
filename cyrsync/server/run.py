"""One run of the index engine: ask every mailbox whether it has changed, and carry over those that have."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Container, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.server.config import Config
from cyrsync.cyrus.server.settings import layout_settings
from cyrsync.errors import Exit, GuardError, ReplicaFull, UnusableError
from cyrsync.far import agent
from cyrsync.far import uids as uid_sets
from cyrsync.far.folder import Folder, owner_names
from cyrsync.far.remove import Removal
from cyrsync.far.token import is_bare
from cyrsync.far.walk import Reader
from cyrsync.rsync.driver import hint
from cyrsync.server import leftovers, places, standby
from cyrsync.server.absence import ABSENT
from cyrsync.server.claim import Claim, source_name
from cyrsync.server.conf_run import ConfFound, ConfRun
from cyrsync.server.deleting import delete
from cyrsync.server.doubt import is_another_owners
from cyrsync.server.engine import Work, count_gone, deletions
from cyrsync.server.gone import NotNamed, find_not_named, remove_gone, report_doubtful, sort_out
from cyrsync.server.part_there import PartThere
from cyrsync.server.rebuild import Trust, rebuild
from cyrsync.server.rename import find_renamed, relink
from cyrsync.server.replica import Replica
from cyrsync.server.roots import Roots
from cyrsync.server.scope import Scope
from cyrsync.server.selection import Selection, check_users
from cyrsync.server.sender import Sender
from cyrsync.server.takings import Takings
from cyrsync.server.transition import Transitions
from cyrsync.spool.steps import Transfer
from cyrsync.state.conf_table import ConfTable
from cyrsync.state.lock import state_directory
from cyrsync.state.sent import UNSEEN, Key, Sent, StateDamaged, seen_of
from cyrsync.state.store import Store, copied, set_aside
from cyrsync.sync.folder_plan import FolderPlan, State
from cyrsync.sync.policy import Policy
from cyrsync.sync.result import FileCounts
from cyrsync.sync.session import Session
from cyrsync.text import path_text

#: Seconds before each further look at mailboxes that could not be read; how many, for one that is damaged, says
#: `Transitions`. Where something moves still after the last of them, that is left for the next run.
_LAST_LOOKS = 20
_PAUSES = (0.0, 0.2, 0.5, 0.3, 0.3, 0.5, 0.5, 1.0)
#: So often a mailbox is read that loses messages before they are sent.
_LOOKS = 20


@dataclass(slots=True)
class Found:
    """What a run is to do."""

    changed: bool = False  # some mailbox is not as it was
    late: dict[Key, Work] = field(default_factory=dict)  # what is sent when all has been looked at
    gone: list[Sent] = field(default_factory=list)
    stay: list[FolderPlan] = field(default_factory=list)  # what the replica keeps, though mailboxes.db lacks it
    warnings: list[str] = field(default_factory=list)
    renamed: list[tuple[Work, Sent]] = field(default_factory=list)  # with what it was
    mailboxes: int = 0  # of the source


class ServerRun:
    """Brings the replica of a whole server up to date."""

    takings: Takings  # of the present look at the server

    def __init__(self, session: Session, config: Config, scope: Scope) -> None:
        """The session's source is the imapd.conf."""
        self._session = session
        self._config = config
        self._scope = scope
        self._selection = Selection(session.options.part, config) if session.options.part else None
        self._conf: ConfRun | None = None
        self._sender: Sender | None = None
        self._some: Claim | None = None
        self._mailboxes_read = 0
        #: Mailboxes that are not as they were when they were last sent; False for those that were never sent.
        self.changed: dict[Key, bool] = {}
        self._roots = {partition.name: Roots.of(partition) for partition in config.partitions.values()}

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

    def glance(self, store: Store, replica: Replica) -> None:
        """See that the replica is there, and ours to write to: of an index nothing is looked at."""
        self._claim(store, replica, has_leftovers=False).check(anew=False, at_a_glance=True)

    def begin_some(self, store: Store, replica: Replica, *, at_a_glance: bool) -> str:
        """Begin to send single mailboxes; return why all of them have to be compared, "" if they need not be.

        `at_a_glance`: see `Claim.check`.
        """
        self._prepare()
        claim = self._claim(store, replica, has_leftovers=False)
        reason = claim.check(anew=False, at_a_glance=at_a_glance)
        if not reason:
            claim.begin()
            self._some = claim
            self._session.limit.of(messages=store.messages(), folders=store.rows())
        return reason

    def send_one(self, store: Store, replica: Replica, key: Key) -> str:
        """Send a mailbox as it is now; return why it is not on the replica, "" if it is. `begin_some` was called."""
        result, takings = self._session.result, self.takings
        takings.unreadable.clear()
        takings.locked.clear()
        before = len(result.errors)
        sender, found = Sender(store, replica, lambda: ""), Found()
        sender.is_late = True
        self._send_late(store, key, sender, found, [key])
        sender.settle()
        self._delete_sent(store, replica, sender)
        self._send_what_is_left(store, replica, sender, found)
        self._book(sender)
        if self._session.full:
            raise self._session.full
        untaken = self.untaken().get(key, "")
        return untaken or next(iter(result.errors[before:]), "")

    def send_files(self, store: Store, replica: Replica) -> str:
        """Send the files beside the partitions as they are now, but for mailboxes.db; return what went wrong.

        What is gone stays for a whole run. `begin_some` was called.
        """
        if not self._conf:
            return ""
        result = self._session.result
        before = len(result.errors)
        found = self._conf.look()
        if found.changed:
            self._conf.send(found, replica)
        return next(iter(result.errors[before:]), "")

    def end_some(self) -> None:
        """See that all that was sent is on the replica's disks, and say there that nobody writes."""
        if self._some:
            self._some.end(complete=False)
            self._some = None

    def untaken(self) -> dict[Key, str]:
        """Return the mailboxes that could not be read, with the reasons."""
        return {**self.takings.moving, **self.takings.locked, **self.takings.unreadable}

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

    def _narrow(self, store: Store) -> None:
        """Let the state speak of the part that the run is for."""
        if self._selection:
            store.narrow(self._selection.has, self._selection.has_path)

    def _prepare(self) -> None:
        self._session.limit.begin()
        self._unlisted: list[Key] = []
        self._leftovers: dict[bytes, list[FolderPlan]] = {}  # old ones, by root
        self.takings = Takings(self._roots, last_look=self._session.options.dry_run)

    def _run(self, store: Store, replica: Replica, *, in_full: bool = False) -> None:
        self._prepare()
        claim = self._claim(store, replica, has_leftovers=not self._session.options.dry_run)
        options = self._session.options
        # What the owner files say is of all shards, and so tells none of them about its own part.
        anew = self._scope.full or options.overwrite or options.part.shard is not None
        in_full = in_full or anew or not store.complete or (self._conf is not None and not self._conf.is_complete)
        sender = self._sender = None if options.dry_run else Sender(store, replica, claim.enter, options.jobs)
        with self._session.phases.phase("scan"):
            self._refresh(store, in_full=in_full)
            if in_full:
                doubted = bool(claim.check(anew=anew))
                self._compare_in_full(store, replica, claim, doubted=doubted)
            if self._selection:
                check_users(self._selection, store, self._session.source.text, delete=self._session.options.delete)
            found = self._look(store, sender)
            conf = self._conf.look() if self._conf else ConfFound()
        reason = sender.reason if sender else ""
        if not reason:
            self._guard_server(found, conf)
            to_do = self._has_to_do(found, conf) or claim.begun
            if not (in_full or claim.begun) and (to_do or claim.is_due()):
                reason = claim.check(anew=False)
        if reason:
            self._start_over(f"{reason}: all of it is compared")
            self._run(store, replica, in_full=True)
            return
        for key, (path, number) in claim.unseen.items():
            if not self._is_unlisted(key):
                self._session.result.errors.append(f"{path_text(path)}: {os.strerror(number)}")
        if to_do and sender:
            self._write(store, replica, claim, sender, found, conf)
        self._session.result.roots = claim.roots
        self._session.result.warnings += [one for one in claim.warnings if one not in self._session.result.warnings]
        self._report_untaken()
        if self._session.full:
            raise self._session.full

    def _has_to_do(self, found: Found, conf: ConfFound) -> bool:
        """Tell whether anything is not as it was."""
        lists = bool(self._conf and self._conf.sends_list)
        return bool(found.changed or found.gone or conf.changed or conf.gone or lists)

    def _write(
        self, store: Store, replica: Replica, claim: Claim, sender: Sender, found: Found, conf: ConfFound
    ) -> None:
        """Send what is left and delete what is gone, and say on the replica that a run is over."""
        if not claim.begun:
            claim.begin()
        self._session.result.files = FileCounts()
        with self._session.phases.phase("transfer"):
            self._carry_server(store, replica, sender, found, conf)
        undone = self._session.result.errors or self.takings.left() or self._session.full
        claim.end(complete=not (undone or self._selection))

    def _claim(self, store: Store, replica: Replica, *, has_leftovers: bool) -> Claim:
        """Return this run's right to write to the replica."""
        self._conf = None
        if self._scope.with_conf:
            self._conf = ConfRun(self._session, self._config, ConfTable(store), self._selection)
        policy = self._session.options.policy
        return Claim(
            *(store, replica, self._roots),
            self._conf.roots() if self._conf else (),
            source_name(self._session.source.path),
            layout_settings(self._config),
            overwrite=self._session.options.overwrite,
            from_replica=self._session.options.from_replica,
            times=policy.preserve.times,
            full=self._scope.full,
            state=self._session.options.state,
            dry_run=self._session.options.dry_run,
            is_shard=self._session.options.part.shard is not None,
            deadline=self._session.deadline,
            leftovers=leftovers.find(store, self._roots) if has_leftovers else {},
        )

    def _start_over(self, warning: str) -> None:
        """Forget what was found, but not what was said."""
        self._session.start_over()
        self._session.result.warnings.append(warning)

    def _refresh(self, store: Store, *, in_full: bool = False) -> bool:
        """Read mailboxes.db if it has changed, and keep a copy of just that for the replica; `in_full`, anyway.

        Tell whether it was read.
        """
        anyway = self._conf is not None and (in_full or not self._conf.list_is_known)
        concerns = self._selection.concerns if self._selection else places.all_mailboxes
        errors, read = places.refresh(store, self._config, anyway=anyway, concerns=concerns)
        self._session.result.errors += [error for error in errors if error not in self._session.result.errors]
        if self._conf:
            self._conf.take_list(read, anyway=in_full)
        if self._selection and (read or not self._selection.has_learned):
            self._selection.learn(store.names())
        return read is not None

    def _compare_in_full(self, store: Store, replica: Replica, claim: Claim, *, doubted: bool) -> None:
        """Make the state from what the replica has, or of that the part that the run is for.

        What is known of the rest stays, and is to be looked at by the next run for all if the replica is `doubted`.
        """
        rows: list[Sent] = []
        part = PartThere(self._selection, store, replica) if self._selection else None
        for name, roots in self._roots.items():
            reader = Reader(roots.data)
            policy = self._policy_there(replica, reader)

            def look(
                root: bytes, folder: Folder, name: str = name, policy: Policy = policy, reader: Reader = reader
            ) -> Trust:
                key = Key(name, folder.path)
                place = store.place(key) if store.has_place(key) else None
                trust = claim.look(place, root, folder)
                if trust is Trust.PROVEN and place and is_another_owners(place, folder, policy, reader):
                    return Trust.DOUBTED
                return trust

            unlisted: dict[bytes, int] = {}

            def note(root: bytes, folder: Folder, unlisted: dict[bytes, int] = unlisted) -> None:
                if folder.problem and folder.problem not in ABSENT:
                    unlisted[folder.path] = folder.problem
                if folder.leftovers:
                    plan = FolderPlan(folder.path, State.CHANGED, leftovers=folder.leftovers)
                    self._leftovers.setdefault(root, []).append(plan)

            rows += self._rows_there(roots, replica, look, note, part)
            self._note_unlisted(name, unlisted)
        claim.refuse_newer()
        # What is known of folders that could not be listed stays; of the others, nothing else than what they have.
        rows = [sent for sent in rows if not self._is_unlisted(sent.key)]
        complete = part is None or (store.complete and not doubted)
        store.begin_anew([*rows, *(sent for sent in store.all_sent() if self._is_unlisted(sent.key))])
        if part:
            part.remember()
        if self._conf:
            self._conf.learn(replica)
            self._session.result.warnings += standby.warnings(replica, self._session.source.path, self._config)
        store.complete = complete and not self._unlisted

    def _rows_there(
        self,
        roots: Roots,
        replica: Replica,
        look: Callable[[bytes, Folder], Trust],
        note: Callable[[bytes, Folder], None],
        part: PartThere | None,
    ) -> Iterable[Sent]:
        """Return what the replica has of a partition, or of the part of it that the run is for; see `rebuild`."""
        if part and not part.may_have(roots.name):
            return []
        where = (roots, replica.side, {root: replica.root(root) for root in roots.all()})
        return (
            part.settle(roots, [*rebuild(*where, look, note, part.takes(roots.name))])
            if part
            else rebuild(*where, look, note)
        )

    def _note_unlisted(self, partition: str, unlisted: dict[bytes, int]) -> None:
        """Remember folders of the replica that cannot be listed: what mailboxes have there is not known."""
        for path, number in unlisted.items():
            self._unlisted.append(Key(partition, path))
            name = path_text(path) or self._roots[partition].name
            reason = f"it cannot be listed on the replica: {os.strerror(number)}: it stays as it is there"
            self._session.result.errors.append(f"{name}: {reason}")

    def _is_unlisted(self, key: Key) -> bool:
        """Tell whether what the replica has of a mailbox could not be found out."""
        return any(
            key.partition == partition and (not path or (key.path + b"/").startswith(path + b"/"))
            for partition, path in self._unlisted
        )

    def _policy_there(self, replica: Replica, reader: Reader) -> Policy:
        """Return what differences matter, by the rights and the users that there are on the replica's side."""
        try:
            names = owner_names(reader.entry(os.stat(reader.root)).owner)
        except OSError:
            names = set()
        return replace(self._session.options.policy, rights=replica.side.rights, numbers=replica.side.numbers(names))

    def _look(self, store: Store, sender: Sender | None) -> Found:
        """Stat header and index of every mailbox, look into those that are not as they were, and send them.

        What needs a look at all of them first is left for later.
        """
        looks = (partial(self._not_named, store), partial(self._refresh, store))
        not_named, warnings = find_not_named(self._session, self._roots, *looks)
        found = Found(gone=not_named.gone, stay=not_named.would_go(), warnings=warnings)
        counts = self._session.result
        changed = self._find_changed(store, found)
        away = self._empty_roots(store)
        unchanged = there = store.messages()
        for key in changed:
            work = self._take(store, key, None if key.partition in away else sender)
            if work:
                if key.partition in away and work.reading.messages:
                    raise _unmounted(away[key.partition], key.partition)
                unchanged -= work.summary.replica_messages
                there += work.sent.unproven() if work.sent else 0
                self._plan_one(work, found)
            if sender and sender.reason:
                break  # the state does not speak of what is there
        if sender:
            sender.settle()
            self._session.limit.sent(messages=sender.messages, folders=sender.folders)
        for sent in (*not_named.gone, *not_named.stay()):
            unchanged -= len(sent.uids) + len(sent.archived)
            there += sent.unproven()
        found.renamed = find_renamed(store, found.late.values())
        moved = {sent.key for _, sent in found.renamed}
        for sent in found.gone:
            self._count(sent.key, count_gone(sent, renamed=sent.key in moved))
        counts.folders.seen = found.mailboxes
        counts.messages.seen += unchanged
        counts.messages.present += unchanged
        self._session.limit.of(messages=there, folders=store.rows())
        return found

    def _find_changed(self, store: Store, found: Found) -> list[Key]:
        """Return the mailboxes whose header or index is not as it was, or of which something is still to be deleted."""
        missing: dict[str, int] = {}
        total: dict[str, int] = {}
        changed: list[Key] = []
        self.changed = {}
        for partition, path, header, index, seen, settled in store.files():
            total[partition] = total.get(partition, 0) + 1
            try:
                now = seen_of(os.stat(header), os.stat(index))
            except FileNotFoundError:
                missing[partition] = missing.get(partition, 0) + 1
                now = b""
            except OSError:
                now = b""  # whoever opens it will say why
            if now != seen or not seen or (self._session.options.delete and not settled):
                changed.append(Key(partition, path))
                if now and now != seen != UNSEEN:
                    self.changed[Key(partition, path)] = seen is not None
        self._check_mounted(store, total, missing)
        found.mailboxes = sum(total.values())
        changed = [key for key in changed if not self._is_unlisted(key)]
        found.changed = bool(changed)
        return changed

    def _not_named(self, store: Store) -> list[Sent]:
        """Return what the replica has of mailboxes that mailboxes.db does not name, if that could be found out."""
        return [sent for sent in store.gone() if not self._is_unlisted(sent.key)]

    def _check_mounted(self, store: Store, total: dict[str, int], missing: dict[str, int]) -> None:
        """Refuse a partition of which nothing is there: where a part of it is not, others' mailboxes are looked for."""
        for partition, count in missing.items():
            indexes = store.indexes(partition) if count == total[partition] else []
            if indexes and not any(map(os.path.exists, indexes)):
                root = os.fsdecode(self._roots[partition].homes[kinds.INDEX])
                raise UnusableError(
                    f"{root}: none of the {len(indexes)} mailboxes of partition {partition} is there: is it mounted?"
                )

    def _empty_roots(self, store: Store) -> dict[str, bytes]:
        """Return the partitions whose indexes lie elsewhere than their messages, and where nothing is for these.

        Raise UnusableError where messages are known to have been there.
        """
        empty = {}
        for name, roots in self._roots.items():
            if roots.data != roots.homes[kinds.INDEX] and _is_empty(roots.data):
                if store.has_messages(name):
                    raise _unmounted(roots.data, name)
                empty[name] = roots.data
        return empty

    def _plan_one(self, work: Work, found: Found) -> None:
        if not work.going:
            found.late[work.place.key] = work
        self._count(work.place.key, work.summary, work.place.name)
        self._mailboxes_read += 1
        self._session.progress.scan(self._mailboxes_read, self._session.result.messages.seen)

    def _count(self, key: Key, summary: FolderPlan, name: bytes = b"") -> None:
        self._session.limit.count(key, summary)
        self._session.result.add(summary, name)

    def _take(self, store: Store, key: Key, sender: Sender | None) -> Work | None:
        """Read a mailbox and have it sent, and again where it has lost messages meanwhile, some times."""
        for _ in range(_LOOKS):
            work = self.takings.take(store, key, sender)
            if work is None or sender is None or not sender.is_to_be_read_again(key):
                return work
        self.takings.unreadable[key] = "it changes faster than it can be sent"
        return None

    def _send_late(
        self, store: Store, key: Key, sender: Sender, found: Found, come: Container[Key] = frozenset()
    ) -> None:
        """Read and send a mailbox when others have been sent already; what it would delete is counted first."""
        work = self._take(store, key, sender)
        if work is None:
            return
        self._session.limit.replan(key, work.summary)
        result = self._session.result
        before = found.late.pop(key, None)
        if before:
            result.revise(before.summary, work.summary)
        else:
            result.add(work.summary, work.place.name)
            result.folders.seen -= key not in come  # it was counted at first
            result.files.planned -= work.summary.files_planned()  # who sends it counts them

    def _has_all_below(self, path: bytes) -> bool:
        """Tell whether what is below a directory may be deleted with it, if both are gone."""
        return self._selection is None or self._selection.has_all_below(path)

    def _guard_server(self, found: Found, conf: ConfFound) -> None:
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

    def _carry_server(self, store: Store, replica: Replica, sender: Sender, found: Found, conf: ConfFound) -> None:
        if found.renamed:
            relink(store, replica, self._roots, found.renamed, self._session.result)
        sender.is_late = True
        for key in sorted(found.late):
            self._send_late(store, key, sender, found)
        sender.settle()
        self._look_again(store, sender, found)
        # Also what has gone since: what was sent of it is not to wait for the next run without an index.
        rows, now = self._not_named_at_last(store, sender, found)
        report_doubtful(self._session, now)
        known = {sent.key for sent in found.gone}
        there = store.messages() + sum(sent.unproven() for sent in rows)
        self._session.limit.of(messages=there, folders=store.rows())
        for sent in now.gone:
            if sent.key not in known:
                self._count(sent.key, count_gone(self.takings.before(sent), renamed=False))
        self._decide(now.would_go())
        if self._conf:
            self._conf.send(conf, replica)
            if not self._session.limit.reason:  # one that has lost so many mailboxes may be the wrong one
                self._conf.send_list(replica)
        self._delete_sent(store, replica, sender)
        if self._session.limit.allows():
            remove_gone(self._session, self._roots, store, replica, now.gone, self._has_all_below)
            for root, plans in self._leftovers.items():
                where = (plans, None, replica.side, replica.root(root), self._session.progress.transfer)
                delete(self._session, Transfer(*where, may_delete=self._session.limit.start))
            if self._conf:
                self._conf.remove(conf, replica)
        self._send_what_is_left(store, replica, sender, found)
        self._book(sender)

    def _delete_sent(self, store: Store, replica: Replica, sender: Sender) -> None:
        """Delete what mailboxes that have arrived have lost."""
        if not self._session.limit.allows():
            return
        for name, roots in self._roots.items():
            works = [work for key, work in sender.deletes.items() if key.partition == name]
            failed: set[bytes] = set()
            for root in roots.all():
                plans = [plan for work in works if (plan := deletions(work.plans[root])).deletes()]
                where = (plans, None, replica.side, replica.root(root), self._session.progress.transfer)
                failed |= delete(self._session, Transfer(*where, may_delete=self._session.limit.start))
            self._session.limit.done(work.place.key for work in works)
            store.put(work.after(deleted=True) for work in works if work.place.key.path not in failed)
        sender.deletes.clear()

    def _send_what_is_left(self, store: Store, replica: Replica, sender: Sender, found: Found) -> None:
        """Send once more what there was no room for: what was deleted since may have made some.

        Where that does not do, a mailbox that loses as much as it gets loses its old index first, and its messages.
        """
        left = len(sender.full) + 1
        while sender.full and len(sender.full) < left:
            left = len(sender.full)
            found.late.update({key: work for key, (work, _) in sender.full.items()})
            for key in sorted(sender.full):
                self._send_late(store, key, sender, found)
            sender.settle()
            self._delete_sent(store, replica, sender)
        found.late.update({key: work for key, (work, _) in sender.full.items()})
        for key in sorted(sender.full):
            if self._make_way(store, replica, key):
                self._send_late(store, key, sender, found)
                sender.settle()
                self._delete_sent(store, replica, sender)
        for _, path in list(sender.full.values())[:1]:
            reason = hint(os.strerror(errno.ENOSPC))
            self._session.full = ReplicaFull(f"not all could be written: {path_text(path)}: {reason}", Exit.FILE_IO)

    def _make_way(self, store: Store, replica: Replica, key: Key) -> bool:
        """Delete what a mailbox has lost, and its old index before that; tell whether that made room enough for it."""
        work = self.takings.take(store, key)
        if work is None or not work.deletes() or not self._session.limit.allows():
            return False
        roots = self._roots[key.partition]
        gone = coming = 0
        for root, plan in work.plans.items():
            there = os.path.join(replica.root(root), key.path)
            for names in (uid_sets.file_names(plan.delete_uids), plan.delete_files):
                looks = replica.side.stat([os.path.join(there, name) for name in names])
                gone += sum(look[0] for look in looks if isinstance(look, tuple))
            for uid in plan.uids:
                look = agent.status(os.path.join(root, key.path, b"%d." % uid))
                coming += look[0] if isinstance(look, tuple) else 0
        if gone < coming:
            return False
        store.put([work.before()])
        index_root = replica.root(roots.homes[kinds.INDEX])
        removed = replica.side.remove(index_root, [Removal(key.path, files=(kinds.INDEX,))], keep_times=False)
        for root in roots.all() if not removed.failed else ():
            where = ([deletions(work.plans[root])], None, replica.side, replica.root(root))
            delete(
                self._session, Transfer(*where, self._session.progress.transfer, may_delete=self._session.limit.start)
            )
        return not removed.failed

    def _book(self, sender: Sender) -> None:
        """Report what became of all that was to be sent."""
        result = self._session.result
        result.files.planned += sender.files + sender.files_failed
        result.files.sent += sender.files
        result.files.failed += sender.files_failed
        result.bytes_sent += sender.bytes_sent
        result.errors += sender.errors
        result.hold({key.path for key in sender.failed | sender.full.keys()})

    def _not_named_at_last(self, store: Store, sender: Sender, found: Found) -> tuple[list[Sent], NotNamed]:
        """Return what the replica has of mailboxes that mailboxes.db does not name, and what became of them.

        One that this run has begun with, and that was deleted and made again meanwhile, is on the replica without its
        index: it is looked for until mailboxes.db names it.
        """
        rows = self._not_named(store)
        now = sort_out(rows, self._roots)
        for pause in _PAUSES:
            if all(sent.seen != UNSEEN for sent in now.there):
                break
            time.sleep(pause)
            self._look_again(store, sender, found, anew=True)
            rows = self._not_named(store)
            now = sort_out(rows, self._roots)
        return rows, now

    def _look_again(self, store: Store, sender: Sender, found: Found, *, anew: bool = False) -> None:
        """Carry over what could not be read at first: mailboxes are made, renamed and deleted meanwhile.

        With `anew`, mailboxes.db is looked at in any case.
        """
        takings, transitions = self.takings, Transitions()
        for pause in _PAUSES:
            waiting = self._waiting(store)
            if all(map(transitions.is_still, waiting)) and not anew:
                break
            anew = False
            time.sleep(pause)
            come = store.places_come() if self._refresh(store) else []
            keys = sorted(key for key in {*self._waiting(store), *come} if store.has_place(key))
            takings.settled = {key for key in keys if transitions.look(store.place(key))}
            takings.unreadable.clear()
            for key in keys:
                self._send_late(store, key, sender, found, come)
            sender.settle()
        self._look_at_last(store, sender, found, transitions)
        for key in [key for key in takings.unreadable if not transitions.is_still(key)]:
            reason = takings.unreadable.pop(key)
            if store.has_place(key):  # else it has gone, or has another name
                takings.moving[key] = reason

    def _look_at_last(self, store: Store, sender: Sender, found: Found, transitions: Transitions) -> None:
        """Look once more at what was moving still, as often as that takes no time."""
        takings = self.takings
        for _ in range(_LAST_LOOKS):
            moving = [key for key in takings.unreadable if not transitions.is_still(key)]
            if not moving:
                return
            self._refresh(store)
            for key in moving:
                reason = takings.unreadable.pop(key)
                if store.has_place(key):
                    self._send_late(store, key, sender, found)
                    if key in takings.unreadable:
                        takings.unreadable[key] = reason
            sender.settle()

    def _waiting(self, store: Store) -> set[Key]:
        """Return the mailboxes that are still to be read."""
        return {*self.takings.unreadable, *self._not_sent(store)} - self.takings.locked.keys()

    def _not_sent(self, store: Store) -> list[Key]:
        return [key for key in store.not_sent() if not self._is_unlisted(key)]

    def _report_untaken(self) -> None:
        self._session.result.warnings += self.takings.warnings
        for key, reason in {**self.takings.locked, **self.takings.unreadable}.items():
            self._session.result.errors.append(f"{self.takings.text_of(key)}: {hint(reason)}")
            self._session.result.folders.unreadable += 1
        for key, reason in self.takings.moving.items():
            moving = f"being made, renamed or deleted just now ({reason}): left for the next run"
            self._session.result.warnings.append(f"{self.takings.text_of(key)}: {moving}")


def _is_empty(root: bytes) -> bool:
    """Tell whether a root is not there, or has nothing in it: as when its disk is not mounted."""
    try:
        return is_bare(root)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False  # whoever reads there will say why


def _unmounted(root: bytes, partition: str) -> UnusableError:
    return UnusableError(
        f"{path_text(root)}: it is empty, but the indexes of partition {partition} name messages: is it mounted?"
    )
