"""The uniqueid in `cyrus.header`, of every version.

Preamble of 115 bytes, then up to 3.4 a line `quotaroot TAB uniqueid`, from 3.6 one dlist line
`%(T e N name I uniqueid ...)` (imap/mailbox.c, mailbox_read_header and mailbox_commit_header).

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import re

MAGIC = b"\xa1\x02\x8b\x0dCyrus mailbox header\n"
PREAMBLE_SIZE = 115
#: A header is a few hundred bytes; its uniqueid stands in the first line after the preamble.
READ_SIZE = 8192
_TOKEN = re.compile(rb'"((?:[^"\\]|\\.)*)"|(%?\()|(\))|([^ ()"]+)', re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


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
    for token in _TOKEN.finditer(line):
        quoted, opening, closing, atom = token.groups()
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
