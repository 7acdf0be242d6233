"""What a restore into a running server does with one mailbox: decided before it writes, from what the server has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from cyrsync.cyrus.server import layout
from cyrsync.history.choose import former_name, shown
from cyrsync.history.imap_server import CommandRefused
from cyrsync.history.selected import Mailbox, Message, Selection
from cyrsync.history.sync_apply import Remote
from cyrsync.history.sync_server import SyncServer
from cyrsync.text import path_text

#: 16 hexadecimal digits up to 2.4, then a UUID, or 24 letters and digits.
_UNIQUEID = re.compile(r"[0-9A-Za-z-]{1,64}")
_DELETED = re.compile(rb"(?:[^!]*!)?([^.!]+)\..+\.[0-9A-F]{8}")


class Action(Enum):
    """What is done to a mailbox, in the words that people read."""

    MAKE = "made again"
    #: Its uniqueid is another mailbox's now.
    MAKE_ANEW = "made as a new folder"
    #: A restore that failed or was cut off has left it empty.
    MAKE_OVER_EMPTY = "made again in place of an empty one"
    RENAME_BACK = "renamed back"
    APPEND = "appended to"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with a mailbox, under which name; `there` is the server's own mailbox that gets it."""

    selection: Selection
    name: bytes
    action: Action
    there: Remote | None
    #: GUIDs of the messages that are left out; if the index has no GUID of a message, its file tells when it is read.
    had: frozenset[bytes]
    note: str = ""

    def messages(self) -> Iterator[Message]:
        """Yield the messages to restore, as far as the index tells: those without a GUID are among them."""
        return (one for one in self.selection.messages() if one.guid not in self.had)


def decide(server: SyncServer, selection: Selection, label: str, had: frozenset[bytes]) -> Plan:
    """Return what to do. `label` is the mailbox for people, `had` are GUIDs to be left out anyway.

    Raise CommandRefused, ConnectionFailed.
    """
    mailbox = selection.mailbox
    name = name_of(mailbox)
    there = server.mailbox(name)
    if there is None:
        if not _UNIQUEID.fullmatch(mailbox.uniqueid):
            # The server would make directories of that name.
            note = f"{label}: its uniqueid cannot be right: restored with a new one"
            return Plan(selection, name, Action.MAKE_ANEW, None, had, note)
        lives = server.with_uniqueid(mailbox.uniqueid)
        if lives is None:
            return Plan(selection, name, Action.MAKE, None, had)
        former = _former(lives.name)
        # A server leaves out its default domain.
        if former is None or former not in (name, name.rpartition(b"!")[2]):
            note = f"{label}: its uniqueid is that of another mailbox now: restored with a new one"
            return Plan(selection, name, Action.MAKE_ANEW, None, had, note)
        if _is_empty_copy(lives, mailbox):
            return Plan(selection, former, Action.MAKE_OVER_EMPTY, lives, had)
        return Plan(selection, former, Action.RENAME_BACK, lives, had | _live(server, lives))
    if _is_empty_copy(there, mailbox):
        return Plan(selection, there.name, Action.MAKE_OVER_EMPTY, there, had)
    return Plan(selection, there.name, Action.APPEND, there, had | _live(server, there))


def name_of(mailbox: Mailbox) -> bytes:
    """Return the name to restore a mailbox under: of a deleted one the name that it had."""
    return (_former(mailbox.name) if mailbox.deleted else None) or mailbox.name


def inbox_of(name: bytes) -> bytes | None:
    """Return the INBOX of the user whose folder this is; None for an INBOX itself, and what is no user's."""
    domain, mark, local = name.rpartition(b"!")
    words = local.split(b".")
    return domain + mark + b".".join(words[:2]) if words[0] == b"user" and len(words) > 2 else None


def no_user(inbox: bytes) -> CommandRefused:
    """Return the error for a folder of a user whom the server does not have: Cyrus makes none without the INBOX."""
    user = path_text(layout.user_of_name(inbox) or b"")
    return CommandRefused("NO", f"it has no user {user}: make {shown(inbox)} there, or restore all with --user {user}")


def _former(name: bytes) -> bytes | None:
    """Return the name that a deleted mailbox had; deletedprefix may be any word."""
    deleted = _DELETED.fullmatch(name)
    return former_name(name, deleted.group(1)) if deleted else None


class Had:
    """The messages that a mailbox's user has in any mailbox, and those that were deleted and still have a record."""

    def __init__(self, server: SyncServer) -> None:
        self._server = server
        self._of: bytes | None = None
        self._guids: frozenset[bytes] = frozenset()

    def by(self, name: bytes) -> frozenset[bytes]:
        """Return the GUIDs: those of the mailbox alone where it is no user's."""
        user = layout.user_of_name(name)
        if self._of != (user or name):
            there = [self._server.mailbox(name)] if user is None else self._server.of_user(user)
            found = (self._server.messages(one.name) for one in there if one is not None)
            self._guids = frozenset(message.guid for messages in found for message in messages)
            self._of = user or name
        return self._guids


def _is_empty_copy(there: Remote, mailbox: Mailbox) -> bool:
    """Tell whether it is this mailbox, but never had a message: SYNCRESTORE has failed after making it."""
    same = (there.uniqueid, there.uidvalidity) == (mailbox.uniqueid, mailbox.uidvalidity)
    return same and not there.last_uid and bool(mailbox.last_uid)


def _live(server: SyncServer, there: Remote) -> frozenset[bytes]:
    return frozenset(message.guid for message in server.messages(there.name) if not message.expunged)
