"""`restore --flags`: messages on a server get back the flags that they had; nothing else is changed."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from cyrsync.history import into_plan
from cyrsync.history.choose import shown
from cyrsync.history.imap_server import CommandRefused
from cyrsync.history.outcome import MailboxOutcome, Outcome
from cyrsync.history.owner_login import OwnerLogins
from cyrsync.history.selected import Message, Selection
from cyrsync.history.sync_apply import Remote
from cyrsync.history.sync_server import SyncServer
from cyrsync.sync.progress import Reporter
from cyrsync.text import human_count

#: A flag as a command may have it (RFC 3501, flag): anything else would end the list, or the line.
_FLAG = re.compile(r"\\?[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+")
#: UIDs in one command.
_AT_ONCE = 500
_UIDVALIDITY = re.compile(rb"OK \[UIDVALIDITY ([0-9]{1,10})\]")


def set_flags(
    server: SyncServer, logins: OwnerLogins, selections: Iterable[Selection], outcome: Outcome, reporter: Reporter
) -> None:
    """Set flags as the messages of a tree have them; a failure costs only its mailbox. Raise ConnectionFailed.

    A message is the same where UIDVALIDITY and UID are, else the one with its GUID.
    """
    for selection in selections:
        name = into_plan.name_of(selection.mailbox)
        one = outcome.begin(shown(name), selection.count, selection.since)
        try:
            there = server.mailbox(name)
            if there is None:
                raise CommandRefused("NO", "there is no such mailbox: restore it without --flags")
            _set_flags(server, logins, selection, there, one, outcome)
            one.how = "flags"
        except CommandRefused as refused:
            outcome.errors.append(f"{one.name}: {refused}")
        reporter.transfer("flags", outcome.restored + outcome.present, sum(x.selected for x in outcome.mailboxes), 0)


def settable(flags: Iterable[str]) -> frozenset[str]:
    """Return the flags that a client may set."""
    return frozenset(flag for flag in flags if _FLAG.fullmatch(flag) and flag.lower() != "\\recent")


def _set_flags(
    server: SyncServer, logins: OwnerLogins, selection: Selection, there: Remote, one: MailboxOutcome, outcome: Outcome
) -> None:
    changes: dict[frozenset[str], list[int]] = defaultdict(list)
    missing = 0
    for uids, message in _pairs(server, selection, there):
        wanted = settable(message.flags)
        if not uids:
            missing += 1
        elif changed := [uid for uid, flags in uids.items() if flags != wanted]:
            changes[wanted] += changed
            one.add(0)
        else:
            one.present += 1
    if missing:
        rest = f"{human_count(missing)} messages are not there any more"
        outcome.warnings.append(f"{one.name}: {rest}: restore them without --flags")
    if outcome.dry_run:
        one.selected, one.restored = one.restored, 0
    elif changes:
        _store(logins, there, changes)


def _pairs(
    server: SyncServer, selection: Selection, there: Remote
) -> Iterator[tuple[dict[int, frozenset[str]], Message]]:
    """Yield each message of the tree with the server's, by their UIDs."""
    by_uid: dict[int, bytes] = {}
    by_guid: dict[bytes, dict[int, frozenset[str]]] = defaultdict(dict)
    for message in server.messages(there.name):
        if not message.expunged:
            by_uid[message.uid] = message.guid
            by_guid[message.guid][message.uid] = message.flags
    same = there.uidvalidity == selection.mailbox.uidvalidity
    for wanted in selection.messages():
        guid = by_uid.get(wanted.uid) if same else None
        if guid is not None and wanted.guid in (guid, None):
            yield {wanted.uid: by_guid[guid][wanted.uid]}, wanted
        else:
            yield by_guid.get(wanted.guid or b"", {}), wanted


def _store(logins: OwnerLogins, there: Remote, changes: dict[frozenset[str], list[int]]) -> None:
    connection, name = logins.of(there.name)
    answer = connection.command(b"SELECT", name)
    found = next((match for line in answer if (match := _UIDVALIDITY.match(line))), None)
    if found is None or int(found.group(1)) != there.uidvalidity:
        raise CommandRefused("NO", "another mailbox has its name now: run the command again")
    for flags, uids in changes.items():
        for at in range(0, len(uids), _AT_ONCE):
            some = ",".join(map(str, uids[at : at + _AT_ONCE]))
            connection.command(f"UID STORE {some} FLAGS.SILENT ({' '.join(sorted(flags))})".encode())
