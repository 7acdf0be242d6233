"""Mail restored as a Maildir, folders below it as those of Maildir++ (as Dovecot and Courier have them).

A message has its INTERNALDATE as its mtime, and its flags in its name; names of user flags are in `dovecot-keywords`.
Its name is derived from the message, so that a repeated restore writes only what is missing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from cyrsync.history.destinations import Place, maildir
from cyrsync.history.outcome import MailboxRestore
from cyrsync.history.selected import Message, Selection
from cyrsync.history.target import Target, is_whole, names_in

#: Flags by their letters.
_LETTERS = {"\\Draft": "D", "\\Flagged": "F", "\\Answered": "R", "\\Seen": "S", "\\Deleted": "T"}
#: What Dovecot calls the file, a number and a name in a line: the number's letter is in the names of files.
_KEYWORDS = b"dovecot-keywords"
_MOST_KEYWORDS = 26
_NAME = re.compile(r"[^\s\x00-\x1f\x7f]+")
_KEYWORD = re.compile(r"([0-9]{1,3}) (\S+)")


class _Folder(NamedTuple):
    """Descriptors of a Maildir's directories."""

    new: int
    cur: int
    tmp: int
    top: int


def write(target: Target, selection: Selection, place: Place, restore: MailboxRestore) -> None:
    """Write a mailbox's messages. Raise NotWritten."""
    folder = [*place.above, *maildir(place.parts)]
    if place.parts:
        _close(_make(target, list(place.above)))
    made = _make(target, folder)
    try:
        letters = _letters(target, made.top, selection)
        there = {name.partition(b":2,")[0]: (part, name) for part in (made.cur, made.new) for name in names_in(part)}
        unnamed: set[str] = set()
        for message in selection.messages():
            base = unique_name(message, selection.mailbox.uidvalidity)
            old = there.get(base)
            if old and is_whole(*old, message):
                restore.present()
                continue
            unnamed.update(flag for flag in message.flags if flag not in letters)
            info = "".join(sorted(letters[flag] for flag in message.flags if flag in letters)).encode()
            to, name = old or (made.cur, b"%s:2,%s" % (base, info))
            target.write_message(made.tmp, name, message, restore, to)
        if unnamed:
            restore.warn(f"a Maildir cannot hold these flags, so they are lost: {' '.join(sorted(unnamed))}")
    finally:
        _close(made)


def unique_name(message: Message, uidvalidity: int) -> bytes:
    """Return a message's name without its flags."""
    guid = message.guid.hex() if message.guid else "0"
    return f"{message.internaldate}.V{uidvalidity}U{message.uid}.{guid},S={message.size}".encode()


def _make(target: Target, names: Sequence[bytes]) -> _Folder:
    """Make a Maildir. Raise NotWritten."""
    parts = [target.directory([*names, *below]) for below in ((b"new",), (b"cur",), (b"tmp",), ())]
    made = _Folder(*parts)
    if names and names[-1].startswith(b"."):
        target.write(made.top, b"maildirfolder", [])  # by which Courier knows it from one by itself
    return made


def _close(made: _Folder) -> None:
    for descriptor in made:
        os.close(descriptor)


def _letters(target: Target, folder: int, selection: Selection) -> dict[str, str]:
    """Write the names of the user flags there are, and return the letter of each flag."""
    try:
        there = target.read(folder, _KEYWORDS)
    except OSError:
        there = b""
    lines = there.decode("latin-1").splitlines()
    # Numbers that were given before stay: names of files have their letters.
    known = {int(match[1]): match[2] for line in lines if (match := _KEYWORD.fullmatch(line))}
    named = [flag.decode("latin-1") for flag in selection.mailbox.user_flags if flag]
    new = [name for name in dict.fromkeys(named) if _NAME.fullmatch(name) and name not in known.values()]
    free = [number for number in range(_MOST_KEYWORDS) if number not in known]
    known.update(zip(free, new, strict=False))
    if known:
        text = "".join(f"{number} {name}\n" for number, name in sorted(known.items())).encode("latin-1")
        if text != there:
            target.write_durably(folder, _KEYWORDS, text)
    keywords = {name: chr(ord("a") + number) for number, name in known.items() if number < _MOST_KEYWORDS}
    return {**_LETTERS, **keywords}
