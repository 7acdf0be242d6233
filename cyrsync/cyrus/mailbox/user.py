"""Whose a folder is, by its path below a partition's root, and where to look for a user.

    [domain/DOMAIN/] [DELETED/] user/USER/...                        hashimapspool: no
    [domain/LETTER/DOMAIN/] LETTER/ [DELETED/] user/USER/...         hashimapspool: yes
    uuid/a/b/ab...                                                   Cyrus 3.6 and newer: tells nothing

Paths are bytes, relative, without a leading slash; b"" is the root. A `user` anywhere else is a folder's own name.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

from functools import lru_cache
from typing import NamedTuple

_LETTERS = frozenset(b"%c" % byte for byte in b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVW")
#: What Cyrus puts before the names of deleted mailboxes, unless imapd.conf says otherwise (deletedprefix).
DELETED = b"DELETED"
WORD_32, WORD_64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF


class Place(NamedTuple):
    """A path taken apart: what precedes the mailbox's name, and the name's components without its domain."""

    domain_letter: bytes
    domain: bytes
    letter: bytes
    name: "list[bytes]"

    @property
    def deleted(self) -> bool:
        return self.name[:1] == [DELETED]

    @property
    def owner(self) -> "list[bytes]":
        """The first two components at most, of the name that a deleted mailbox had: `user` and the user."""
        return self.name[self.deleted :][:2]


def user_of(path: bytes) -> "str | None":
    """Return the user whose folder this is (`joe`, `jane@example.com`), None where the path does not tell."""
    place = take_apart(path)
    owner = place.owner
    if len(owner) < 2 or owner[0] != b"user" or not letters_fit(place):
        return None
    user = text(owner[1]).replace("^", ".")
    return user + "@" + text(place.domain) if place.domain else user


def may_hold_user(path: bytes, users: "frozenset[str]") -> bool:
    """Tell whether this folder, or one below it, may belong to one of the users; never known for `uuid`."""
    user = user_of(path)
    if user is not None:
        return user in users
    place = take_apart(path)
    if place.owner not in ([], [b"user"]):
        return False
    return any(_may_lead_to(place, user) for user in users)


def take_apart(path: bytes) -> Place:
    """Take the path apart by position alone; whether the letters fit is another question."""
    parts = path.split(b"/") if path else []
    domain_letter = domain = letter = b""
    if parts[:1] == [b"domain"]:
        del parts[0]
        domain_letter = _take_letter(parts)
        domain = parts.pop(0) if parts else b""
    # A domain tells whether the partition is hashed; without one, any top folder of one letter may be a hash.
    if bool(domain) == bool(domain_letter):
        letter = _take_letter(parts)
    return Place(domain_letter, domain, letter, parts)


def _take_letter(parts: "list[bytes]") -> bytes:
    return parts.pop(0) if parts and parts[0] in _LETTERS else b""


def letters_fit(place: Place) -> bool:
    """Tell whether the hash letters are those of the name: else they are folders named with one letter."""
    if place.domain_letter and place.domain_letter not in _letters(place.domain):
        return False
    if not place.letter:
        return not place.domain_letter
    return bool(place.name) and place.letter in _letters(place.name[:2][-1])


def _may_lead_to(place: Place, user: str) -> bool:
    """Tell whether a folder above the users' folders can have this user's below it."""
    local, _, domain = (part.encode("utf-8", "surrogateescape") for part in user.partition("@"))
    behind_domain = bool(place.domain or place.letter or place.name)
    if behind_domain and place.domain != domain:
        return False
    if place.domain_letter and (not domain or place.domain_letter not in _letters(domain)):
        return False
    if not place.letter:
        return True
    live = place.letter in _letters(local.replace(b".", b"^")) and not place.deleted
    # Deleted mailboxes of every user lie under one letter, that of the word "user".
    deleted = place.letter in _letters(b"user") and (place.deleted or not place.name)
    return live or deleted


@lru_cache(maxsize=4096)
def _letters(name: bytes) -> "frozenset[bytes]":
    """Return every letter that a version of Cyrus may have put the name under."""
    first = name[:1].lower()
    # Up to 2.5 all of `john^doe` is hashed, from 3.0 `john.doe` up to its dot; some 2.4 hash in 64 bits.
    spellings = {name.partition(b".")[0], name.partition(b"^")[0].partition(b".")[0]}
    return frozenset(
        [first if first in _LETTERS else b"q"]
        + [full_hash(spelling, word) for spelling in spellings for word in (WORD_32, WORD_64)]
    )


def full_hash(name: bytes, word: int) -> bytes:
    """Return the letter of `fulldirhash` (lib/util.c, dir_hash_c); `word` masks the integer in use."""
    value = 0
    for byte in name:
        value = (((value << 3) ^ (value >> 5)) ^ byte) & word
    return b"%c" % (ord("A") + value % 23)


def text(name: bytes) -> str:
    """Decode as the command line is decoded, so that users named there compare equal."""
    return name.decode("utf-8", "surrogateescape")
