"""`restore --into`: mailboxes of a tree into a running Cyrus, by its replication's commands.

A restore may be cut off at any point, and run again: a mailbox is made in one command, and what the server has is left
out.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from cyrsync.cyrus.mailbox import entry, records
from cyrsync.history import into_plan, sync_apply
from cyrsync.history.choose import shown
from cyrsync.history.imap_server import CommandRefused
from cyrsync.history.into_plan import Action, Had, Plan
from cyrsync.history.outcome import MailboxOutcome, Outcome, Told
from cyrsync.history.selected import Mailbox, Message, Selection
from cyrsync.history.sync_apply import Remote
from cyrsync.history.sync_server import SyncServer, UploadedMessage
from cyrsync.sync.progress import Reporter


def restore_into(
    server: SyncServer,
    selections: Iterable[Selection],
    outcome: Outcome,
    reporter: Reporter,
    *,
    only_missing: bool = False,
    only_one: bool = False,
    told: Told | None = None,
) -> None:
    """Restore mailboxes one after the other; a failure costs only its mailbox. Raise ConnectionFailed.

    `only_missing`: leave out also what the user's other mailboxes have, and what was deleted there and has a record.
    `only_one`: all selections are of one message, and the first is enough. A dry run only asks the server, and reports.
    """
    had = Had(server)
    for selection in selections:
        name = into_plan.name_of(selection.mailbox)
        one = outcome.begin(shown(name), selection.count, selection.since)
        try:
            left_out = had.by(name) if only_missing else frozenset()
            plan = into_plan.decide(server, selection, one.name, left_out)
            if plan.note:
                outcome.warnings.append(plan.note)
            if outcome.dry_run:
                if plan.action in (Action.MAKE, Action.MAKE_ANEW):
                    _check_user(server, plan.name, {other.name for other in outcome.mailboxes})
                one.show(selection, plan.messages, told)
            else:
                plan = _Run(server, outcome, one, reporter).execute(plan, left_out)
            one.how = plan.action.value
            if plan.action is Action.APPEND and not (one.selected if outcome.dry_run else one.restored):
                one.how = "left as it is"
        except CommandRefused as refused:
            outcome.errors.append(f"{one.name}: the server refused: {refused}")
        if only_one and one.restored + one.present:
            break


class _Run:
    """The restoring of one mailbox, under way."""

    def __init__(self, server: SyncServer, outcome: Outcome, one: MailboxOutcome, reporter: Reporter) -> None:
        self._server = server
        self._outcome = outcome
        self._one = one
        self._reporter = reporter
        self._seen = 0  # messages that were gone through
        self._damaged = 0  # messages that cannot be restored

    def execute(self, plan: Plan, left_out: frozenset[bytes]) -> Plan:
        """Do it, and return what was done; `left_out` is what no mailbox is to get. Raise CommandRefused."""
        if plan.action is Action.RENAME_BACK:
            plan = self._renamed_back(plan, left_out)
        if plan.action in (Action.APPEND, Action.RENAME_BACK):
            assert plan.there is not None
            self._append(plan, plan.there.partition)
        else:
            if plan.there is not None:
                self._clear_away(plan.there, plan.name)
            self._make(plan)
        self._one.present = self._one.selected - self._one.restored - self._damaged
        return plan

    def _renamed_back(self, plan: Plan, left_out: frozenset[bytes]) -> Plan:
        """Rename a deleted mailbox back, or return another plan where the server does not [some 3.x]."""
        assert plan.there is not None
        try:
            self._server.rename(plan.there, plan.name)
        except CommandRefused as refused:
            reason = f"the server does not rename {shown(plan.there.name)} back ({refused})"
            self._outcome.warnings.append(f"{self._one.name}: {reason}: restored as a new folder")
            return replace(plan, action=Action.MAKE_ANEW, there=None, had=left_out)
        return plan

    def _make(self, plan: Plan) -> None:
        """Make a mailbox with all that it had, in one command: nobody sees half of it."""
        now = int(time.time())
        _check_user(self._server, plan.name)
        place = self._server.place_for(plan.name, plan.selection.mailbox.partition)
        mailbox = sync_apply.in_domain(replace(plan.selection.mailbox, name=plan.name), place.prefix)
        if plan.action is Action.MAKE_ANEW:
            mailbox = sync_apply.as_new(mailbox, uuid.uuid4().hex, now)
        messages = plan.messages()
        if _was_changed_since(plan.selection):
            # Clients that know how the mailbox was later ask for what has changed since.
            mailbox = replace(mailbox, highest_modseq=mailbox.highest_modseq + 1)
            messages = (replace(message, modseq=mailbox.highest_modseq) for message in messages)
        sent = self._send(place.partition, messages, plan.had)
        if not sent and self._damaged:
            return  # each of its messages has a line: rather no mailbox than an empty one
        lines = [one.record for one in sent]
        if mailbox.last_uid > max((one.uid for one in sent), default=0):
            lines.append(sync_apply.last_uid(mailbox.last_uid, now))
        try:
            self._server.restore(sync_apply.restore(mailbox, place.partition, lines), len(lines))
        except CommandRefused as refused:
            self._clear_away_failed(mailbox)
            raise CommandRefused(refused.status, f"{refused}: its log may say why") from None
        self._add(sent)

    def _append(self, plan: Plan, partition: bytes) -> None:
        """Append messages, a batch at a time: what is cut off has done its part."""
        for batch in _batches(plan.messages()):
            sent = self._send(partition, batch, plan.had)
            if sent:
                records = (one.record for one in sent)
                self._server.restore(sync_apply.append(plan.selection.mailbox, plan.name, records), len(sent))
                self._add(sent)

    def _clear_away_failed(self, mailbox: Mailbox) -> None:
        """Remove the empty mailbox that SYNCRESTORE leaves where it fails."""
        there = self._server.mailbox(mailbox.name)
        if there is not None and there.uniqueid == mailbox.uniqueid and not there.last_uid:
            self._clear_away(there, mailbox.name)

    def _clear_away(self, there: Remote, name: bytes) -> None:
        """Remove a mailbox that never had a message, and not one that gets its first at this moment."""
        if there.name == name:
            domain, mark, local = name.rpartition(b"!")
            self._server.rename(there, domain + mark + b"DELETED.%s.%08X" % (local, int(time.time())))
        away = self._server.with_uniqueid(there.uniqueid)
        if away is None or away.name == name:
            raise CommandRefused("NO", "an empty mailbox of that name cannot be removed")
        if away.last_uid:
            self._server.rename(away, name)
            raise CommandRefused("NO", "it got its first message just now: run the restore again")
        self._server.remove(away)

    def _send(self, partition: bytes, messages: Iterable[Message], had: frozenset[bytes]) -> list[UploadedMessage]:
        return self._server.send(partition, self._watched(messages), had, self._not_restored)

    def _not_restored(self, reason: str) -> None:
        self._damaged += 1
        self._outcome.errors.append(f"{self._one.name}: {reason}")

    def _watched(self, messages: Iterable[Message]) -> Iterator[Message]:
        """Yield messages, and show how far they are."""
        before = sum(other.selected for other in self._outcome.mailboxes[:-1])
        size = sum(other.bytes for other in self._outcome.mailboxes[:-1])
        for message in messages:
            yield message
            self._seen += 1
            size += message.size
            self._reporter.transfer("restoring", before + self._seen, before + self._one.selected, size)

    def _add(self, sent: Iterable[UploadedMessage]) -> None:
        for one in sent:
            self._one.add(one.size)


def _check_user(server: SyncServer, name: bytes, planned: Collection[str] = ()) -> None:
    """Raise CommandRefused for the folder of a user who has no INBOX there, and none of the `planned` names is one."""
    inbox = into_plan.inbox_of(name)
    if inbox and shown(inbox) not in planned and server.mailbox(inbox) is None:
        raise into_plan.no_user(inbox)


def _was_changed_since(selection: Selection) -> bool:
    """Tell whether a mailbox is known to have been changed after the state that is restored."""
    if selection.since is None:
        return False
    return selection.mailbox.highest_modseq > records.read_header(selection.metadata[entry.INDEX]).highestmodseq


def _batches(messages: Iterable[Message]) -> Iterator[list[Message]]:
    batch: list[Message] = []
    size = 0
    for message in messages:
        batch.append(message)
        size += message.size
        if len(batch) == sync_apply.BATCH_MESSAGES or size >= sync_apply.BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
