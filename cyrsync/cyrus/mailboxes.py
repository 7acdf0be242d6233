"""The records of mailboxes.db, from 2.2 to 3.13: which mailboxes there are, and where each has its directory.

- up to 2.4: key `user.joe`, value `TYPE PARTITION ACL`, the type a number (absent in 2.2) (imap/mboxlist.c);
- 2.5 to 3.4: key `user.joe`, value `%(A %(joe lrs) I UNIQUEID P PARTITION V UIDVALIDITY ...)`, or still the old form;
- from 3.6: key `Nuser<1F>joe`, value `%(T e I UNIQUEID P PARTITION ...)`, and the same again below `IUNIQUEID`.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import re
from typing import TYPE_CHECKING, NamedTuple, Tuple

from cyrsync.cyrus import dlist
from cyrsync.cyrus.db.error import DbError
from cyrsync.cyrus.user import text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Acl = Tuple[Tuple[str, str], ...]

#: TYPE as a number [up to 3.4]: for each bit, from the lowest, the letter that 2.5 and newer write.
_TYPE_BITS = "rznmdcabisp"
_FLAGS = frozenset("dilmrz")
_WITHOUT_PARTITION = frozenset("dirz")
#: An optional `(uniqueid ID specialuse USE)` of some builds, the type, `PARTITION` or `SERVER!PARTITION`, the ACL.
_OLD = re.compile(rb"(?:\(([^)]*)\) )?(?:([0-9]+) )?(?:([^ !]*)!)?([^ ]*) (.*)", re.DOTALL)


class Mailbox(NamedTuple):
    """One mailbox, or what is left of its name; empty or 0 what that version of Cyrus does not record."""

    #: Internal name: components joined by dots, `^` for dots within, a domain in front with `!`.
    name: bytes
    partition: str
    uniqueid: str
    uidvalidity: int
    #: The letters of the type that are no flags: `e` email, `c` calendar, `a` addressbook ...; "" for email up to 3.4.
    kind: str
    #: A tombstone: the mailbox was deleted, or has another name now.
    deleted: bool
    #: The name is there for the sake of those below it.
    intermediate: bool
    #: The server that has it.
    remote: str
    #: On its way to another server.
    moving: bool
    #: Its creation is under way, or was broken off.
    reserved: bool
    #: Its directory is named after the mailbox, not after the uniqueid.
    legacy: bool
    #: Who may do what, in the order of the record.
    acl: Acl


def read(pairs: "Iterable[tuple[bytes, bytes]]") -> "Iterator[Mailbox]":
    """Yield what the records of a mailboxes.db say, in their order; DbError for a value that cannot be read."""
    pairs = list(pairs)
    if any(_has_letter(key, value) for key, value in pairs):
        for key, value in pairs:
            # The others say the same again (I, J), or are of no mailbox.
            if key.startswith(b"N"):
                yield _from_dlist(key, value, internal_name(key[1:]), legacy=False)
        return
    for key, value in pairs:
        # $RACL and $RUNQ, and marks of versions.
        if not key.startswith((b"$", b"\x1f")):
            yield _from_dlist(key, value, key, legacy=True) if value.startswith(b"%") else _from_text(key, value)


def live(mailbox: Mailbox, servername: str = "") -> bool:
    """Tell whether the mailbox has a directory on this server, whose `servername` some records have as their own."""
    here = mailbox.remote in ("", servername)
    return here and not (mailbox.deleted or mailbox.intermediate or mailbox.reserved)


def internal_name(dbname: bytes) -> bytes:
    """Return the internal name of `domain<1D>user<1F>john.doe` (imap/mboxname.c, mbname_from_dbname)."""
    domain, separator, name = dbname.rpartition(b"\x1d")
    name = name.replace(b".", b"^").replace(b"\x1f", b".")
    return domain + b"!" + name if separator else name


def _has_letter(key: bytes, value: bytes) -> bool:
    """Tell whether this record proves that the first byte of each key is its type [3.6+].

    Up to 3.4 a mailbox may be called `Inbox` or `News`. But no record names its mailbox in the value, as those do
    that are found by uniqueid; and the letter for email is new, and comes first.
    """
    if key.startswith(b"N"):
        return value.startswith(b"%(T e")
    if not key.startswith(b"I") or not value.startswith(b"%"):
        return False
    try:
        fields = dlist.parse(value)
    except dlist.DlistError:
        return False
    return isinstance(fields, dict) and b"N" in fields


def _from_dlist(key: bytes, value: bytes, name: bytes, legacy: bool) -> Mailbox:
    try:
        fields = dlist.parse(value)
    except dlist.DlistError as error:
        raise _unreadable(key, str(error)) from None
    if not isinstance(fields, dict):
        raise _unreadable(key, "no keys and values")
    words = {}
    for field in (b"P", b"S", b"I", b"V", b"T"):
        word = fields.get(field) or b""
        if not isinstance(word, bytes):
            raise _unreadable(key, "a list where a word belongs")
        words[field] = text(word)
    rights = fields.get(b"A") or {}
    if not isinstance(rights, dict) or not all(isinstance(right, bytes) for right in rights.values()):
        raise _unreadable(key, "no proper ACL")
    acl = tuple((text(who), text(right)) for who, right in rights.items() if isinstance(right, bytes))
    found = _made(key, name, words[b"T"], words[b"P"], words[b"S"], words[b"I"], acl, legacy)
    if not words[b"V"]:
        return found
    if not words[b"V"].isdigit():
        raise _unreadable(key, "a UIDVALIDITY that is no number")
    return found._replace(uidvalidity=int(words[b"V"]))


def _from_text(key: bytes, value: bytes) -> Mailbox:
    match = _OLD.fullmatch(value)
    if not match:
        raise _unreadable(key, "no type, partition and ACL")
    extra, number, server, partition, acl = (text(group or b"") for group in match.groups())
    letters = "".join(letter for bit, letter in enumerate(_TYPE_BITS) if int(number or 0) >> bit & 1)
    words = extra.split(" ")
    uniqueid = dict(zip(words[::2], words[1::2])).get("uniqueid", "")
    if "r" in letters and not server:
        server, partition = partition, ""
    ids = acl.split("\t")
    return _made(key, key, letters, partition, server, uniqueid, tuple(zip(ids[::2], ids[1::2])), legacy=True)


def _made(
    key: bytes, name: bytes, letters: str, partition: str, server: str, uniqueid: str, acl: Acl, legacy: bool
) -> Mailbox:
    mailbox = Mailbox(
        name=name,
        partition=partition,
        uniqueid=uniqueid,
        uidvalidity=0,
        kind="".join(letter for letter in letters if letter not in _FLAGS),
        deleted="d" in letters,
        intermediate="i" in letters,
        remote=server or ("an unnamed server" if "r" in letters else ""),
        moving="m" in letters,
        reserved="z" in letters,
        legacy=legacy or "l" in letters,
        acl=acl,
    )
    if not partition and not _WITHOUT_PARTITION.intersection(letters):
        raise _unreadable(key, "no partition")
    return mailbox


def _unreadable(key: bytes, reason: str) -> DbError:
    return DbError("the record of {!r} cannot be read: {}".format(key, reason))
