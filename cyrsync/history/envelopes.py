"""Who wrote a message, and about what: out of cyrus.cache, where a mailbox has it, else out of the message itself.

The cache holds an IMAP envelope for each message, behind its length in four bytes, in the notation of a dlist
(imap/mailbox.h, CACHE_ENVELOPE; imap/message.c, message_write_envelope). It belongs to an index of the same generation.
"""

from __future__ import annotations

import email.errors
import email.header
import email.parser
import email.policy
import os
import re
import struct
from contextlib import suppress
from dataclasses import dataclass

from cyrsync.cyrus.mailbox import dlist, entry, regular_file
from cyrsync.history import contents
from cyrsync.history.selected import Message, Selection

#: Bytes that are read of a cache at once, and at most; and of a message's header.
_USUAL, _LONGEST, _HEADER = 1024, 1 << 20, 1 << 16
_HEAD = struct.Struct(">I")
_ENCODED = b"=?"
#: How an envelope can begin, with its date.
_STARTS = (b'("', b"(NIL ", b"({")
#: What may stand between the words of a field in the cache otherwise than in the field.
_APART = re.compile(rb"[^a-z0-9._-]+")
_BLANKS = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is shown of a message; "" for what it does not have. Not yet safe on a terminal."""

    message_id: str
    sender: str  # `Joe Smith <joe@example.com>`
    subject: str


class Envelopes:
    """The envelopes of one mailbox's messages."""

    def __init__(self, selection: Selection) -> None:
        generation = selection.metadata[entry.INDEX][:4]
        self._descriptors = [_cache(path, generation) for path in selection.caches]

    def close(self) -> None:
        """Close the caches."""
        for descriptor in self._descriptors:
            if descriptor is not None:
                os.close(descriptor)
        self._descriptors.clear()

    def of(self, message: Message) -> Envelope:
        """Return what is known of a message; nothing for one that cannot be read."""
        return _envelope(self._cached(message), message)

    def matching(self, message: Message, text: str) -> Envelope | None:
        """Return the envelope of a message that has a text in its Message-ID, subject or sender, case aside."""
        data = self._cached(message)
        wanted = text.casefold()
        if data and text.isascii() and data.isascii() and _ENCODED not in data and b"\\" not in data:
            # Most messages are none that is looked for, and the bytes in the cache tell.
            lower = data.lower()
            if not all(word in lower for word in _APART.split(wanted.encode())):
                return None
        found = _envelope(data, message)
        fields = (found.message_id, found.sender, found.subject)
        return found if any(wanted in field.casefold() for field in fields) else None

    def _cached(self, message: Message) -> bytes:
        descriptor = self._descriptors[1 if message.archived else 0]
        if descriptor is None or not message.cache_offset:
            return b""
        try:
            data = os.pread(descriptor, _USUAL, message.cache_offset)
            if len(data) < _HEAD.size:
                return b""
            end = _HEAD.size + _HEAD.unpack_from(data)[0]
            if end > _LONGEST:
                return b""
            if end > len(data):
                data = os.pread(descriptor, end, message.cache_offset)
        except OSError:
            return b""
        found = data[_HEAD.size : end]
        return found if len(data) >= end and found.startswith(_STARTS) and found.endswith(b")") else b""


def _cache(path: bytes, generation: bytes) -> int | None:
    """Open a cache that belongs to an index; None for none."""
    try:
        descriptor, _ = regular_file.opened(path)
    except OSError:
        return None
    try:
        if os.read(descriptor, 4) == generation:
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _envelope(data: bytes, message: Message) -> Envelope:
    found = _parsed(data) if data else None
    return found or _of_header(contents.start(message, _HEADER))


def _parsed(data: bytes) -> Envelope | None:
    """Return what an IMAP envelope says; None for what is none."""
    try:
        fields = dlist.parse(data)
    except dlist.DlistError:
        return None
    if not isinstance(fields, list) or len(fields) != 10:
        return None
    return Envelope(_text(fields[9]), _address(fields[2]), _text(fields[1]))


def _address(value: dlist.Value) -> str:
    """Return the first of some addresses: name, route, mailbox and host each."""
    first = value[0] if isinstance(value, list) and value else None
    if not isinstance(first, list) or len(first) != 4:
        return ""
    name, mailbox, host = (_text(first[number]) for number in (0, 2, 3))
    address = f"{mailbox}@{host}" if host else mailbox
    return f"{name} <{address}>" if name else address


def _of_header(data: bytes) -> Envelope:
    message = email.parser.BytesHeaderParser(policy=email.policy.compat32).parsebytes(data)
    fields = [message.get(name) for name in ("message-id", "from", "subject")]
    return Envelope(*(_decoded(str(field)) if field else "" for field in fields))


def _text(value: dlist.Value) -> str:
    if not isinstance(value, bytes):
        return ""
    try:
        return _decoded(value.decode("utf-8"))
    except UnicodeDecodeError:
        return _decoded(value.decode("latin-1"))


def _decoded(text: str) -> str:
    """Return a header's value in one line, encoded words decoded."""
    if "=?" in text:
        with suppress(email.errors.HeaderParseError, LookupError, UnicodeError, ValueError):
            text = str(email.header.make_header(email.header.decode_header(text)))
    return _BLANKS.sub(" ", text).strip()
