"""The records of mailboxes.db, from 2.2 to 3.13: which mailboxes there are, and where each has its directory.

- up to 2.4: key `user.joe`, value `TYPE PARTITION ACL`, the type a number (absent in 2.2) (imap/mboxlist.c);
- 2.5 to 3.4: key `user.joe`, value `%(A %(joe lrs) I UNIQUEID P PARTITION V UIDVALIDITY ...)`, or still the old form;
- from 3.6: key `Nuser<1F>joe`, value `%(T e I UNIQUEID P PARTITION ...)`, and the same again below `IUNIQUEID`.
"""

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.cyrus.mailbox import dlist
from cyrsync.cyrus.mailbox.user import text
from cyrsync.cyrus.server.db.error import DbError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Acl = tuple[tuple[str, str], ...]
#: Letters of the type, partition, server, uniqueid, UIDVALIDITY, ACL.
_Fields = tuple[str, str, str, str, int, Acl]

#: TYPE as a number [up to 3.4]: for each bit, from the lowest, the letter that 2.5 and newer write.
_TYPE_BITS = "rznmdcabisp"
_NO_FLAGS = str.maketrans("", "", "dilmrz")
_WITHOUT_PARTITION = frozenset("dirz")
#: An optional `(uniqueid ID specialuse USE)` of some builds, the type, `PARTITION` or `SERVER!PARTITION`, the ACL.
OLD = re.compile(rb"(?:\(([^)]*)\) )?(?:([0-9]+) )?(?:([^ !]*)!)?([^ ]*) (.*)", re.DOTALL)
#: Nearly all records are of this form and are read at once, the others by the parser, which takes ten times as long.
#: The ACL stands at the end from 3.6 on, before at the beginning.
_ACL = rb"(%\([^()\"{]*\))"
_USUAL = re.compile(
    rb"%%\((?:T ([a-z]+) |A %b )I ([\w-]+) (?:J [\w-]+ )?P ([\w-]+)(?: V ([0-9]+))?"
    rb"(?: [CFM] [0-9]+)*(?(2)|(?: A %b)?)\)" % (_ACL, _ACL)
)
#: What is found by uniqueid has the mailbox's name in its value.
_BY_UNIQUEID = re.compile(rb"%\(T [a-z]+ N ")


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


def read(
    pairs: "Iterable[tuple[bytes, bytes]]", unread: "Callable[[Mailbox], None] | None" = None
) -> "Iterator[Mailbox]":
    """Yield what the records of a mailboxes.db say, in their order.

    One whose value cannot be read is given to `unread`, with its name alone; without that, DbError is raised.
    """
    pairs = list(pairs)
    lettered = have_letters(pairs)
    for key, value in pairs:
        # Other letters say the same again (I, J), or are of no mailbox, as are $RACL and $RUNQ and marks of versions.
        if key.startswith(b"N") if lettered else not key.startswith((b"$", b"\x1f")):
            try:
                mailbox = _mailbox(key, value, lettered)
            except ValueError as error:
                if unread is None:
                    shown = repr(key)[2:-1]  # in one line, whatever is in it
                    raise DbError(f"the record of {shown} cannot be read: {error}") from None
                name = internal_name(key[1:]) if lettered else key
                unread(Mailbox(name, "", "", 0, "", False, False, "", False, False, not lettered, ()))
            else:
                yield mailbox


def have_letters(pairs: "Iterable[tuple[bytes, bytes]]") -> bool:
    """Tell whether the first byte of each key is its type [3.6+]."""
    return any(_has_letter(key, value) for key, value in pairs)


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
    return key.startswith(b"I") and bool(_BY_UNIQUEID.match(value))


def _mailbox(key: bytes, value: bytes, lettered: bool) -> Mailbox:
    """Return what one record says; ValueError if it cannot be read."""
    if lettered:
        return _made(internal_name(key[1:]), False, *(_usual(value) or _general(value)))
    if value.startswith(b"%"):
        return _made(key, True, *(_usual(value) or _general(value)))
    return _made(key, True, *_old(value))


def _usual(value: bytes) -> "_Fields | None":
    """Return what `_general` does, None where that has to be asked."""
    match = _USUAL.fullmatch(value)
    if not match or b"NIL" in value:
        return None
    letters, acl, uniqueid, partition, uidvalidity, last_acl = match.groups(b"")
    try:
        rights = _acl(acl or last_acl)
    except ValueError:
        return None
    return letters.decode(), partition.decode(), "", uniqueid.decode(), int(uidvalidity or 0), rights


@lru_cache(maxsize=256)
def _acl(written: bytes) -> Acl:
    """Return an ACL; a user's mailboxes, which stand together, mostly have the same."""
    return _rights(dlist.parse(written or b"%()"))


def _general(value: bytes) -> _Fields:
    fields = dlist.parse(value)
    if not isinstance(fields, dict):
        raise ValueError("no keys and values")
    letters, partition, server, uniqueid, uidvalidity = [
        _word(fields.get(key)) for key in (b"T", b"P", b"S", b"I", b"V")
    ]
    if not (uidvalidity or "0").isdigit():
        raise ValueError("a UIDVALIDITY that is no number")
    return letters, partition, server, uniqueid, int(uidvalidity or 0), _rights(fields.get(b"A") or {})


def _rights(acl: dlist.Value) -> Acl:
    if not isinstance(acl, dict):
        raise ValueError("no proper ACL")
    return tuple([(text(who), _word(right)) for who, right in acl.items()])


def _word(value: dlist.Value) -> str:
    if isinstance(value, (dict, list)):
        raise ValueError("a list where a word belongs")
    return text(value or b"")


def _old(value: bytes) -> _Fields:
    match = OLD.fullmatch(value)
    if not match:
        raise ValueError("no type, partition and ACL")
    extra, number, server, partition, acl = match.groups(b"")
    words = extra.split(b" ")
    uniqueid = dict(zip(words[::2], words[1::2], strict=False)).get(b"uniqueid", b"")
    letters = _letters(int(number or 0))
    if "r" in letters and not server:
        server, partition = partition, b""
    return letters, text(partition), text(server), text(uniqueid), 0, _old_acl(acl)


@lru_cache(maxsize=256)
def _letters(number: int) -> str:
    return "".join([letter for bit, letter in enumerate(_TYPE_BITS) if number >> bit & 1])


@lru_cache(maxsize=256)
def _old_acl(written: bytes) -> Acl:
    ids = text(written).split("\t")
    return tuple(zip(ids[::2], ids[1::2], strict=False))


def _made(
    name: bytes, legacy: bool, letters: str, partition: str, server: str, uniqueid: str, uidvalidity: int, acl: Acl
) -> Mailbox:
    if not partition and not _WITHOUT_PARTITION.intersection(letters):
        raise ValueError("no partition")
    return Mailbox(
        name,
        partition,
        uniqueid,
        uidvalidity,
        letters.translate(_NO_FLAGS),
        "d" in letters,
        "i" in letters,
        server or ("an unnamed server" if "r" in letters else ""),
        "m" in letters,
        "z" in letters,
        legacy or "l" in letters,
        acl,
    )
