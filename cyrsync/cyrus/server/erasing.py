"""Erasing somebody from Cyrus's own records: mailboxes, rights, quotas, annotations, subscriptions. Nothing is written.

Each function returns the records that stay. A record that cannot be read stays only if it cannot name the person.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cyrsync.cyrus.mailbox import dlist, header
from cyrsync.cyrus.server import mailboxes

Pairs = list[tuple[bytes, bytes]]
#: Parts the user from what follows in keys of mailboxes.db [3.6+] that are found by the user.
_USER_ENDS = b"\x1e"
#: The letter before a name whose components are not joined by dots [3.6+].
_LETTER = re.compile(rb"N(?=[^.]*\x1f)")
#: The words of an ACL up to 3.4: who and rights, each with a tab behind.
_TABBED = re.compile(rb"(?:[^\t]+\t[^\t]*(?:\t|\Z))*")

#: No old record has any of these.
_BINARY = re.compile(rb"[\0-\x08\n-\x1f\x7f]")


@dataclass(frozen=True)
class Person:
    """Who is erased."""

    #: Tells of a mailbox, by its internal name, whether it is the person's.
    has: Callable[[bytes], bool]
    #: What ACLs and annotations call the person; rights may be taken away, too: `-joe`.
    called: frozenset[bytes]
    #: One of these is in everything that names the person.
    words: tuple[bytes, ...]
    #: The person's mailboxes.
    uniqueids: frozenset[bytes] = frozenset()

    def may_be_in(self, data: bytes) -> bool:
        """Tell whether data may name the person."""
        return dlist.mentions(data, self.words)

    def is_called(self, who: bytes) -> bool:
        """Tell whether an ACL means the person by this."""
        return who.removeprefix(b"-") in self.called

    def has_key(self, key: bytes) -> bool:
        """Tell whether a mailbox is the person's by its internal name, or as newer databases write it."""
        return self.has(mailboxes.internal_name(key) if b"\x1f" in key else key)


def of_mailboxes(pairs: Iterable[tuple[bytes, bytes]], person: Person) -> tuple[Pairs, list[bytes]]:
    """Return the records of a mailboxes.db that stay, and the keys of those that cannot be read, and are left out.

    What Cyrus can make anew ($RACL and such) is left out, too.
    """
    pairs = list(pairs)
    lettered = mailboxes.have_letters(pairs)
    stay: Pairs = []
    unreadable = []
    for key, value in pairs:
        if key.startswith(b"$"):
            continue
        if not person.may_be_in(key + b" " + value):
            stay.append((key, value))
            continue
        try:
            if not _names_one_of(person, key, value, lettered):
                stay.append((key, _without_rights(value, person)))
        except ValueError:
            unreadable.append(key)
    return stay, unreadable


def of_quotas(pairs: Iterable[tuple[bytes, bytes]], person: Person) -> Pairs:
    """Return the records of a quotas.db that stay: its keys are internal names (V 3.6.1), or as in mailboxes.db."""
    return [pair for pair in pairs if not person.has_key(pair[0])]


def of_subscriptions(pairs: Iterable[tuple[bytes, bytes]], person: Person) -> Pairs:
    """Return the records of somebody else's subscriptions that stay: keys are internal names, or as in mailboxes.db."""
    return [pair for pair in pairs if not person.has_key(_LETTER.sub(b"", pair[0]))]


def of_denied(pairs: Iterable[tuple[bytes, bytes]], person: Person) -> Pairs:
    """Return the records of a user_deny.db that stay: the keys are users."""
    return [pair for pair in pairs if pair[0] not in person.called]


def of_annotations(pairs: Iterable[tuple[bytes, bytes]], person: Person) -> Pairs:
    """Return the records of an annotations.db, or of a mailbox's cyrus.annotations, that stay.

    A mailbox is known by its internal name [up to 3.4], or by its uniqueid [3.6+]. Keys are mailbox or UID, entry and
    user, each with a NUL behind (imap/annotate.c, make_key).
    """
    stay = []
    for pair in pairs:
        mailbox, *rest = pair[0].split(b"\0")
        if len(rest) == 3:
            lost = rest[1] in person.called or mailbox in person.uniqueids or person.has(mailbox)
        else:
            lost = person.may_be_in(pair[0])
        if not lost:
            stay.append(pair)
    return stay


def of_header(data: bytes, person: Person) -> bytes:
    """Return a cyrus.header without the person's rights. Raise ValueError if it cannot be read."""
    header.read(data)  # whether it can be read
    head, rest = data[: header.PREAMBLE_SIZE], data[header.PREAMBLE_SIZE :]
    if rest.startswith(b"%"):
        line, newline, after = rest.partition(b"\n")
        return head + _without_in_dlist(line, person) + newline + after
    names, flags, acl, *after_acl = rest.split(b"\n")
    return head + b"\n".join([names, flags, _without_tabbed(acl, person), *after_acl])


def _names_one_of(person: Person, key: bytes, value: bytes, lettered: bool) -> bool:
    """Tell whether a record of mailboxes.db is of the person, or of a mailbox of the person's. Raise ValueError."""
    if not lettered:
        return person.has(key)
    letter, rest = key[:1], key[1:]
    if letter == b"N":
        return person.has_key(rest)
    if letter == b"I":
        fields = dlist.parse(value)
        name = fields.get(b"N") if isinstance(fields, dict) else None
        if not isinstance(name, bytes):
            raise ValueError("no name")
        return person.has_key(name)
    if letter == b"A":  # which mailboxes somebody has rights to
        _, who, name = rest.split(_USER_ENDS)
        return person.is_called(who) or person.has_key(name)
    if letter == b"J":
        return rest.partition(_USER_ENDS)[0] in person.called
    raise ValueError("an unknown kind of record")


def _without_rights(value: bytes, person: Person) -> bytes:
    """Return a record of mailboxes.db without the person's rights, and all else as it is. Raise ValueError."""
    if not value or not person.may_be_in(value):
        return value
    if value.startswith(b"%"):
        return _without_in_dlist(value, person)
    match = mailboxes.OLD.fullmatch(value)
    if not match or _BINARY.search(value):
        raise ValueError("no type, partition and ACL")
    return value[: match.start(5)] + _without_tabbed(match[5], person)


def _without_tabbed(acl: bytes, person: Person) -> bytes:
    """Return an ACL `who TAB rights TAB ...` without the person's. Raise ValueError."""
    if not _TABBED.fullmatch(acl):
        raise ValueError("no proper ACL")
    words = acl.split(b"\t")
    rights = zip(words[::2], words[1::2], strict=False)
    return b"".join([b"%b\t%b\t" % pair for pair in rights if not person.is_called(pair[0])])


def _without_in_dlist(value: bytes, person: Person) -> bytes:
    """Return `%(... A %(who rights ...) ...)` without the person's rights, and former names. Raise ValueError."""
    parts, done = [], 0
    for key, start, begin, end in dlist.spans(value):
        if key == b"A" and value.startswith(b"%(", begin):
            rights = [(who, value[at:until]) for who, at, _, until in dlist.spans(value, begin)]
            stay = [one for who, one in rights if not person.is_called(who)]
            if len(stay) < len(rights):
                parts += [value[done:begin], b"%%(%b)" % b" ".join(stay)]
                done = end
        elif key == b"H" and any(person.has_key(name) for name in _names_in(dlist.parse(value[begin:end]))):
            parts += [value[done:start], b"H ()"]
            done = end
    return b"".join([*parts, value[done:]])


def _names_in(former: dlist.Value) -> list[bytes]:
    """Return the names in a list of those that a mailbox had."""
    names = [one.get(b"N") for one in former or () if isinstance(one, dict)]
    return [name for name in names if isinstance(name, bytes)]
