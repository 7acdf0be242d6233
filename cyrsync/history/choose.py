"""Which mailboxes of a tree are selected. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cyrsync.cyrus.mailbox.user import DELETED
from cyrsync.cyrus.server import layout
from cyrsync.cyrus.server.names import decode_mutf7
from cyrsync.cyrus.server.server import Located
from cyrsync.errors import UnusableError
from cyrsync.text import printable

_TIME = re.compile(rb"[0-9A-F]{8}")


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for; with None and False everywhere, all mailboxes and their live messages."""

    mailbox: str | None = None  # a name as people, administrators or Cyrus itself write it, or a uniqueid
    user: str | None = None
    message: bytes | int | None = None  # a GUID, or a UID of the mailbox
    recursive: bool = False  # what is below the mailbox, too
    only_expunged: bool = False
    every: bool = False  # every message that has a file, expunged ones too
    deleted: bool = False  # deleted mailboxes, too, though they are not named


def shown(name: bytes) -> str:
    """Return a mailbox's name as people read it: `user/jane/Sent Items@example.com`. Safe on a terminal."""
    before, mark, after = name.partition(b"!")
    domain, local = (before, after) if mark else (b"", name)
    text = "/".join(decode_mutf7(component).replace("^", ".") for component in local.split(b"."))
    return printable(f"{text}@{os.fsdecode(domain)}" if mark else text)


def choose(known: Sequence[Located], request: Request, prefix: bytes = DELETED) -> list[Located]:
    """Return the selected mailboxes, by name, deleted ones last. Raise UnusableError if there are none.

    `prefix` is imapd.conf's deletedprefix.
    """
    found = list(known)
    if request.user is not None:
        wanted = os.fsencode(request.user)
        found = [one for one in found if layout.user_of_name(one.mailbox.name, prefix) == wanted]
        if not found:
            raise UnusableError(f"{printable(request.user)}: no mailbox of this user")
    if request.mailbox is not None:
        found = _named(found, request.mailbox, request.recursive, prefix)
    elif request.message is None and not request.deleted:
        live = [one for one in found if not layout.is_deleted(one.mailbox.name, prefix)]
        # One by one, they are restored by their names, as of one folder there may be several.
        found = live or (_last_deleted(found, prefix) if request.user is not None else [])
        if not found:
            raise UnusableError("only deleted mailboxes are here: name one, or give --user")
    return sorted(found, key=lambda one: _order(one.mailbox.name, prefix))


def _last_deleted(known: Sequence[Located], prefix: bytes) -> list[Located]:
    """Return the deleted mailboxes of a deleted user; of several with the same name, the one that was deleted last."""
    found: dict[bytes | None, Located] = {}
    for one in sorted(known, key=lambda one: deleted_at(one.mailbox.name, prefix) or 0):
        found[former_name(one.mailbox.name, prefix)] = one
    return list(found.values())


def _order(name: bytes, prefix: bytes) -> tuple[bool, bytes]:
    """Sort mailboxes below another behind it, and deleted ones last."""
    return layout.is_deleted(name, prefix), name.replace(b".", b"\0")


def named(known: Sequence[Located], name: str) -> bytes | None:
    """Return the internal name for a name that people write, of a mailbox or of one that has mailboxes below it."""
    given = os.fsencode(name)
    for one in known:
        if name == (one.mailbox.uniqueid or None) or _is(one.mailbox.name, name, given):
            return one.mailbox.name
    for one in known:
        above = one.mailbox.name.rpartition(b".")[0]
        while above:
            if _is(above, name, given):
                return above
            above = above.rpartition(b".")[0]
    return None


def _named(known: Sequence[Located], name: str, recursive: bool, prefix: bytes) -> list[Located]:
    top = named(known, name)
    if top is None:
        raise UnusableError(f"{printable(name)}: no such mailbox{_hint(known, name, prefix)}")
    found = [one for one in known if one.mailbox.name == top or (recursive and one.mailbox.name.startswith(top + b"."))]
    if not found:
        hint = _hint(known, name, prefix)
        raise UnusableError(f"{printable(name)}: no mailbox itself; -r restores those below it{hint}")
    return found


def _is(mailbox: bytes, name: str, given: bytes) -> bool:
    return given in _spellings(mailbox) or (b"&" in mailbox and name == shown(mailbox))


def _spellings(name: bytes) -> tuple[bytes, ...]:
    return (name, layout.external(name, b"/"), layout.external(name, b"."))


def _hint(known: Sequence[Located], name: str, prefix: bytes) -> str:
    """Return the deleted mailboxes that had the name."""
    found = []
    for one in known:
        former = former_name(one.mailbox.name, prefix)
        if former and _is(former, name, os.fsencode(name)):
            found.append(shown(one.mailbox.name))
    return f"; deleted ones of that name: {', '.join(found)}" if found else ""


def former_name(name: bytes, prefix: bytes = DELETED) -> bytes | None:
    """Return the name that a deleted mailbox had, None for one that is not deleted."""
    if not layout.is_deleted(name, prefix):
        return None
    domain, mark, local = name.rpartition(b"!")
    return domain + mark + b".".join(local.split(b".")[1:-1])


def deleted_at(name: bytes, prefix: bytes = DELETED) -> int | None:
    """Return when a deleted mailbox was deleted, in seconds since 1970, by the end of its name."""
    last = name.rpartition(b".")[2]
    if not layout.is_deleted(name, prefix) or not _TIME.fullmatch(last):
        return None
    return int(last, 16)
