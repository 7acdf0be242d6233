"""Which directory below DIR a mailbox is restored to. Pure, and whatever its users called it, never outside of DIR.

One mailbox or one user has DIR itself; of many users each has `user/NAME`, and what is nobody's is in `shared`.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

from cyrsync.cyrus.mailbox.user import DELETED
from cyrsync.cyrus.server import layout
from cyrsync.cyrus.server.names import decode_mutf7
from cyrsync.history.choose import Request, former_name

#: What file names may not hold, or terminals not show; `%` stands before what was there instead.
_UNSAFE = re.compile(rb"[\x00-\x1f\x7f/%]")
#: Bytes that the name of a directory may have on all file systems, and of those that are kept where it is longer.
_LONGEST, _KEPT = 255, 200


class Place(NamedTuple):
    """Where a mailbox is restored to: directories in front of a Maildir, and the parts of its name below that."""

    above: tuple[bytes, ...] = ()
    parts: tuple[bytes, ...] = ()


def safe(component: bytes) -> bytes:
    """Return a name for a directory; another one for each component: `%2f` for a slash, `%` for nothing at all."""
    if component in (b".", b".."):
        return component.replace(b".", b"%2e")
    return _UNSAFE.sub(lambda match: b"%%%02x" % match[0][0], component) or b"%"


def safe_text(component: bytes) -> bytes:
    """Return a name for people, out of modified UTF-7: another one for each component."""
    if not component.isascii():
        return b"".join(safe(b"%c" % byte) if byte < 0x80 else b"%%%02x" % byte for byte in component)
    text = decode_mutf7(component)
    if text == component.decode("ascii"):  # with a `&` in it, it is not valid: what `&-` stands for is written so
        return safe(component).replace(b"&", b"%26")
    return b"".join(map(_shown, text))


def maildir(parts: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return the directories of a folder in a Maildir, by the parts of its name below that: those of Maildir++."""
    return (_short(b"." + b".".join(map(safe, parts))),) if parts else ()


def nested(parts: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return the directories of a folder of files, each in the one that it is below of."""
    return tuple(_short(safe_text(part)) for part in parts)


def as_on_disk(parts: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return the directories of a folder as Cyrus would name them."""
    return tuple(_short(safe(part)) for part in parts)


def place(mailbox: bytes, request: Request, top: bytes | None, prefix: bytes = DELETED) -> Place:
    """Return where a mailbox is restored to, of a user who is gone under the name that it had before.

    `top` is the one that was named, `prefix` imapd.conf's deletedprefix.
    """
    name = mailbox if request.user is None else former_name(mailbox, prefix) or mailbox
    if request.message is not None or name == top:
        return Place()
    if top is not None and name.startswith(top + b"."):
        return Place(parts=tuple(name[len(top) + 1 :].split(b".")))
    domain, local = layout.cut(name)
    parts = tuple(local.split(b"."))
    owner = layout.user_of_name(name)
    if request.user is not None and owner is not None:
        return Place(parts=parts[2:])
    if owner is not None:
        return Place((b"user", _short(safe(owner))), parts[2:])
    return Place((b"shared",), ((domain,) if domain else ()) + parts)


def _shown(char: str) -> bytes:
    code = char.encode("utf-8", "surrogateescape")
    return code if char.isprintable() and char not in "/%" else b"".join(b"%%%02x" % byte for byte in code)


def _short(name: bytes) -> bytes:
    """Return a name that fits; of a longer one its beginning, and a digest of all of it."""
    if len(name) <= _LONGEST:
        return name
    return name[:_KEPT] + b"%%~%s" % hashlib.sha1(name, usedforsecurity=False).hexdigest().encode()
