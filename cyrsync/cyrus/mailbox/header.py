"""What `cyrus.header` says, in every version: the uniqueid alone, or all of it.

Preamble of 115 bytes, then up to 3.4 three lines (`quotaroot TAB uniqueid`, the user flags each followed by a blank,
the ACL as `id TAB rights TAB ...`), from 3.6 one dlist line `%(T e N name I uniqueid Q quotaroot A %(id rights ...)
U (flag ...))` (imap/mailbox.c, mailbox_read_header and mailbox_commit_header).

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import re
from typing import NamedTuple

MAGIC = b"\xa1\x02\x8b\x0dCyrus mailbox header\n"
PREAMBLE_SIZE = 115
#: A header is a few hundred bytes; its uniqueid stands in the first line after the preamble.
READ_SIZE = 8192
_TOKEN = re.compile(rb'"((?:[^"\\]|\\.)*)"|(%?\()|(\))|([^ ()"]+)', re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
#: User flags that an index has room for (MAX_USER_FLAGS); Cyrus reads no further.
_MOST_FLAGS = 128


class Header(NamedTuple):
    """A cyrus.header taken apart.

    `flags` are the names of the user flags by bit number, None for a number that has no name. Up to 3.4 a freed number
    is not written, and the names behind it move up. `name` (internal, `user.joe.Sent`) and `mbtype` (letters, first `e`
    for e-mail) are None and "" before 3.6.
    """

    quotaroot: "bytes | None"
    uniqueid: str
    flags: "tuple[bytes | None, ...]"
    acl: "tuple[tuple[bytes, bytes], ...]"
    name: "bytes | None"
    mbtype: str


class HeaderError(ValueError):
    """What is no cyrus.header, and at which byte."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"byte {offset}: {reason}")
        self.offset = offset
        self.reason = reason


def uniqueid(data: bytes) -> "str":
    """Return the uniqueid in the first bytes of a cyrus.header, or "" when there is none to be had."""
    if not data.startswith(MAGIC) or len(data) <= PREAMBLE_SIZE:
        return ""
    line, newline, _ = data[PREAMBLE_SIZE:].partition(b"\n")
    if not newline:
        return ""
    found = _from_dlist(line) if line.startswith(b"%(") else line.partition(b"\t")[2]
    found = found.strip()
    return found.decode("latin-1") if found and found != b"NIL" else ""


def _from_dlist(line: bytes) -> bytes:
    """Return the value of the key `I`: keys and values alternate, values may be quoted or lists."""
    depth, key = 0, None
    for owner_file in _TOKEN.finditer(line):
        quoted, opening, closing, atom = owner_file.groups()
        if opening or closing:
            depth += 1 if opening else -1
        if depth != 1 or opening:
            continue
        # A list that has just ended is a value, too, though never the one that is looked for.
        value = atom or _ESCAPED.sub(rb"\1", quoted or b"")
        if key == b"I":
            return value
        key = value if key is None else None
    return b""


def read(data: bytes) -> Header:
    """Return what a whole cyrus.header says, or raise HeaderError. Nothing in it is protected by a checksum.

    (The index does hold a CRC of the whole file, from minor version 12 on: IndexHeader.header_file_crc.)
    """
    if not data.startswith(MAGIC):
        raise HeaderError(0, "no cyrus.header")
    line = _line(data, PREAMBLE_SIZE)
    return _read_dlist(line) if line.startswith(b"%") else _read_lines(data, line)


def _line(data: bytes, at: int) -> bytes:
    """Return the line that begins here; what follows the last one Cyrus does not look at."""
    end = data.find(b"\n", at)
    if end < 0:
        raise HeaderError(len(data), "it ends too early")
    return data[at:end]


def _read_lines(data: bytes, first: bytes) -> Header:
    flags_at = PREAMBLE_SIZE + len(first) + 1
    flags = _line(data, flags_at)
    acl_at = flags_at + len(flags) + 1
    words = _line(data, acl_at).split(b"\t")
    if words[-1] == b"":
        del words[-1]
    if len(words) % 2:
        raise HeaderError(acl_at, "an id without rights")
    quotaroot, _, rest = first.partition(b"\t")
    uniqueid = rest.partition(b"\t")[0].decode("latin-1")
    if not uniqueid:
        raise HeaderError(PREAMBLE_SIZE + len(quotaroot), "no uniqueid")
    names = flags.split(b" ")[:_MOST_FLAGS]
    if names[-1] == b"":
        del names[-1]
    acl = tuple(zip(words[::2], words[1::2]))
    return Header(quotaroot or None, uniqueid, tuple(name or None for name in names), acl, None, "")


def _read_dlist(line: bytes) -> Header:
    # Imported here, because the agent at the far end looks for uniqueids only and is not sent it.
    from cyrsync.cyrus.mailbox import dlist

    try:
        found = dlist.parse(line)
    except dlist.DlistError as error:
        raise HeaderError(PREAMBLE_SIZE + error.offset, error.reason) from None
    pairs = found if isinstance(found, dict) else {}
    texts = {key: value for key, value in pairs.items() if isinstance(value, bytes)}
    acl, flags = pairs.get(b"A") or {}, pairs.get(b"U") or []
    if not texts.get(b"I"):
        raise HeaderError(PREAMBLE_SIZE, "no uniqueid")
    if not isinstance(acl, dict) or not isinstance(flags, list):
        raise HeaderError(PREAMBLE_SIZE, "no list where one should be")
    return Header(
        quotaroot=texts.get(b"Q") or None,
        uniqueid=texts[b"I"].decode("latin-1"),
        flags=tuple(name if isinstance(name, bytes) else None for name in flags[:_MOST_FLAGS]),
        acl=tuple((user, rights) for user, rights in acl.items() if isinstance(rights, bytes)),
        name=texts.get(b"N"),
        mbtype=texts.get(b"T", b"").decode("latin-1"),
    )
