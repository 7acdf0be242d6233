"""Names of mailboxes for people, from a folder's path below a partition's root."""

from __future__ import annotations

import os
import re
from base64 import b64decode, b64encode

from cyrsync.cyrus.mailbox.user import Place, letters_fit, take_apart, text
from cyrsync.cyrus.server.layout import cut
from cyrsync.text import path_text, printable

#: RFC 3501, 5.1.3: printable ASCII for itself, `&-` for `&`, `&BASE64-` for the rest, never two in a row.
_MUTF7 = re.compile(rb"(?:[ -%'-~]|&-|&[A-Za-z0-9+,]+-(?!&[^-]))*")
_SHIFTED = re.compile(rb"&([A-Za-z0-9+,]*)-")


def mailbox_of(path: bytes) -> str:
    """Return the mailbox's name to show, as administrators write it: `user/jane/Sent Items@example.com`.

    Not yet safe on a terminal: see `text.printable`.
    """
    place = take_apart(path)
    if not place.name or not letters_fit(place):
        place = Place(b"", b"", b"", path.split(b"/"))
    name = "/".join(decode_mutf7(component).replace("^", ".") for component in place.name)
    return f"{name}@{text(place.domain)}" if place.domain else name


def shown_name(name: bytes) -> str:
    """Return Cyrus's own name of a mailbox in the same form; not yet safe on a terminal, either."""
    domain, local = cut(name)
    shown = "/".join(decode_mutf7(component).replace("^", ".") for component in local.split(b"."))
    return f"{shown}@{text(domain)}" if domain else shown


def mailbox_text(path: bytes, name: bytes, file: bytes = b"") -> str:
    """Return a directory below a partition's root, or a file in it, with the mailbox's name where that tells none."""
    shown = path_text(os.path.join(path, file) if file else path)
    told = not name or shown_name(name) == mailbox_of(path)
    return shown if told else f"{printable(shown_name(name))} ({shown})"


def decode_mutf7(component: bytes) -> str:
    """Decode modified UTF-7. What is not valid is given as it is, bytes beyond ASCII as `\\xNN`."""
    try:
        return _decode_mutf7(component)
    except ValueError:
        return component.decode("ascii", "backslashreplace")


def _decode_mutf7(component: bytes) -> str:
    if not _MUTF7.fullmatch(component):
        raise ValueError("not modified UTF-7")
    pieces = _SHIFTED.split(component)
    # split() alternates: text as it is, then the inside of one &...-
    return "".join(_unshift(part) if odd % 2 else part.decode("ascii") for odd, part in enumerate(pieces))


def _unshift(inside: bytes) -> str:
    """Decode what stands between `&` and `-`: UTF-16BE in unpadded base64, `,` for `/`, one valid form."""
    if not inside:
        return "&"
    raw = b64decode(inside + b"=" * (-len(inside) % 4), altchars=b"+,", validate=True)
    text = raw.decode("utf-16-be")
    if b64encode(raw, altchars=b"+,").rstrip(b"=") != inside or re.search("[ -~]", text):
        raise ValueError("not the one valid form")
    return text
