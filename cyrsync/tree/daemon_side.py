"""A side behind an rsync daemon: rsync's own listing, and the files that tell which mailbox a folder is."""

from __future__ import annotations

import calendar
import math
import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cyrsync import process
from cyrsync.audit.finding import Audited
from cyrsync.cyrus import entry as kinds
from cyrsync.cyrus import header, index, regular_file
from cyrsync.cyrus.user import user_of
from cyrsync.errors import CONNECTION_CODES, ConnectionFailed, Exit, UnusableError, UsageError
from cyrsync.rsync import full_daemon, list_file, messages
from cyrsync.tree import token
from cyrsync.tree.address import Address
from cyrsync.tree.folder import Entry, Folder, Incarnation, join, sort_key
from cyrsync.tree.message_files import MessageFiles
from cyrsync.tree.side import Rights, Status, WithoutAgent

_LINE = re.compile(rb"([-dlcbps][-rwxsStT]{9})[+.]?\s+([\d,.]+)\s+(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) (.*)\Z", re.DOTALL)
_KINDS = {
    b"-": 0o100000,
    b"d": 0o040000,
    b"l": 0o120000,
    b"c": 0o020000,
    b"b": 0o060000,
    b"p": 0o010000,
    b"s": 0o140000,
}
_OWNER = os.fsdecode(token.NAME)
_NO_SUCH_PLACE = (b"No such file or directory", b"Not a directory", b"Unknown module")


class DaemonSide(WithoutAgent):
    """A tree that only rsync can look at. Listings have times in whole seconds, and no owners."""

    can_remove = False
    can_take = False
    wants_other = True
    rights = Rights()

    def __init__(self, address: Address, words: tuple[str, ...], directory: Path, silence: float = 0.0) -> None:
        """`words` are what every rsync needs to get there; `directory` is for what is fetched.

        With `silence`, the daemon is lost when nothing comes from it for so many seconds.
        """
        self._address = address
        self._words = words
        if silence and not any(word.startswith("--timeout=") for word in words):
            self._words = (*words, f"--timeout={math.ceil(silence)}")
        self._directory = directory
        self._near: dict[bytes, Folder] = {}

    def resolve(self, path: bytes) -> Status:
        """Return whether the daemon has a directory at `path`."""
        finished = self._rsync("--list-only", f"--include=/{_OWNER}", "--exclude=/*", self._address.for_rsync(path))
        # rsync 3.0.0 ends with 0 also where there is nothing, but lists nothing then.
        lines = [match for match in map(_LINE.match, finished.out.split(b"\n")) if match]
        if finished.code == Exit.DONE and lines:
            owned = any(line[1].startswith(b"-") and line[4] == token.NAME for line in lines)
            return Status(path, exists=True, directory=True, parent=True, token=self._owner(path) if owned else "")
        if any(reason in finished.err for reason in _NO_SUCH_PLACE) and b"Unknown module" not in finished.err:
            above = path.rstrip(b"/").rpartition(b"/")[0]
            parent = (
                bool(above) and self._rsync("--list-only", "--exclude=/*", self._address.for_rsync(above)).code == 0
            )
            return Status(path, exists=False, directory=False, parent=parent)
        raise self._failure(finished)

    def _owner(self, root: bytes) -> str:
        """Return what the owner file of a root says."""
        finished = self._rsync(f"{self._address.for_rsync(root)}{_OWNER}", f"{self._directory}/")
        if finished.code not in (Exit.DONE, Exit.PARTIAL, Exit.VANISHED):
            raise self._failure(finished)
        return token.read_text(bytes(self._directory)) or "{}"

    def walk(self, root: bytes, users: frozenset[str], other: Iterable[Folder] = ()) -> Iterator[Folder]:
        """Yield the folders below `root`. An index that looks the same in the `other` tree is not fetched."""
        self._near = {folder.path: folder for folder in other}
        finished = self._rsync("-r", "--list-only", "-8", *_transient_filters(), self._address.for_rsync(root))
        if finished.code not in (Exit.DONE, Exit.PARTIAL, Exit.VANISHED):
            raise self._failure(finished)
        found = _read_listing(finished.out.split(b"\n"))
        problems = self._problems(finished.err.splitlines(), root)
        paths = [p for p in sorted(found, key=sort_key) if not users or user_of(p) in users or p in problems]
        incarnations = self._incarnations(root, [p for p in paths if p not in problems], found)
        for path in paths:
            if path in problems:
                yield Folder(path, problem=problems[path])
            else:
                yield found[path].folder(path, incarnations.get(path))

    def audit(self, root: bytes, content: bool) -> Iterator[Audited]:
        """Refuse: an agent is needed for that."""
        raise UsageError(f"{self._address.text}: an rsync daemon cannot run an audit: audit it where it lies")

    def close(self) -> None:
        """Nothing is held."""

    def _rsync(self, *words: str) -> process.Finished:
        command = ["rsync", *self._words, *words]
        return full_daemon.wait_for_place(lambda: process.capture(command), lambda ended: ended.err.splitlines())

    def _failure(self, finished: process.Finished) -> Exception:
        said = finished.err.splitlines()
        reason = f"{self._address.text}: {messages.general_reason(said)}"
        if full_daemon.is_full(said) or (finished.code in CONNECTION_CODES and not messages.refused(said)):
            return ConnectionFailed(reason, finished.code)
        return UnusableError(reason)

    def _problems(self, said: list[bytes], root: bytes) -> dict[bytes, int]:
        """Return the folders that the daemon could not read. What has no name makes the listing worthless."""
        problems = {}
        for message in messages.read(said):
            # A daemon names paths below its module, whose own name it leaves out.
            inside = b"/" + root.partition(b"/")[2].strip(b"/")
            path = messages.relative(message.path, [inside]) if message.path else None
            if path is None:
                raise UnusableError(f"{self._address.text}: {message.reason}")
            problems[path] = message.number or 5
        return problems

    def _incarnations(self, root: bytes, paths: list[bytes], found: dict[bytes, _Found]) -> dict[bytes, Incarnation]:
        """Return which mailbox each folder is: headers are small; indexes are fetched where they differ."""
        mailboxes = [p for p in paths if {kinds.HEADER, kinds.INDEX} <= found[p].metadata.keys()]
        differing = [p for p in mailboxes if not self._same_index(p, found[p])]
        wanted = [join(p, kinds.HEADER) for p in mailboxes] + [join(p, kinds.INDEX) for p in differing]
        copies = self._directory / "daemon"
        copies.mkdir(exist_ok=True)
        entries = self._directory / "daemon.list"
        top, below = self._address.split(root)
        if list_file.write(entries, wanted, below):
            finished = self._rsync("-t", "-0", f"--files-from={entries}", self._address.for_rsync(top), f"{copies}/")
            if finished.code not in (Exit.DONE, Exit.PARTIAL, Exit.VANISHED):
                raise self._failure(finished)
        incarnations = {}
        for path in mailboxes:
            uniqueid = header.uniqueid(_start(copies, join(path, kinds.HEADER), header.READ_SIZE))
            head = index.head(_start(copies, join(path, kinds.INDEX), index.READ_SIZE))
            near = self._near.get(path)
            if path not in differing and near and near.incarnation:
                head = index.IndexHead(near.incarnation.uidvalidity, near.incarnation.last_uid)
            if uniqueid and head:
                incarnations[path] = Incarnation(uniqueid, *head)
        return incarnations

    def _same_index(self, path: bytes, found: _Found) -> bool:
        near = self._near.get(path)
        ours = near.metadata.get(kinds.INDEX) if near and near.incarnation else None
        theirs = found.metadata[kinds.INDEX]
        return bool(ours and theirs and ours.size == theirs.size and ours.mtime // 10**9 == theirs.mtime // 10**9)


@dataclass(slots=True)
class _Found:
    attributes: Entry | None = None
    messages: list[bytes] = field(default_factory=list)
    metadata: dict[bytes, Entry | None] = field(default_factory=dict)
    strays: dict[bytes, Entry | None] = field(default_factory=dict)
    folders: list[bytes] = field(default_factory=list)

    def folder(self, path: bytes, incarnation: Incarnation | None) -> Folder:
        return Folder(
            path,
            attributes=self.attributes,
            messages=MessageFiles(b"".join(self.messages)),
            metadata=self.metadata,
            strays=self.strays,
            folders=tuple(sorted(self.folders)),
            incarnation=incarnation,
        )


def _read_listing(lines: Iterable[bytes]) -> dict[bytes, _Found]:
    """Sort the lines of `rsync -r --list-only` into folders."""
    found: dict[bytes, _Found] = {}
    for line in lines:
        match = _LINE.match(line)
        if not match:
            continue
        mode, size, when, shown = match.groups()
        path = messages.unescape(shown)
        parent, _, name = path.rpartition(b"/")
        if path == b".":
            path = parent = name = b""
        folder = found.setdefault(parent, _Found())
        if name and mode[:1] != b"d" and kinds.is_message(name):
            folder.messages.append(name)
            continue
        seconds = calendar.timegm(time.strptime(when.decode("ascii"), "%Y/%m/%d %H:%M:%S"))
        entry = Entry(_mode(mode), int(re.sub(rb"\D", b"", size)), seconds * 10**9, "", "")
        if mode[:1] == b"d":
            found.setdefault(path, _Found()).attributes = entry
            if name:
                folder.folders.append(name)
        elif kinds.is_metadata(name):
            folder.metadata[name] = entry
        else:
            folder.strays[name] = entry if mode[:1] == b"-" else None
    return found


def _mode(text: bytes) -> int:
    """Return the st_mode that `drwxr-xr-x` stands for."""
    mode = _KINDS[text[:1]]
    for position, letter in enumerate(text[1:]):
        if letter not in b"-ST":
            mode |= 0o400 >> position
    for position, bit in ((3, 0o4000), (6, 0o2000), (9, 0o1000)):
        if text[position : position + 1] in b"sStT":
            mode |= bit
    return mode


def _transient_filters() -> list[str]:
    rooted = sorted(name.decode() for name in kinds.ROOT_TRANSIENT)
    return ["--exclude=.*", "--exclude=cyrus.*.NEW", *(f"--exclude=/{name}" for name in rooted)]


def _start(root: Path, path: bytes, size: int) -> bytes:
    try:
        return regular_file.start(bytes(root) + b"/" + path, size)
    except OSError:
        return b""
