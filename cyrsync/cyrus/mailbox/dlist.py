"""Cyrus's own notation for nested values, as in mailboxes.db [2.5+] and cyrus.header [3.6+].

An atom, a "quoted string", a {6}CRLF literal, a (list), a %(key value ...) or NIL (imap/dlist.c, dlist_parse;
lib/prot.c, prot_printastring).

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import re
from typing import TYPE_CHECKING, Dict, List, Union

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: NIL | atom, string or literal | (list) | %(key value ...)
Value = Union[None, bytes, List["Value"], Dict[bytes, "Value"]]

#: Real values have three levels: the list of former names in mailboxes.db.
_DEEPEST = 32
_SPACE = re.compile(rb"\s*")
_ATOM = re.compile(rb'[^\s()"\0]+')
_QUOTED = re.compile(rb'"([^"\\\r\n\0]*(?:\\[^\0][^"\\\r\n\0]*)*)"', re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_LITERAL = re.compile(rb"\{([0-9]{1,10})\+?\}\r\n")
#: What is an atom to every parser of Cyrus's: flags, numbers, names of keys.
_PLAIN = re.compile(rb"\\?[A-Za-z0-9_$.+:-]+")
#: What a quoted string may hold as it is: printable ASCII and the tab, which parts the words of an ACL.
_QUOTABLE = re.compile(rb"[\t -~]{0,1000}")


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


def items(data: bytes, key: bytes) -> "Iterator[Value]":
    """Yield the members of the list under a key of the outermost `%(key value ...)`, one after the other.

    Other values are read and dropped: so a list of a million never becomes values all at once. Raise DlistError.
    """
    if not data.startswith(b"%("):
        raise DlistError(0, "no list of keys and values")
    at = _skip_space(data, 2)
    while not data.startswith(b")", at):
        name, at = _string(data, at)
        at = _skip_space(data, at)
        if name == key and data.startswith(b"(", at):
            at = _skip_space(data, at + 1)
            while not data.startswith(b")", at):
                value, at = _value(data, at, 2)
                yield value
                at = _skip_space(data, at)
            return
        _, at = _value(data, at, 1)
        at = _skip_space(data, at)


def spans(data: bytes, at: int = 0) -> "Iterator[tuple[bytes, int, int, int]]":
    """Yield, of a `%(key value ...)` that begins there, each key, and where it begins, its value begins, and that ends.

    Raise DlistError, also for what is no such list.
    """
    if not data.startswith(b"%(", at):
        raise DlistError(at, "no list of keys and values")
    start = _skip_space(data, at + 2)
    while not data.startswith(b")", start):
        key, end = _string(data, start)
        begin = _skip_space(data, end)
        _, end = _value(data, begin, 1)
        yield key, start, begin, end
        start = _skip_space(data, end)


def mentions(data: bytes, words: "Iterable[bytes]") -> bool:
    """Tell whether any of some words may be in values, however these are quoted."""
    plain = data.replace(b"\\", b"") if b"\\" in data else data
    return any(word in data or word in plain for word in words)


def encode(value: Value) -> bytes:
    """Return the bytes for a value, in the form that a client sends: literals are `{6+}`, which need no answer."""
    if value is None:
        return b"NIL"
    if isinstance(value, list):
        return b"(%s)" % b" ".join(map(encode, value))
    if isinstance(value, dict):
        pairs = [encode(key) + b" " + encode(item) for key, item in value.items()]
        return b"%%(%s)" % b" ".join(pairs)
    if _PLAIN.fullmatch(value) and value.upper() != b"NIL":
        return value
    if _QUOTABLE.fullmatch(value):
        return b'"%s"' % value.replace(b"\\", rb"\\").replace(b'"', rb"\"")
    return b"{%d+}\r\n%s" % (len(value), value)


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
        raise DlistError(at, "no value" if at < len(data) else "it ends too early")
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
