"""The uniqueid in `cyrus.header`, of every version.

Preamble of 115 bytes, then up to 3.4 a line `quotaroot TAB uniqueid`, from 3.6 one dlist line
`%(T e N name I uniqueid ...)` (imap/mailbox.c, mailbox_read_header and mailbox_commit_header).

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

MAGIC = b"\xa1\x02\x8b\x0dCyrus mailbox header\n"
PREAMBLE_SIZE = 115
#: A header is a few hundred bytes; its uniqueid stands in the first line after the preamble.
READ_SIZE = 8192


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
    position, expect_key, key = 2, True, b""
    while position < len(line):
        if line[position : position + 1] in (b" ", b")"):
            position += 1
            continue
        token, position = _token(line, position)
        if expect_key:
            key = token
        elif key == b"I":
            return token
        expect_key = not expect_key
    return b""


def _token(line: bytes, position: int) -> "tuple[bytes, int]":
    """Return one atom, quoted string or (skipped) list, and the position behind it."""
    if line[position : position + 1] == b'"':
        return _quoted(line, position + 1)
    if line[position : position + 1] == b"(" or line[position : position + 2] == b"%(":
        return b"", _behind_list(line, line.index(b"(", position) + 1)
    end = position
    while end < len(line) and line[end : end + 1] not in (b" ", b"(", b")"):
        end += 1
    return line[position:end], max(end, position + 1)


def _quoted(line: bytes, position: int) -> "tuple[bytes, int]":
    text = bytearray()
    while position < len(line) and line[position : position + 1] != b'"':
        if line[position : position + 1] == b"\\":
            position += 1
        text += line[position : position + 1]
        position += 1
    return bytes(text), position + 1


def _behind_list(line: bytes, position: int) -> int:
    depth = 1
    while position < len(line) and depth:
        byte = line[position : position + 1]
        if byte == b'"':
            position = _quoted(line, position + 1)[1]
            continue
        depth += {b"(": 1, b")": -1}.get(byte, 0)
        position += 1
    return position
