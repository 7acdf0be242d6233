"""What is fetched from a daemon: files that say which mailbox a folder is, and those that differ though listed alike.

A daemon's listing has whole seconds, and Cyrus changes metadata in place, often without another size: of two changes
within one second the listing shows only one. So rsync compares what looks alike with the tree here, to the nanosecond,
and fetches what differs. That takes an rsync here that compares so (3.1.3 and newer), and a daemon that sends
nanoseconds (3.1.0 and newer). Otherwise all of it is fetched, by rsync's delta algorithm, and compared here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox import header, index, regular_file
from cyrsync.ends.own_directory import remove_tree
from cyrsync.far.descent import Descent
from cyrsync.far.folder import Entry, Folder, Incarnation, join
from cyrsync.rsync import features

#: Metadata by name, as a listing has it.
Metadata = Mapping[bytes, "Entry | None"]
#: Fetches files by their paths, with these words for rsync, and returns what could not be had; b"" stands for all. The
#: number is how many bytes they have, by the listing.
Fetch = Callable[[Iterable[bytes], tuple[str, ...], int], set[bytes]]

_SECOND = 10**9
_EXACTLY, _ALL = "--modify-window=-1", "--ignore-times"
_BLOCK = 1 << 20


class Here(NamedTuple):
    """The other side's tree, which is on this machine."""

    root: bytes
    folders: Mapping[bytes, Folder]


class DaemonFiles:
    """Files of one listing."""

    def __init__(self, metadata: Mapping[bytes, Metadata], here: Here, copies: Path, fetch: Fetch) -> None:
        """`metadata` is that of each folder, by path. `fetch` fetches into the directory `copies`, which is ours."""
        self._here = here
        self._copies = bytes(copies)
        self._fetch = fetch
        self._descent = Descent(here.root)
        self._metadata = metadata
        self._mailboxes = [path for path, found in metadata.items() if {kinds.HEADER, kinds.INDEX} <= found.keys()]
        self._alike = {path for folder, found in metadata.items() for path in self._names_alike(folder, found)}
        self._fetched: set[bytes] = set()
        self._failed: set[bytes] = set()

    def fetch(self) -> None:
        """Fetch headers, indexes, and what is to be compared, as far as they are not the same here."""
        remove_tree(Path(os.fsdecode(self._copies)))
        os.mkdir(self._copies)
        wanted = {join(path, name) for path in self._mailboxes for name in (kinds.HEADER, kinds.INDEX)}
        if not self._alike:
            self._fetch_some(wanted, ())
            return
        compare = f"--compare-dest={os.fsdecode(self._here.root)}"
        exact = features.near().nanoseconds
        self._fetch_some(wanted | self._alike, (compare, _EXACTLY if exact else _ALL))
        if exact and not self._nanoseconds_are_sent():
            self._fetch_some(set(filter(self._is_here, self._alike)), (compare, _ALL))

    def differing(self) -> dict[bytes, frozenset[bytes]]:
        """Return by folder what is listed alike, but is not the same here, or could not be had."""
        found: dict[bytes, set[bytes]] = {}
        for path in sorted(self._alike):
            if not (self._is_here(path) or (path in self._fetched and self._has_same_bytes(path))):
                folder, _, name = path.rpartition(b"/")
                found.setdefault(folder, set()).add(name)
        self._descent.close()
        return {folder: frozenset(names) for folder, names in found.items()}

    def incarnations(self) -> dict[bytes, Incarnation]:
        """Return which mailbox each folder is, where header and index say it."""
        found = {path: self._incarnation(path) for path in self._mailboxes}
        self._descent.close()
        return {path: one for path, one in found.items() if one}

    def _names_alike(self, path: bytes, found: Metadata) -> Iterable[bytes]:
        folder = self._here.folders.get(path)
        both = kinds.SNAPSHOT.intersection(found, folder.metadata) if folder else ()
        return [join(path, name) for name in both if folder and _look_alike(found[name], folder.metadata[name])]

    def _fetch_some(self, paths: set[bytes], words: tuple[str, ...]) -> None:
        self._failed |= self._fetch(sorted(paths), words, sum(map(self._size, paths)))
        self._fetched |= {path for path in paths if os.path.lexists(self._copy(path))}

    def _size(self, path: bytes) -> int:
        folder, _, name = path.rpartition(b"/")
        entry = self._metadata[folder][name]
        return entry.size if entry else 0

    def _nanoseconds_are_sent(self) -> bool:
        """Return whether a time shows it: one that rsync found to be that of the file here, or of a file fetched."""
        times = [os.lstat(self._copy(path)).st_mtime_ns for path in self._fetched]
        for path in filter(self._is_here, self._alike):
            folder, _, name = path.rpartition(b"/")
            entry = self._here.folders[folder].metadata[name]
            times += [entry.mtime] if entry else []
        return any(time % _SECOND for time in times)

    def _is_here(self, path: bytes) -> bool:
        """Return whether rsync did not fetch a file because the one here is the same."""
        return path in self._alike and path not in self._fetched and not _is_within(path, self._failed)

    def _has_same_bytes(self, path: bytes) -> bool:
        try:
            return _have_same_bytes(self._copy(path), self._path_here(path))
        except OSError:
            return False

    def _incarnation(self, path: bytes) -> Incarnation | None:
        paths = join(path, kinds.HEADER), join(path, kinds.INDEX)
        near = self._here.folders.get(path)
        if near and near.incarnation and all(map(self._is_here, paths)):
            return near.incarnation
        uniqueid = header.uniqueid(self._start(paths[0], header.READ_SIZE))
        head = index.head(self._start(paths[1], index.READ_SIZE))
        return Incarnation(uniqueid, *head) if uniqueid and head else None

    def _start(self, path: bytes, size: int) -> bytes:
        try:
            return regular_file.start(self._path_here(path) if self._is_here(path) else self._copy(path), size)
        except OSError:
            return b""

    def _copy(self, path: bytes) -> bytes:
        return os.path.join(self._copies, path)

    def _path_here(self, path: bytes) -> bytes:
        """Return a path to a file of the tree here that leads nowhere else. Raise OSError."""
        folder, _, name = path.rpartition(b"/")
        return os.path.join(self._descent.where(folder), name)


def _look_alike(one: Entry | None, other: Entry | None) -> bool:
    """Return whether a listing in whole seconds shows no difference between two files that rsync can compare."""
    if not (one and other and stat.S_ISREG(one.mode) and stat.S_ISREG(other.mode)):
        return False
    return one.size == other.size <= regular_file.LARGEST and one.mtime // _SECOND == other.mtime // _SECOND


def _is_within(path: bytes, tops: set[bytes]) -> bool:
    """Return whether a path is one of these, or below one."""
    while path and path not in tops:
        path = path.rpartition(b"/")[0]
    return path in tops


def _have_same_bytes(one: bytes, other: bytes) -> bool:
    """Compare two regular files. Raise OSError."""
    with open(regular_file.opened(one)[0], "rb") as left, open(regular_file.opened(other)[0], "rb") as right:
        block = left.read(_BLOCK)
        while block == right.read(_BLOCK):
            if not block:
                return True
            block = left.read(_BLOCK)
    return False
