"""What a pull asks for, in lists by which our rsync can check what the far end sends: that alone, and in little time.

Since 3.2.5 rsync's receiver looks in the list for each name that comes, from the end: long lists cost the square of
their length. And the list says less to it than it seems: it takes an entry with `*`, `?` or `[` for a pattern, and with
a directory whatever is in it for asked. With those it is given filter rules, which it holds the far end to as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from cyrsync.far.folder import join
from cyrsync.rsync import list_file

#: Entries of one list. One more rsync costs as much time as 5,000 names to check; a whole folder has three rules.
_NAMES, _OTHERS = 5_000, 500
_WILD = re.compile(rb"[*?[]")
#: What it reads as an escape, and then does not find what is called so.
_ESCAPE = re.compile(rb"\\[*?[\]]")
_ODD = re.compile(rb"[^\w./-]")
_SPECIAL = re.compile(rb"[\\*?[]")


class Own(bytes):
    """A directory's own entry, without what is in it."""


class OtherFile(bytes):
    """What is no file of Cyrus's: it may be of any kind."""


class Piece(NamedTuple):
    """Entries of one list, and the rules that rsync needs for them."""

    entries: Iterable[bytes]
    words: tuple[str, ...] = ()
    rules: Sequence[bytes] = ()  # the lines of a filter file; none where the list is enough
    files: bool = False  # whether none is known for anything but a file
    aliases: Sequence[bytes] = ()  # patterns to be listed, too, by which rsync finds what it would not


class _Kind(NamedTuple):
    whole: bool
    exact: bool
    stray: bool


def pieces(entries: Iterable[bytes], name: bytes = b"") -> Iterator[Piece]:
    """Part the entries of a list. An own entry whose directory has another entry right after it stays with that one.

    With a `name`, that is the tree's own in the transfer.
    """
    gathered: dict[_Kind, list[bytes]] = {}
    for entry in _needed(entries):
        exact = isinstance(entry, Own) or _is_wild(entry) or _is_wild(name)
        kind = _Kind(entry.endswith(b"/"), exact, isinstance(entry, OtherFile))
        some = gathered.setdefault(kind, [])
        some.append(entry)
        if len(some) == (_OTHERS if kind.whole or kind.exact else _NAMES):
            yield _piece(kind, gathered.pop(kind), name)
    for kind, some in gathered.items():
        yield _piece(kind, some, name)


def _needed(entries: Iterable[bytes]) -> Iterator[bytes]:
    own: Own | None = None
    for entry in entries:
        if own is not None and entry.rpartition(b"/")[0] != own:
            yield own
        own = entry if isinstance(entry, Own) else None
        if own is None:
            yield entry
    if own is not None:
        yield own


def _piece(kind: _Kind, entries: list[bytes], name: bytes) -> Piece:
    if not kind.exact:
        return Piece(entries, () if kind.whole else ("--no-dirs",), files=not kind.stray)
    aliases = tuple(_ODD.sub(b"?", entry) for entry in entries if _ESCAPE.search(entry))
    return Piece(entries, (), list(_rules(entries, name)), not kind.stray, aliases)


def _is_wild(path: bytes) -> bool:
    return bool(_WILD.search(path) or _ESCAPE.search(path))


def _rules(entries: Iterable[bytes], name: bytes) -> Iterator[bytes]:
    """Yield the rules by which nothing is sent but these entries and the directories that lead to them."""
    told: set[bytes] = set()
    for entry in entries:
        path = join(name, entry.rstrip(b"/")) if entry != list_file.ROOT else name
        above = path.rpartition(b"/")[0]
        while above and above not in told:
            yield b"S /" + _pattern(above) + b"/"
            told.add(above)
            above = above.rpartition(b"/")[0]
        whole = entry.endswith(b"/")
        if path:
            yield b"S /" + _pattern(path) + (b"/" if whole or isinstance(entry, Own) else b"")
        if whole:
            yield b"S /" + _SPECIAL.sub(rb"\\\g<0>", path) + b"/*"
    yield b"H *"


def _pattern(path: bytes) -> bytes:
    """Return what stands for this path alone: a backslash is one itself where no wildcard is."""
    return _SPECIAL.sub(rb"\\\g<0>", path) if _WILD.search(path) else path
