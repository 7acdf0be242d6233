"""Cyrus's own notation for nested values, as in mailboxes.db [2.5+] and cyrus.header [3.6+].

An atom, a "quoted string", a {6}CRLF literal, a (list), a %(key value ...) or NIL (imap/dlist.c, dlist_parse;
lib/prot.c, prot_printastring).

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import re
from typing import Dict, List, Union

#: NIL | atom, string or literal | (list) | %(key value ...)
Value = Union[None, bytes, List["Value"], Dict[bytes, "Value"]]

#: Real values have three levels: the list of former names in mailboxes.db.
_DEEPEST = 32
_SPACE = re.compile(rb"\s*")
_ATOM = re.compile(rb'[^\s()"\0]+')
_QUOTED = re.compile(rb'"([^"\\\r\n\0]*(?:\\[^\0][^"\\\r\n\0]*)*)"', re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_LITERAL = re.compile(rb"\{([0-9]{1,10})\+?\}\r\n")


class DlistError(ValueError):
    """What does not read as a dlist value, and at which byte."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"byte {offset}: {reason}")
        self.offset = offset
        self.reason = reason


def parse(data: bytes) -> Value:
    """Return the one value that the bytes hold, or raise DlistError."""
    value, end = _value(data, 0, 0)
    if end != len(data):
        raise DlistError(end, "more follows the value")
    return value


def _value(data: bytes, at: int, depth: int) -> "tuple[Value, int]":
    """Return the value that begins here, and where it ends."""
    if data.startswith(b"(", at):
        return _list(data, at + 1, _deeper(at, depth))
    if data.startswith(b"%(", at):
        return _pairs(data, at + 2, _deeper(at, depth))
    if data.startswith(b"%", at):
        raise DlistError(at, "a percent sign that begins no list")
    text, end = _string(data, at)
    return (None if data[at:end] == b"NIL" else text), end


def _deeper(at: int, depth: int) -> int:
    if depth == _DEEPEST:
        raise DlistError(at, "lists nested too deep")
    return depth + 1


def _list(data: bytes, at: int, depth: int) -> "tuple[list[Value], int]":
    found = []  # type: list[Value]
    at = _skip_space(data, at)
    while not data.startswith(b")", at):
        value, at = _value(data, at, depth)
        found.append(value)
        at = _skip_space(data, at)
    return found, at + 1


def _pairs(data: bytes, at: int, depth: int) -> "tuple[dict[bytes, Value], int]":
    found = {}  # type: dict[bytes, Value]
    at = _skip_space(data, at)
    while not data.startswith(b")", at):
        key, at = _string(data, at)
        value, at = _value(data, _skip_space(data, at), depth)
        # Of a key's several values Cyrus sees the first (dlist_getchild).
        found.setdefault(key, value)
        at = _skip_space(data, at)
    return found, at + 1


def _string(data: bytes, at: int) -> "tuple[bytes, int]":
    """Return an atom, a quoted string or a literal, and where it ends."""
    if data.startswith(b'"', at):
        quoted = _QUOTED.match(data, at)
        if not quoted:
            raise DlistError(at, "a quoted string without its end")
        return _ESCAPED.sub(rb"\1", quoted.group(1)), quoted.end()
    if data.startswith(b"{", at):
        return _literal(data, at)
    atom = _ATOM.match(data, at)
    if not atom:
        raise DlistError(at, "no value" if at < len(data) else "the end comes too early")
    return atom.group(), atom.end()


def _literal(data: bytes, at: int) -> "tuple[bytes, int]":
    opening = _LITERAL.match(data, at)
    if not opening:
        raise DlistError(at, "a literal without its length")
    end = opening.end() + int(opening.group(1))
    if end > len(data):
        raise DlistError(at, "a literal longer than what there is")
    return data[opening.end() : end], end


def _skip_space(data: bytes, at: int) -> int:
    space = _SPACE.match(data, at)
    return space.end() if space else at
