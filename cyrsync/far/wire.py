"""What arrives over a connection, checked where it is decoded: the other end may be in wrong hands.

Every name, path, number and length of either direction passes through here. Whatever is wrong with them is one error.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import json
import re
import sys
from functools import lru_cache, wraps
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import IO, Any, Callable, TypeVar

    Decoded = TypeVar("Decoded")

#: Bytes of one line. What a folder of 350,000 sub-folders and other files takes, and about 25 times as much once read.
MAX_LINE = 32 << 20
#: Values in one line, each behind a comma or a bracket: a few bytes of compressed data could be gigabytes otherwise.
MAX_VALUES = 3_000_000
#: Bytes of one file that is sent as a whole: the other end reads no more of it, either (see regular_file).
MAX_FILE = 4 << 30
#: Bytes that tell the message files of one folder: no file system has so many in one directory.
MAX_MESSAGES = 256 << 20
MAX_ERRNO = 4095  # of Linux: above begin addresses
MAX_SIZE = (1 << 63) - 1  # off_t
#: A time in nanoseconds of which time_t has the seconds.
MAX_TIME = ((1 << 63) - 1) * 10**9
MAX_BOOT = 100  # characters of what names a boot of a host
_MAX_TEXT = 1 << 16
_MAX_PATH = 1 << 20
_MAX_ID = (1 << 32) - 2  # the very last uid means "leave it" to chown(2)
_SHOWN = 60

_NUMBER = re.compile("[0-9]{1,20}", re.ASCII)
#: Digits of one number that Python reads; before 3.10.7 it reads more, and takes hours.
_DIGITS = 4300
_HAS_NO_END = not hasattr(sys, "get_int_max_str_digits")
_BEFORE_VALUES = (b",", b"[", b"{")
_ZEROS = bytes.maketrans(b"123456789", b"000000000")
#: The components that no path has: none at all, `.` and `..`; and NUL.
_BAD_PATH = re.compile(rb"(?:\A|/)\.{0,2}(?:/|\Z)|\0")
#: The same of names in a row, each ended by NUL.
_BAD_NAME = re.compile(rb"(?:\A|\0)\.{0,2}\0|/")
#: What a user's or a group's name cannot have in it: what parts the fields, controls, and what no file name decodes to.
_BAD_OWNER = re.compile("[:\0-\x1f\x7f\ud800-\udc7f\udd00-\udfff]")
#: What a decoder may stumble over.
WRONG = (TypeError, ValueError, LookupError, AttributeError, OverflowError, RecursionError)


class WireError(ValueError):
    """Something came over a connection that cannot be right."""


def one_error(decode: "Callable[..., Decoded]") -> "Callable[..., Decoded]":
    """Have a decoder raise WireError for whatever is wrong, and EOFError where the stream ends in it."""

    @wraps(decode)
    def checked(*args: "Any", **kwargs: "Any") -> "Decoded":
        try:
            return decode(*args, **kwargs)
        except WireError:
            raise
        except WRONG as error:
            raise WireError("{}: {}".format(type(error).__name__, shown(str(error)))) from None

    return checked


def shown(value: "str | bytes") -> str:
    """Return the beginning of what somebody else chose, in plain ASCII."""
    text = value[:_SHOWN].decode("latin-1") if isinstance(value, bytes) else value[:_SHOWN]
    return text.encode("unicode_escape").decode("ascii") + ("..." if len(value) > _SHOWN else "")


def read_line(stream: "IO[bytes]") -> bytes:
    """Return a line, its end and all. Raise WireError for one without an end, EOFError where the stream ends."""
    line = stream.readline(MAX_LINE)
    if line.endswith(b"\n"):
        return line
    if len(line) >= MAX_LINE:
        raise WireError("a line of more than {} bytes".format(MAX_LINE))
    raise EOFError


def read_data(stream: "Any", size: "Any", most: int) -> bytes:
    """Return so many bytes, `most` at the most. Raise EOFError where the stream ends before."""
    if type(size) is not int or not 0 <= size <= most:
        number(size, most)
    data = stream.read(size) if size else b""
    if len(data) != size:
        raise EOFError
    return data


def read_record(stream: "IO[bytes]") -> "Any":
    """Return what a line of JSON says. Raise WireError, or EOFError."""
    return parse(read_line(stream))


@one_error
def parse(line: bytes) -> "Any":
    """Return what a line of JSON says."""
    if not fits(line):
        raise WireError("a line of more than {} values".format(MAX_VALUES))
    if _HAS_NO_END and has_digits(line, _DIGITS):
        raise WireError("a number of more than {} digits".format(_DIGITS))
    return json.loads(line.decode("ascii"))


def fits(line: bytes) -> bool:
    """Tell whether a line is one that the other end reads."""
    return len(line) <= MAX_LINE and (len(line) <= MAX_VALUES or sum(map(line.count, _BEFORE_VALUES)) <= MAX_VALUES)


def has_digits(text: bytes, number: int) -> bool:
    """Tell whether there are so many digits in a row."""
    return len(text) >= number and b"0" * number in text.translate(_ZEROS)


def number(value: "Any", most: int, least: int = 0) -> int:
    """Return a whole number that is within its bounds."""
    if type(value) is not int or not least <= value <= most:
        raise WireError("a number out of bounds: " + shown(repr(value)))
    return value


def flag(value: "Any") -> bool:
    """Return what is true or false."""
    if type(value) is not bool:
        raise WireError("neither true nor false: " + shown(repr(value)))
    return value


def text(value: "Any", most: int = _MAX_TEXT) -> str:
    """Return text of bounded length."""
    if type(value) is not str or len(value) > most:
        raise WireError("no text, or too long: " + shown(repr(value)))
    return value


def list_of(value: "Any", most: int = MAX_LINE) -> "list[Any]":
    """Return a list of bounded length."""
    if type(value) is not list or len(value) > most:
        raise WireError("no list, or too long: " + shown(repr(value)))
    return value


@one_error
def path(value: "Any") -> bytes:
    """Return the bytes of a path below a root, whatever the components are called; b"" is the root itself."""
    return checked_path(text(value, _MAX_PATH).encode("latin-1"))


def checked_path(found: bytes) -> bytes:
    """Return a path below a root; b"" is the root itself. Raise WireError for one that leads elsewhere."""
    if found and _BAD_PATH.search(found):
        raise WireError("a path that leads elsewhere: " + shown(found))
    return found


def checked_name(found: bytes) -> bytes:
    """Return a name in a directory. Raise WireError for what is none."""
    if b"\0" in found or _BAD_NAME.search(found + b"\0"):
        raise WireError("a name that cannot be one: " + shown(found))
    return found


@one_error
def whole_path(value: "Any") -> bytes:
    """Return the bytes of a path that begins at the root of the system, or where its user is at home."""
    found = text(value, _MAX_PATH).encode("latin-1")
    if b"\0" in found:
        raise WireError("a path with a NUL in it: " + shown(found))
    return found


@one_error
def names(values: "Any") -> "list[bytes]":
    """Return the bytes of names in a directory."""
    if not list_of(values):
        return []
    joined = "\0".join(values).encode("latin-1")
    found = joined.split(b"\0")
    if len(found) != len(values) or _BAD_NAME.search(joined + b"\0"):
        raise WireError("a name that cannot be one, among: " + shown(joined))
    return found


def unhidden(found: "list[bytes]") -> "list[bytes]":
    """Return names, of which none may begin with a dot: those are nobody's to send or to delete."""
    if any(name.startswith(b".") for name in found):
        raise WireError("a hidden name, among: " + shown(b" ".join(found)))
    return found


@one_error
@lru_cache(maxsize=1024)
def owner(value: str) -> str:
    """Return `uid:gid:user:group`."""
    uid, gid, user, group = text(value, 1024).split(":")
    for digits in (uid, gid):
        if not _NUMBER.fullmatch(digits) or int(digits) > _MAX_ID:
            raise WireError("no owner: " + shown(value))
    if not (is_owner_name(user) and is_owner_name(group)):
        raise WireError("no owner: " + shown(value))
    return value


def is_owner_name(name: str) -> bool:
    """Tell whether a user's or a group's name can be sent."""
    return len(name) < 256 and not _BAD_OWNER.search(name)


def above(paths: "list[bytes]", folder: bytes) -> None:
    """See that the paths are those that lead to a folder, the root first, its own last."""
    parts = folder.split(b"/") if folder else []
    leads = (path == b"/".join(parts[:depth]) for depth, path in enumerate(paths))  # one at a time: all may be too much
    if len(paths) != len(parts) + 1 or not all(leads):
        raise WireError("directories that do not lead to {}".format(shown(folder)))
