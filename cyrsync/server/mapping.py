"""Directories of the server that have their replicas elsewhere than below the prefix: `--map SOURCE_DIR=DEST_DIR`.

Whatever lies in SOURCE_DIR is sent to DEST_DIR. What a run deletes in one directory of the replica must never be what
another one holds, so two of them may lie in each other only as the server's do.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import permutations
from typing import TYPE_CHECKING

from cyrsync.errors import UnusableError, UsageError
from cyrsync.text import path_text

if TYPE_CHECKING:
    from cyrsync.cyrus.server.config import Config
    from cyrsync.ends.address import Address

#: Pairs of directories, absolute and normal: of the server, and where it has its replica.
Maps = tuple[tuple[bytes, bytes], ...]


def parse(texts: Sequence[str]) -> Maps:
    """Return what `--map` was given. Raise UsageError for what is no pair of directories."""
    found: dict[bytes, bytes] = {}
    for text in texts:
        source, mark, place = os.fsencode(text).partition(b"=")
        if not mark or not source.startswith(b"/") or not place.startswith(b"/"):
            raise UsageError(f"--map {text}: give SOURCE_DIR=DEST_DIR, both from / on")
        source, place = _normal(source), _normal(place)
        if b"/" in (source, place):
            raise UsageError(f"--map {text}: / cannot be mapped: name a directory of the server")
        if found.setdefault(source, place) != place:
            raise UsageError(f"--map {text}: {path_text(source)} is mapped to {path_text(found[source])} already")
    return tuple(sorted(found.items()))


def mapped(maps: Maps, path: bytes) -> bytes | None:
    """Return where something of the server has its replica, None where it is below the prefix."""
    path = _normal(path) if maps else path
    found = [(source, place) for source, place in maps if is_within(path, source)]
    if not found:
        return None
    source, place = max(found, key=lambda one: len(one[0]))
    return place + path[len(source) :]


def check_server(maps: Maps, replica: Address, config: Config, beside: Iterable[bytes]) -> None:
    """Raise UsageError for maps that do not fit a server; `beside` are its directories beside the partitions."""
    if maps:
        from cyrsync.server.roots import Roots  # the options need no more than the names

        partitions = [root for one in config.partitions.values() for root in Roots.of(one).all()]
        check(maps, replica.path, [*partitions, config.configdirectory, *beside], local=replica.local)


def check(maps: Maps, prefix: bytes, roots: Iterable[bytes], *, local: bool) -> None:
    """Raise UsageError for maps that do not fit a server with these roots, or that would have one overwrite another.

    `prefix` is the path of the destination, `local` if it is on this machine.
    """
    known = [_normal(root) for root in roots]
    for source, place in maps:
        if source not in known:
            names = ", ".join(map(path_text, sorted(set(known))))
            raise UsageError(f"{_text(source, place)}: the server has no such directory; it has {names}")
    refuse_overlaps(maps, [(root, _place(maps, prefix, root)) for root in known])
    if local:
        refuse_own(maps, prefix, known)


def refuse_overlaps(maps: Maps, pairs: Sequence[tuple[bytes, bytes]]) -> None:
    """Raise UsageError where two roots of the replica lie in each other, and not as those of the server do.

    The pairs are of the server's roots and those of the replica, both as they are written, or both with links resolved.
    """
    for (source, place), (other, outer) in permutations(dict.fromkeys(pairs), 2):
        if source == other or not is_within(place, outer):
            continue
        if is_within(source, other) and source[len(other) :] == place[len(outer) :]:
            continue
        raise UsageError(
            f"{_options(maps)}: {path_text(place)}, for {path_text(source)}, lies in {path_text(outer)}, "
            f"for {path_text(other)}: give each a directory of its own"
        )


def is_within(path: bytes, directory: bytes) -> bool:
    """Tell whether a path is a directory's, or of something below it, by the names alone."""
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")


def refuse_own(maps: Maps, prefix: bytes, roots: Sequence[bytes]) -> None:
    """Refuse a replica on this machine that would lie in the server itself, or around it.

    Raise UsageError where a map leads there, else UnusableError.
    """
    for root in roots:
        place = os.path.realpath(_place(maps, prefix, root))
        for own in map(os.path.realpath, roots):
            if is_within(place, own) or is_within(own, place):
                what = f"that is the server itself: {path_text(own)}"
                given = mapped(maps, root)
                if given:
                    raise UsageError(f"{_text(root, given)}: {what}")
                raise UnusableError(f"{path_text(prefix)}: {what}")


def _place(maps: Maps, prefix: bytes, root: bytes) -> bytes:
    return mapped(maps, root) or _normal(prefix.rstrip(b"/") + root)


def _normal(path: bytes) -> bytes:
    return b"/" + os.path.normpath(path).lstrip(b"/") if path.startswith(b"/") else os.path.normpath(path)


def _text(source: bytes, place: bytes) -> str:
    return f"--map {path_text(source)}={path_text(place)}"


def _options(maps: Maps) -> str:
    return " ".join(_text(*one) for one in maps)
