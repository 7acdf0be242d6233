"""`restore --into` a server without SYNCRESTORE (Cyrus up to 2.5): by APPEND, in place of the owner.

Flags, dates and bytes are kept; UIDs are new, and so is the identity of a mailbox that has to be made.
"""

from __future__ import annotations

import hashlib
import imaplib
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from functools import partial

from cyrsync.cyrus.server import layout
from cyrsync.history import contents, into_plan
from cyrsync.history.choose import shown
from cyrsync.history.imap_server import CommandRefused, Connection
from cyrsync.history.outcome import MailboxRestore, Outcome, Told
from cyrsync.history.owner_login import OwnerLogins, quoted
from cyrsync.history.selected import Mailbox, Message, Selection
from cyrsync.history.set_flags import settable
from cyrsync.sync.progress import Reporter

_FETCH = re.compile(rb"[0-9]{1,10} FETCH \(")
_UID = re.compile(rb"[ (]UID ([0-9]{1,10})[ )]")
_SIZE = re.compile(rb"[ (]RFC822\.SIZE ([0-9]{1,20})[ )]")
#: What the server's index says of the message's SHA-1 [2.4+].
_DIGEST = re.compile(rb'[ (]DIGEST\.SHA1 "?([0-9a-f]{40})"?[ )]')
_BODY = re.compile(rb"BODY\[\] \{([0-9]{1,10})\}\r\n")


def restore_by_append(
    logins: OwnerLogins,
    selections: Iterable[Selection],
    outcome: Outcome,
    reporter: Reporter,
    *,
    only_one: bool = False,
    told: Told | None = None,
) -> None:
    """Append the messages that mailboxes lack, by SHA-1; a failure costs only its mailbox. Raise ConnectionFailed.

    `only_one`: all selections are of one message, and the first is enough. A dry run only asks the server, and reports.
    """
    for selection in selections:
        name = into_plan.name_of(selection.mailbox)
        one = outcome.begin(shown(name), selection.count, selection.since)
        try:
            connection, own_name = logins.of(name)
            there = _is_there(connection, own_name)
            inbox = None if there else into_plan.inbox_of(name)
            planned = {other.name for other in outcome.mailboxes}
            if inbox and shown(inbox) not in planned and not _is_there(*logins.of(inbox)):
                raise into_plan.no_user(inbox)
            had = _digests(connection, own_name, selection) if there else frozenset()
            lacking = partial(_lacking, selection, had)
            if outcome.dry_run:
                one.show(selection, lacking, told)
            else:
                if not there:
                    _make(connection, own_name, selection.mailbox)
                _append(connection, own_name, list(lacking()), had, outcome, reporter)
            one.how = "appended to" if there else "made as a new folder"
            if there and not (one.selected if outcome.dry_run else one.restored):
                one.how = "left as it is"
        except CommandRefused as refused:
            outcome.errors.append(f"{one.name}: the server refused: {refused}")
        if only_one and one.restored + one.present:
            break


def _append(
    connection: Connection,
    name: bytes,
    messages: list[Message],
    had: frozenset[bytes],
    outcome: Outcome,
    reporter: Reporter,
) -> None:
    """Append messages to the mailbox that was begun last, but those whose SHA-1 it `had`. Raise CommandRefused."""
    restore = MailboxRestore(outcome, reporter)
    restore.one.present = restore.one.selected - len(messages)
    for message in messages:
        try:
            data = contents.whole(message)
        except contents.Damaged as error:
            outcome.errors.append(f"{restore.one.name}: {error}")
            continue
        if message.guid is None and hashlib.sha1(data, usedforsecurity=False).digest() in had:
            restore.present()
            continue
        connection.command(*_append_words(name, message, len(data)), parts=[data])
        restore.restored(len(data))


def _lacking(selection: Selection, had: frozenset[bytes]) -> Iterator[Message]:
    return (message for message in selection.messages() if message.guid not in had)


def _is_there(connection: Connection, name: bytes) -> bool:
    """Tell whether a mailbox exists: one that cannot be selected may belong to somebody else."""
    return any(line.upper().startswith(b"LIST ") for line in connection.command(b'LIST ""', name))


def _make(connection: Connection, name: bytes, mailbox: Mailbox) -> None:
    """Make a mailbox, and give others their rights; the owner has them already."""
    connection.command(b"CREATE", name)
    for who, rights in mailbox.acl:
        if who != layout.user_of_name(mailbox.name):
            connection.command(b"SETACL", name, quoted(who), quoted(rights))


def _append_words(name: bytes, message: Message, size: int) -> tuple[bytes, ...]:
    flags = " ".join(sorted(settable(message.flags))).encode()
    date = imaplib.Time2Internaldate(datetime.fromtimestamp(message.internaldate, timezone.utc)).encode()
    return b"APPEND", name, b"(%s)" % flags, date, b"{%d+}\r\n" % size


def _digests(connection: Connection, name: bytes, selection: Selection) -> frozenset[bytes]:
    """Return the SHA-1 of the mailbox's messages, of those at least that may be among the selection's."""
    exists = connection.command(b"EXAMINE", name)
    if any(line.upper() == b"0 EXISTS" for line in exists):
        return frozenset()
    if "DIGEST=SHA1" in connection.capabilities:
        digests = map(_DIGEST.search, _fetched(connection.command(b"UID FETCH 1:* (DIGEST.SHA1)")))
        return frozenset(bytes.fromhex(digest[1].decode()) for digest in digests if digest)
    sizes = {message.size for message in selection.messages()}
    lines = connection.command(b"UID FETCH 1:* (RFC822.SIZE)")
    fetched = [(_UID.search(line), _SIZE.search(line)) for line in _fetched(lines)]
    uids = [uid[1] for uid, size in fetched if uid and size and int(size[1]) in sizes]
    return frozenset(digest for uid in uids for digest in _digest(connection, uid))


def _digest(connection: Connection, uid: bytes) -> Iterator[bytes]:
    """Yield the SHA-1 of one message, by all of it; nothing where it is gone meanwhile."""
    for line in _fetched(connection.command(b"UID FETCH", uid, b"(BODY.PEEK[])")):
        if opening := _BODY.search(line):
            body = line[opening.end() : opening.end() + int(opening[1])]
            yield hashlib.sha1(body, usedforsecurity=False).digest()


def _fetched(lines: Iterable[bytes]) -> Iterator[bytes]:
    return (line for line in lines if _FETCH.match(line))
