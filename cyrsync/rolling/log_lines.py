"""The lines of Cyrus's sync log: what each names, and whether all of them can be believed.

A line is a word, a blank, and one or two names, each as it is, in quotes, or as a literal (imap/sync_log.c of 2.3 to
3.13). A log is a hint: a line that was torn when a disk was full, one that another line was glued to, or a word that is
not known here says no more than that something was lost. Whoever reads it looks at all mailboxes then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from cyrsync.text import path_text


class Kind(Enum):
    """What a change is of."""

    MAILBOX = "mailbox"  # its messages and metadata
    USER = "user"  # all mailboxes of a user, and the user's files
    FILES = "files"  # the files of a user, or without a name, those of all
    ALL = "all"  # the whole server: the log does not tell what


class Change(NamedTuple):
    """What has changed: the internal name of a mailbox, or that of a user; b"" where there is no name."""

    kind: Kind
    name: bytes


@dataclass(slots=True)
class Lines:
    """What a log says."""

    #: What has changed, in the order of the first lines; False where another line is yet to come: an APPEND is logged
    #: before the index has the message.
    changes: dict[Change, bool] = field(default_factory=dict)
    relist: bool = False  # mailboxes were renamed or deleted, or users were
    moved: set[bytes] = field(default_factory=set)  # such mailboxes, by the names that they had and have
    doubts: list[str] = field(default_factory=list)  # why the log cannot be believed; the first few


class _Word(NamedTuple):
    """What a word of the log stands for, and of which of its names."""

    kinds: tuple[Kind | None, ...]
    relist: bool = False


_MAILBOX, _USER, _FILES = (_Word((kind,)) for kind in (Kind.MAILBOX, Kind.USER, Kind.FILES))
#: Words of all versions. SIEVE and UNSUB are known to readers only: an UNSUB is more likely half an UNMAILBOX with
#: a SUB behind it. A quota's root is no user, and server annotations are in one file: these are everybody's.
_WORDS = {
    b"MAILBOX": _MAILBOX,
    b"APPEND": _MAILBOX,
    b"ACL": _MAILBOX,
    b"UNMAILBOX": _Word((Kind.MAILBOX,), relist=True),
    b"RENAME": _Word((Kind.MAILBOX, Kind.MAILBOX), relist=True),
    b"DOUBLEMAILBOX": _Word((Kind.MAILBOX, Kind.MAILBOX)),
    b"USER": _USER,
    b"UNUSER": _Word((Kind.USER,), relist=True),
    b"META": _FILES,
    b"SIEVE": _FILES,
    b"SEEN": _Word((Kind.FILES, None)),
    b"SUB": _Word((Kind.FILES, None)),
    b"UNSUB": _Word((Kind.FILES, None), relist=True),
    b"QUOTA": _FILES,
    b"ANNOTATION": _FILES,
}
_OF_ALL = frozenset([b"QUOTA", b"ANNOTATION"])
_END = re.compile(rb"\r?\n")
_PLAIN = re.compile(rb'[^ \r\n"{\0][^ \r\n"\0]*')
_QUOTED = re.compile(rb'"((?:[^"\\\r\n\0]|\\[^\r\n\0])*)"')
_LITERAL = re.compile(rb"\{([0-9]{1,6})\+?\}\r?\n")
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
#: What a name may end in that is the beginning of another line.
_GLUED = tuple(sorted(_WORDS))
_FEW, _SHOWN = 5, 80  # doubts, and bytes of a line in one


def parse(data: bytes) -> Lines:
    """Return what the lines of a log say; a last one without its end was torn."""
    found = Lines()
    at = 0
    while at < len(data):
        end = _END.match(data, at)
        if end:
            at = end.end()
            continue
        words, after = _words(data, at)
        reason = _take(words, found) if words else "not a line of a sync log"
        if reason:
            newline = data.find(b"\n", at)
            after = newline + 1 if newline >= 0 else len(data)
            if len(found.doubts) < _FEW:
                found.doubts.append(f"{path_text(data[at:after].rstrip()[:_SHOWN])}: {reason}")
        at = after
    return found


def _words(data: bytes, at: int) -> tuple[list[bytes], int]:
    """Return the words of a line, and where the next one begins; no words for what is not a whole line."""
    words: list[bytes] = []
    while True:
        word, at = _word(data, at)
        if word is None:
            return [], at
        words.append(word)
        if data[at : at + 1] == b" ":
            at += 1
            continue
        end = _END.match(data, at)
        return (words, end.end()) if end else ([], at)


def _word(data: bytes, at: int) -> tuple[bytes | None, int]:
    match = _PLAIN.match(data, at)
    if match:
        return match[0], match.end()
    match = _QUOTED.match(data, at)
    if match:
        return _ESCAPED.sub(rb"\1", match[1]), match.end()
    match = _LITERAL.match(data, at)
    if not match:
        return None, at
    end = match.end() + int(match[1])
    return (data[match.end() : end], end) if end <= len(data) else (None, at)


def _take(words: list[bytes], found: Lines) -> str:
    """Note what a line says; return why it cannot be believed, "" if it can."""
    word, names = words[0].upper(), words[1:]
    meaning = _WORDS.get(word)
    if meaning is None:
        return "an unknown word"
    if len(names) != len(meaning.kinds):
        return "torn, or two lines in one"
    if len(names) > 1 and names[0].endswith(_GLUED):
        return "two lines in one"
    found.relist = found.relist or meaning.relist
    for kind, name in zip(meaning.kinds, names, strict=True):
        if word in _OF_ALL:
            name = b""
        elif not name:
            continue  # Cyrus's own reader skips these, too
        if kind:
            change = Change(kind, name)
            found.changes[change] = found.changes.get(change, False) or word != b"APPEND"
            if meaning.relist:
                found.moved.add(name)
    return ""
