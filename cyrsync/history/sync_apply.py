"""The commands that restore a mailbox into Cyrus, and its answers: SYNCGET, SYNCAPPLY and SYNCRESTORE [3.0+]. Pure.

These are the words of Cyrus's replication, which an administrator may also use on the IMAP port; names are internal
ones (imap/sync_support.c: sync_restore_mailbox, sync_get_mailboxes, sync_apply_rename).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import repeat

from cyrsync.cyrus.mailbox import dlist
from cyrsync.history.selected import Mailbox, Message

#: Messages and bytes of one SYNCAPPLY MESSAGE: as many as Cyrus's own replication sends at once.
BATCH_MESSAGES = 1024
BATCH_BYTES = 32 << 20
#: The options of an index that replication keeps, each with its letter (imap/sync_support.c, sync_encode_options).
_OPTIONS = ((1, b"P"), (4, b"S"), (8, b"D"), (16, b"A"))
#: A record without a message must have a size and a GUID, or Cyrus's process dies; these are of an empty line.
_NO_MESSAGE = b"\n"
_FILLER = b"x" * (1 << 16)
_MOST_UID = (1 << 32) - 1


class BadAnswer(ValueError):
    """The server's answer makes no sense."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A mailbox that the server has."""

    name: bytes  # internal
    uniqueid: str
    uidvalidity: int
    last_uid: int
    highest_modseq: int
    partition: bytes


@dataclass(frozen=True, slots=True)
class RemoteMessage:
    """A message that the server has a record of."""

    uid: int
    guid: bytes
    flags: frozenset[str]
    expunged: bool


def mailboxes(lines: Iterable[bytes]) -> Iterator[Remote]:
    """Yield the mailboxes of an answer, without those that are mere names in between (type `i`). Raise BadAnswer."""
    for line in _values(lines):
        pairs = _pairs(_parsed(line))
        if b"i" not in _text(pairs, b"MBOXTYPE", b""):
            yield Remote(
                name=_text(pairs, b"MBOXNAME"),
                uniqueid=_text(pairs, b"UNIQUEID").decode("latin-1"),
                uidvalidity=_number(pairs, b"UIDVALIDITY"),
                last_uid=_number(pairs, b"LAST_UID"),
                highest_modseq=_number(pairs, b"HIGHESTMODSEQ"),
                partition=_text(pairs, b"PARTITION"),
            )


def messages(lines: Iterable[bytes]) -> Iterator[RemoteMessage]:
    """Yield the records of an answer to `SYNCGET FULLMAILBOX`; what is unlinked is not among them. Raise BadAnswer."""
    for line in _values(lines):
        try:
            for item in dlist.items(line, b"RECORD"):
                yield _message(_pairs(item))
        except dlist.DlistError as error:
            raise BadAnswer(str(error)) from None


def get(what: bytes, value: dlist.Value) -> tuple[bytes, bytes, bytes]:
    """Return the words of `SYNCGET MAILBOXES (...)` and the like."""
    return b"SYNCGET", what, dlist.encode(value)


def rename(mailbox: Remote, name: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the words that give a mailbox another name, and leave it all else."""
    pairs: dlist.Value = {
        b"OLDMBOXNAME": mailbox.name,
        b"NEWMBOXNAME": name,
        b"PARTITION": mailbox.partition,
        b"UIDVALIDITY": b"%d" % mailbox.uidvalidity,
    }
    return b"SYNCAPPLY", b"RENAME", dlist.encode(pairs)


def remove(name: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the words that remove a mailbox at once, and for good."""
    return b"SYNCAPPLY", b"UNMAILBOX", dlist.encode(name)


def file(partition: bytes, guid: bytes, data: bytes) -> bytes:
    """Return one member of `SYNCAPPLY MESSAGE (...)`: a message, to be kept ready in a partition."""
    return _file_head(partition, guid, len(data)) + data


def filler(partition: bytes, size: int) -> Iterator[bytes]:
    """Yield such a member of so many blocks of 64 KiB and no line end, that nobody takes for a command."""
    yield _file_head(partition, b"\xff" * 20, size * len(_FILLER))
    yield from repeat(_FILLER, size)


def _file_head(partition: bytes, guid: bytes, size: int) -> bytes:
    return b"%%{%s %s %d}\r\n" % (dlist.encode(partition), guid.hex().encode(), size)


def restore(mailbox: Mailbox, partition: bytes, records: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the words of SYNCRESTORE for a mailbox that is to be made as it was."""
    pairs: dict[bytes, dlist.Value] = {
        b"UNIQUEID": mailbox.uniqueid.encode("latin-1"),
        b"MBOXNAME": mailbox.name,
        b"HIGHESTMODSEQ": b"%d" % max(mailbox.highest_modseq, 1),
        b"UIDVALIDITY": b"%d" % mailbox.uidvalidity,
        b"PARTITION": partition,
        b"ACL": b"".join(b"%s\t%s\t" % entry for entry in mailbox.acl),
    }
    yield from _restore(pairs, mailbox, records)


def trial(name: bytes, partition: bytes, uniqueid: str) -> tuple[bytes, bytes, bytes]:
    """Return the words that make an empty mailbox, in the server's own choice of partition where none is given."""
    pairs: dict[bytes, dlist.Value] = {b"MBOXNAME": name, b"UNIQUEID": uniqueid.encode(), b"RECORD": []}
    pairs.update({b"HIGHESTMODSEQ": b"1", b"UIDVALIDITY": b"1", b"ACL": b"", b"OPTIONS": b""})
    if partition:
        pairs[b"PARTITION"] = partition
    return b"SYNCRESTORE", b"MAILBOX", dlist.encode(pairs)


def append(mailbox: Mailbox, name: bytes, records: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the words of SYNCRESTORE for messages that a mailbox is to get, with new UIDs."""
    yield from _restore({b"MBOXNAME": name}, mailbox, records)


def _restore(pairs: dict[bytes, dlist.Value], mailbox: Mailbox, records: Iterable[bytes]) -> Iterator[bytes]:
    options = b"".join(letter for bit, letter in _OPTIONS if mailbox.options & bit)
    if mailbox.kind not in ("", "e"):
        pairs[b"MBOXTYPE"] = mailbox.kind.encode("latin-1")
    pairs[b"OPTIONS"] = options
    yield b"MAILBOX " + dlist.encode(pairs)[:-1] + b" RECORD ("
    for number, record in enumerate(records):
        yield b" " + record if number else record
    yield b"))"


def record(message: Message, guid: bytes) -> bytes:
    """Return a message's record. It is restored alive, also if it was expunged."""
    pairs: dict[bytes, dlist.Value] = {
        b"UID": b"%d" % message.uid,
        b"MODSEQ": b"%d" % max(message.modseq, 1),
        b"LAST_UPDATED": b"%d" % message.last_changed,
        b"FLAGS": [flag.encode("latin-1") for flag in message.flags],
        b"INTERNALDATE": b"%d" % message.internaldate,
        b"SIZE": b"%d" % message.size,
        b"GUID": guid.hex().encode(),
    }
    if message.annotations:
        pairs[b"ANNOTATIONS"] = [
            {b"ENTRY": one.entry, b"USERID": one.user, b"MODSEQ": b"%d" % one.modseq, b"VALUE": one.value}
            for one in message.annotations
        ]
    return dlist.encode(pairs)


def last_uid(uid: int, now: int) -> bytes:
    """Return the record of an expunged message that has no file any more: with it, no UID up to this is used again.

    SYNCRESTORE takes no LAST_UID. One command more would set it, but a message delivered in between would get a UID
    that another one had.
    """
    nothing = Message(
        uid=uid,
        guid=None,
        size=len(_NO_MESSAGE),
        internaldate=now,
        flags=("\\Expunged",),
        modseq=1,
        last_changed=now,
        expunged=True,
        archived=False,
        cache_offset=0,
        places=(),
    )
    return record(nothing, hashlib.sha1(_NO_MESSAGE, usedforsecurity=False).digest())


def in_domain(mailbox: Mailbox, prefix: bytes) -> Mailbox:
    """Return a mailbox as a server names it that leaves out its own domain; `prefix` is what is left of that."""
    domain, mark, local = mailbox.name.rpartition(b"!")
    if domain + mark == prefix:
        return mailbox
    acl = tuple((who.removesuffix(b"@" + domain), rights) for who, rights in mailbox.acl)
    return replace(mailbox, name=prefix + local, acl=acl)


def as_new(mailbox: Mailbox, uniqueid: str, now: int) -> Mailbox:
    """Return a mailbox that is to be restored beside the one that has its uniqueid now: with another identity."""
    return replace(mailbox, uniqueid=uniqueid, uidvalidity=max(now, mailbox.uidvalidity + 1) & _MOST_UID)


def _values(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what `* MAILBOX ...` lines say; a server may say other things in between."""
    return (line[8:] for line in lines if line.startswith(b"MAILBOX "))


def _parsed(data: bytes) -> dlist.Value:
    try:
        return dlist.parse(data)
    except dlist.DlistError as error:
        raise BadAnswer(str(error)) from None


def _pairs(value: dlist.Value) -> dict[bytes, dlist.Value]:
    if not isinstance(value, dict):
        raise BadAnswer("no list of keys and values")
    return value


def _text(pairs: dict[bytes, dlist.Value], key: bytes, default: bytes | None = None) -> bytes:
    value = pairs.get(key, default)
    if not isinstance(value, bytes):
        raise BadAnswer(f"no {key.decode()}")
    return value


def _number(pairs: dict[bytes, dlist.Value], key: bytes) -> int:
    text = _text(pairs, key)
    if not text.isdigit() or len(text) > 20:
        raise BadAnswer(f"{key.decode()} is no number")
    return int(text)


def _message(pairs: dict[bytes, dlist.Value]) -> RemoteMessage:
    flags = pairs.get(b"FLAGS")
    if not isinstance(flags, list):
        raise BadAnswer("no FLAGS")
    names = frozenset(flag.decode("latin-1") for flag in flags if isinstance(flag, bytes))
    try:
        guid = bytes.fromhex(_text(pairs, b"GUID").decode("ascii"))
    except ValueError:
        raise BadAnswer("no GUID") from None
    return RemoteMessage(_number(pairs, b"UID"), guid, names - {"\\Expunged"}, "\\Expunged" in names)
