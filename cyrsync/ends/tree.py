"""One side of a run: a tree that can be listed and, where it is the replica, deleted in."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from cyrsync.errors import DoubtfulError, RefusedError, UnusableError
from cyrsync.far import host
from cyrsync.far import owner_file as owner_files
from cyrsync.far.at_work import Cyrus, at_work
from cyrsync.far.extended import NO_KINDS, Kinds
from cyrsync.far.finding import Audited
from cyrsync.far.folder import Folder
from cyrsync.far.hold import Busy
from cyrsync.far.owner_file import OwnerFile
from cyrsync.far.remove import Removal
from cyrsync.far.walk import Reader, walk

if TYPE_CHECKING:
    from cyrsync.far.digests import Digests, Question
    from cyrsync.far.locked_folder import LockedFolder


#: What to do about a replica that must not be written to.
OVERWRITE = "end this job, or --overwrite-replica makes it a replica of this server, and what only it has is lost"


@dataclass(frozen=True, slots=True)
class Removed:
    """The result of a deletion: how many files and folders were deleted, and what was not, with its errno."""

    files: int = 0
    folders: int = 0
    failed: list[tuple[bytes, int]] = field(default_factory=list)


class Status(NamedTuple):
    """What stands at the root of a side, its real path first."""

    root: bytes
    exists: bool
    directory: bool
    parent: bool  # whether the directory above it exists
    owner_file: str = ""  # as it lies there, "" for none
    bare: bool = False  # nothing is in it
    boot: str = ""  # of its host, see `owner_file.boot_id`; "" where that cannot be told
    others_link: bytes = b""  # the first link on the way there that is neither root's nor ours; b"" also for no telling


class Held(NamedTuple):
    """The result of locking a replica: who else holds it, None for nobody."""

    busy: Busy | None
    alone: bool = True  # else together with others who hold it so


class NotWrittenError(DoubtfulError):
    """An owner file cannot be written; `number` is the errno."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


class Rights(NamedTuple):
    """Whose rights the far process has: what decides which owners rsync can set there."""

    root: bool = True
    groups: frozenset[int] = frozenset()
    attributes: bool = True  # whether ACLs and extended attributes can be read there


class UnderLocks(Protocol):
    """Reads a source's folders, under Cyrus's locks where that matters."""

    def read_under_locks(
        self, root: bytes, paths: Sequence[bytes], wanted: Kinds = NO_KINDS, *, numeric_ids: bool = False
    ) -> Iterator[LockedFolder]:
        """Read folders below `root` under Cyrus's locks, in that order.

        With attributes of the kinds that are `wanted`, where they are far: here who stages reads them. Owners named in
        ACLs have the numbers that their names have here, or with `numeric_ids` their own.
        """

    def look(self, root: bytes, paths: Sequence[bytes]) -> Iterator[Folder]:
        """List folders below `root` by themselves, in that order."""

    def stat(self, paths: Sequence[bytes]) -> list[tuple[int, int] | int | None]:
        """Return size and time of files: see `AgentTree.stat`."""


class Writer(Protocol):
    """Writes on a replica what rsync does not."""

    def remove(self, root: bytes, removals: Iterable[Removal], *, keep_times: bool) -> Removed:
        """Delete below `root`; with `keep_times`, folders keep their modification times."""

    def stat(self, paths: Sequence[bytes]) -> list[tuple[int, int] | int | None]:
        """Return size and time of files: see `AgentTree.stat`."""

    def make(self, root: bytes) -> None:
        """Make a directory, if it is not there. Raise UnusableError where that can't be."""

    def hold(self, paths: Sequence[bytes]) -> Held:
        """Lock the directories at `paths`, all or none of them. Raise UnusableError."""

    def put_owner_file(self, root: bytes, owner_file: OwnerFile) -> None:
        """Write the owner file of a root. Raise NotWrittenError if that fails."""

    def write_back(self, roots: Sequence[bytes]) -> None:
        """Write to the disks, beside all else, what is written to these directories until `to_disk` is called."""

    def to_disk(self, roots: Sequence[bytes]) -> None:
        """Wait until all that was written to these directories is on their disks. Raise OSError."""


class Other(NamedTuple):
    """The tree of the other side, which is on this machine, and its folders."""

    root: bytes
    folders: Iterable[Folder]


NO_OTHER = Other(b"/", ())


class Tree(Protocol):
    """What the engine asks of a tree, wherever it is."""

    #: Whether `walk` is to be given the other side's tree, to spare the fetching of what is the same there.
    wants_other: bool

    @property
    def under_locks(self) -> UnderLocks | None:
        """The reader of folders under Cyrus's locks; None: metadata is sent as rsync finds it."""

    @property
    def writer(self) -> Writer | None:
        """The writer for what rsync does not write; None: rsync itself has to delete."""

    @property
    def rights(self) -> Rights:
        """What this side's process may do; matters on the receiving side."""

    def numbers(self, names: Collection[str]) -> Mapping[str, int | None]:
        """Return the numbers that `user:NAME` and `group:NAME` have there, None for what is unknown; {}: no telling."""

    def resolve(self, path: bytes) -> Status:
        """Return what is at `path`, links resolved."""

    def cyrus_at_work(self, roots: Sequence[bytes]) -> list[Cyrus]:
        """Return the processes of any Cyrus there that uses one of these directories."""

    def walk(self, root: bytes, users: frozenset[str], other: Other = NO_OTHER) -> Iterator[Folder]:
        """Yield the folders below `root` in order of their sort key; `other` as `wants_other` says."""

    def audit(self, root: bytes, content: bool) -> Iterator[Audited]:
        """Check every mailbox below `root`, with `content` every message. Raise UsageError where that can't be."""

    def links_to_mailboxes(self, root: bytes, paths: Sequence[bytes]) -> list[bytes]:
        """Return those of these links behind which mailboxes lie, as far as that can be told."""

    def digests(self, root: bytes, questions: Sequence[Question]) -> dict[bytes, Digests | None]:
        """Return what indexes say of messages, by path: None where that can't be read; {} where nothing can be told."""

    def to_disk(self, roots: Sequence[bytes]) -> None:
        """Wait until all that was written to these directories is on their disks. Raise OSError."""

    def close(self) -> None:
        """Close processes and connections."""


#: A process that may set every owner, as root may.
ALL_RIGHTS = Rights()


def owner_file_of(status: Status) -> OwnerFile | None:
    """Return the owner file of a root, None where it has none. Raise DoubtfulError for one that is not understood."""
    name = os.path.join(os.fsdecode(status.root), os.fsdecode(owner_files.NAME))
    try:
        return owner_files.from_json(status.owner_file) if status.owner_file else None
    except owner_files.NewerVersion:
        raise DoubtfulError(f"{name}: written by a newer cyrsync: run that, or one that is as new") from None
    except ValueError:
        raise DoubtfulError(f"{name}: damaged: if this is the right replica, remove the file") from None


def refuse_promoted(owner_file: OwnerFile, status: Status) -> None:
    """Raise RefusedError for the root of a promoted replica."""
    if owner_file.promoted:
        where = os.fsdecode(status.root)
        raise RefusedError(f"{where}: it was promoted at {owner_file.promoted}, and has mail of its own: {OVERWRITE}")


def resolve_here(path: bytes) -> Status:
    """Return what stands at `path` on this machine, links resolved. Raise UnusableError where that can't be seen."""
    try:
        return Status(*host.resolve(path))
    except OSError as error:
        raise unseen(path, error.errno or errno.EIO) from None


def unseen(path: bytes, number: int) -> UnusableError:
    """Return the error for a path that cannot be seen: it does not count as absent."""
    return UnusableError(f"{os.fsdecode(path)}: what is there cannot be seen: {os.strerror(number)}")


class WithoutAgent:
    """What all trees without an agent have in common: rsync writes and deletes there."""

    under_locks = None
    writer = None

    def cyrus_at_work(self, roots: Sequence[bytes]) -> list[Cyrus]:
        """Return none: nobody can look at the processes there."""
        return []

    def numbers(self, names: Collection[str]) -> Mapping[str, int | None]:
        """Nothing can be told."""
        return {}

    def links_to_mailboxes(self, root: bytes, paths: Sequence[bytes]) -> list[bytes]:
        """Nothing can be told."""
        return []

    def to_disk(self, roots: Sequence[bytes]) -> None:
        """Leave that to rsync."""


class NearTree:
    """The source, when it is on this machine: read by this process."""

    writer = None  # a source is only read
    wants_other = False
    rights = ALL_RIGHTS

    @property
    def under_locks(self) -> UnderLocks:
        """We read, in this process."""
        return self

    def numbers(self, names: Collection[str]) -> Mapping[str, int | None]:
        """Nobody asks: nothing is written here."""
        return {}

    def resolve(self, path: bytes) -> Status:
        """Return what is at `path`, links resolved."""
        return resolve_here(path)

    def cyrus_at_work(self, roots: Sequence[bytes]) -> list[Cyrus]:
        """Return the processes of any Cyrus here that uses one of these directories."""
        return at_work(roots)

    def walk(self, root: bytes, users: frozenset[str], other: Other = NO_OTHER) -> Iterator[Folder]:
        """Yield the folders below `root` in order of their sort key."""
        return walk(root, users)

    def audit(self, root: bytes, content: bool) -> Iterator[Audited]:
        """Check every mailbox below `root`, with `content` every message."""
        from cyrsync.far.audit_tree import audit_tree  # what few runs need is not loaded by all

        return audit_tree(root, content)

    def read_under_locks(
        self, root: bytes, paths: Sequence[bytes], wanted: Kinds = NO_KINDS, *, numeric_ids: bool = False
    ) -> Iterator[LockedFolder]:
        """Read folders below `root` under Cyrus's locks, in that order."""
        from cyrsync.far.locked_folder import read_under_locks

        reader = Reader(root)
        return (read_under_locks(reader, path) for path in paths)

    def links_to_mailboxes(self, root: bytes, paths: Sequence[bytes]) -> list[bytes]:
        """Return those of these links behind which mailboxes lie."""
        from cyrsync.far.links import with_mailboxes

        return with_mailboxes(root, paths)

    def digests(self, root: bytes, questions: Sequence[Question]) -> dict[bytes, Digests | None]:
        """Return what indexes say of messages, by path; None where that cannot be read."""
        from cyrsync.far.digests import of_folder

        return {question.path: of_folder(root, *question) for question in questions}

    def look(self, root: bytes, paths: Sequence[bytes]) -> Iterator[Folder]:
        """List folders below `root` by themselves, in that order."""
        reader = Reader(root)
        return (reader.look(path) for path in paths)

    def stat(self, paths: Sequence[bytes]) -> list[tuple[int, int] | int | None]:
        """Return what `AgentTree.stat` does."""
        return [host.status(path) for path in paths]

    def to_disk(self, roots: Sequence[bytes]) -> None:
        """Nothing is written here."""

    def close(self) -> None:
        """Nothing is held."""
