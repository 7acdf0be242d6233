"""A side behind an rsync daemon: rsync's own listing, and the files that tell which mailbox a folder is."""

from __future__ import annotations

import calendar
import math
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from cyrsync import process
from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox import regular_file
from cyrsync.ends import answers
from cyrsync.ends.address import Address
from cyrsync.ends.daemon_files import DaemonFiles, Here
from cyrsync.ends.fetched_size import FetchedSize
from cyrsync.ends.listing import MAX_BYTES, MAX_ITEM, ListedFolder, Listing
from cyrsync.ends.tree import NO_OTHER, Other, Rights, Status, WithoutAgent
from cyrsync.errors import CONNECTION_CODES, ConnectionFailed, Exit, UnusableError, UsageError
from cyrsync.far import owner_file, wire
from cyrsync.far.digests import Digests, Question, of_folder
from cyrsync.far.finding import Audited
from cyrsync.far.folder import Entry, Folder
from cyrsync.far.message_files import MessageFiles
from cyrsync.far.wire import WireError
from cyrsync.rsync import full_daemon, list_file, messages

_LINE = re.compile(
    rb"([-dlcbps][-rwxsStT]{9})[+.]?\s+([\d,.]{1,40})\s+(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) (.*)\Z", re.DOTALL
)
_KINDS = {
    b"-": 0o100000,
    b"d": 0o040000,
    b"l": 0o120000,
    b"c": 0o020000,
    b"b": 0o060000,
    b"p": 0o010000,
    b"s": 0o140000,
}
_OWNER = os.fsdecode(owner_file.NAME)
_NO_SUCH_PLACE = (b"No such file or directory", b"Not a directory", b"Unknown module")


class DaemonTree(WithoutAgent):
    """A tree that only rsync can look at. Listings have times in whole seconds, and no owners."""

    wants_other = True
    rights = Rights()

    def __init__(self, address: Address, words: tuple[str, ...], directory: Path, silence: float = 0.0) -> None:
        """`words` are what every rsync needs to get there; `directory` is for what is fetched.

        With `silence`, the daemon is lost if it sends nothing for so many seconds.
        """
        self._address = address
        self._words = words
        if silence and not any(word.startswith("--timeout=") for word in words):
            self._words = (*words, f"--timeout={math.ceil(silence)}")
        self._directory = directory
        self._copies = directory / "daemon"

    def resolve(self, path: bytes) -> Status:
        """Return whether the daemon has a directory at `path`."""
        finished = self._rsync("--list-only", f"--include=/{_OWNER}", "--exclude=/*", self._address.for_rsync(path))
        # rsync 3.0.0 ends with 0 also where there is nothing, but lists nothing then.
        lines = [match for match in map(_LINE.match, finished.out.split(b"\n")) if match]
        if finished.code == Exit.DONE and lines:
            owned = any(line[1].startswith(b"-") and line[4] == owner_file.NAME for line in lines)
            return Status(path, exists=True, directory=True, parent=True, owner_file=self._owner(path) if owned else "")
        if any(reason in finished.err for reason in _NO_SUCH_PLACE) and b"Unknown module" not in finished.err:
            above = path.rstrip(b"/").rpartition(b"/")[0]
            parent = (
                bool(above) and self._rsync("--list-only", "--exclude=/*", self._address.for_rsync(above)).code == 0
            )
            return Status(path, exists=False, directory=False, parent=parent)
        raise self._failure(finished)

    def _owner(self, root: bytes) -> str:
        """Return what the owner file of a root says."""
        # A directory for nothing else: some rsyncs write whatever file the daemon says.
        with tempfile.TemporaryDirectory(prefix="owner", dir=self._directory) as directory:
            words = (f"--max-size={owner_file.LARGEST}", f"{self._address.for_rsync(root)}{_OWNER}", f"{directory}/")
            finished = self._rsync(*words, watch=FetchedSize(os.fsencode(directory), owner_file.LARGEST).check)
            if finished.code not in (Exit.DONE, Exit.PARTIAL, Exit.VANISHED):
                raise self._failure(finished)
            return owner_file.read_text(os.fsencode(directory)) or "{}"

    def walk(self, root: bytes, users: frozenset[str], other: Other = NO_OTHER) -> Iterator[Folder]:
        """Yield the folders below `root`. What is the same in the `other` tree is not fetched."""
        here = Here(other.root, {folder.path: folder for folder in other.folders})
        tree, finished = self._listing("-r", "--list-only", "-8", *_transient_filters(), self._address.for_rsync(root))
        if finished.code not in (Exit.DONE, Exit.PARTIAL, Exit.VANISHED):
            raise self._failure(finished)
        for path, problem in self._problems(finished.err.splitlines(), root).items():
            if path in tree.found:
                tree.found[path].problem = problem
        try:
            folders = list(tree.in_order(users))
        except answers.WRONG as error:
            raise answers.wrong(self._address.text, error) from None
        metadata = {path: _metadata(found) for path, found, _ in folders if not found.problem}
        files = DaemonFiles(metadata, here, self._copies, partial(self._fetch, root))
        files.fetch()
        differing, incarnations = files.differing(), files.incarnations()
        for path, found, names in folders:
            if found.problem:
                yield Folder(path, problem=found.problem)
            else:
                yield Folder(
                    path,
                    attributes=found.attributes,
                    messages=MessageFiles(bytes(found.messages)),
                    metadata=metadata[path],
                    other_files={name: one for name, one in found.others.items() if not kinds.is_metadata(name)},
                    folders=names,
                    incarnation=incarnations.get(path),
                    differing=differing.get(path, frozenset()),
                )

    def digests(self, root: bytes, questions: Sequence[Question]) -> dict[bytes, Digests | None]:
        """Return what those indexes say of messages that were fetched for the last listing, as they differ."""
        copies = bytes(self._copies)
        fetched = [one for one in questions if os.path.lexists(os.path.join(copies, one.path, kinds.INDEX))]
        return {question.path: of_folder(copies, *question) for question in fetched}

    def audit(self, root: bytes, content: bool) -> Iterator[Audited]:
        """Refuse: an agent is needed for that."""
        raise UsageError(f"{self._address.text}: an rsync daemon cannot run an audit: run `cyrsync verify` on its host")

    def close(self) -> None:
        """Nothing is held."""

    def _rsync(
        self, *words: str, take: Callable[[bytes], None] | None = None, watch: Callable[[], None] | None = None
    ) -> process.Finished:
        command = ["rsync", *self._words, *words]
        try:
            return full_daemon.wait_for_place(
                lambda: process.capture(command, take=take, watch=watch), lambda ended: ended.err.splitlines()
            )
        except answers.WRONG as error:
            raise answers.wrong(self._address.text, error) from None

    def _listing(self, *words: str) -> tuple[Listing, process.Finished]:
        """Return what an rsync lists; a daemon that lets nobody in lists nothing."""
        lines = _Lines()
        finished = self._rsync(*words, take=lines.add)
        return lines.listing, finished

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
            path = self._below(root, message)
            if path is None:
                raise UnusableError(f"{self._address.text}: {message.reason}")
            problems[path] = message.number or 5
        return problems

    def _below(self, root: bytes, message: messages.Complaint) -> bytes | None:
        """Return the path below `root` that a message is about; None for another, or none."""
        # A daemon names paths below its module, whose own name it leaves out.
        inside = b"/" + root.partition(b"/")[2].strip(b"/")
        return messages.relative(message.path, [inside]) if message.path else None

    def _fetch(self, root: bytes, paths: Iterable[bytes], words: tuple[str, ...], listed: int) -> set[bytes]:
        """Fetch files of so many bytes below `root` into our copies; return what could not be had, b"" for all."""
        entries = self._directory / "daemon.list"
        top, below = self._address.split(root)
        if not list_file.write(entries, paths, below, pulled=True):
            return set()
        finished = self._rsync(
            *("-t", "-0", f"--max-size={regular_file.LARGEST}", *words),
            *(f"--files-from={entries}", self._address.for_rsync(top), f"{self._copies}/"),
            watch=FetchedSize(bytes(self._copies), listed).check,
        )
        if finished.code == Exit.DONE:
            return set()
        if finished.code not in (Exit.PARTIAL, Exit.VANISHED):
            raise self._failure(finished)
        found = [self._below(root, one) for one in messages.read(finished.err.splitlines())]
        return {b"" if path is None else path for path in found} or {b""}


class _Lines:
    """Lines of `rsync -r --list-only`, as they arrive. A daemon's greeting may be among them."""

    def __init__(self) -> None:
        self.listing = Listing()
        self._rest = b""
        self._left = MAX_BYTES

    def add(self, data: bytes) -> None:
        """Add the next bytes. Raise WireError, or another of wire.WRONG."""
        self._left -= len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if self._left < 0 or len(self._rest) > MAX_ITEM:
            raise WireError("more than can be a listing")
        for line in lines:
            match = _LINE.match(line)
            if match:
                self._add(*match.groups())

    def _add(self, mode: bytes, size: bytes, when: bytes, shown: bytes) -> None:
        path = messages.unescape(shown)
        above, _, name = path.rpartition(b"/")
        if path == b".":
            self.listing.add_folder(b"", ListedFolder(attributes=_entry(mode, size, when)))
            return
        folder = self.listing.folder(above)
        if mode[:1] != b"d" and kinds.is_message(name):
            folder.add_message(name)
            return
        if kinds.is_left_alone(wire.checked_name(name), at_root=not above):
            raise WireError(f"a name that is left alone: {wire.shown(name)}")
        entry = _entry(mode, size, when)
        if mode[:1] == b"d":
            self.listing.add_folder(path, ListedFolder(attributes=entry))
            return
        self.listing.size.add(path)
        folder.others[name] = entry if mode[:1] == b"-" or kinds.is_metadata(name) else None


def _metadata(found: ListedFolder) -> dict[bytes, Entry | None]:
    return {name: one for name, one in found.others.items() if kinds.is_metadata(name)}


def _entry(mode: bytes, size: bytes, when: bytes) -> Entry:
    """Return what a line of a listing says. Raise ValueError for what cannot be."""
    seconds = calendar.timegm(time.strptime(when.decode("ascii"), "%Y/%m/%d %H:%M:%S"))
    number = wire.number(int(re.sub(rb"\D", b"", size)), wire.MAX_SIZE)
    bits = _mode(mode)
    # As everywhere, a file has no bits that lend its owner's rights.
    return Entry(bits & ~0o7000 if mode[:1] == b"-" else bits, number, seconds * 10**9, "", "")


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
