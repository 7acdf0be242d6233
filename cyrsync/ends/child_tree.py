"""The tree of a replica on this machine: what takes less time than to start a child is done in this process."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cyrsync import process
from cyrsync.ends import agent_answers
from cyrsync.ends.agent_answers import About
from cyrsync.ends.agent_tree import AgentTree, check_owner_file
from cyrsync.ends.link import Link
from cyrsync.ends.sink import Sink
from cyrsync.ends.tree import NO_OTHER, Held, Other, Removed, Rights, Status, UnderLocks, Writer, resolve_here
from cyrsync.errors import UnusableError, error_text
from cyrsync.far import guids, host, owner, quick_check, remove
from cyrsync.far.at_work import Cyrus, at_work
from cyrsync.far.extended import NO_KINDS, Kinds
from cyrsync.far.finding import Audited
from cyrsync.far.folder import Folder
from cyrsync.far.hold import Holds
from cyrsync.far.host import Room
from cyrsync.far.receive import Failure, Receiver
from cyrsync.far.remove import Removal
from cyrsync.far.write_back import WriteBack

if TYPE_CHECKING:
    from array import array

    from cyrsync.ends.stores import Stores
    from cyrsync.far.digests import Digests, Question
    from cyrsync.far.keeping import Keeping
    from cyrsync.far.locked_folder import LockedFolder
    from cyrsync.far.owner_file import OwnerFile
    from cyrsync.far.relink import Move

_PATIENCE = 5.0  # seconds


class ChildTree:
    """A replica on this machine, read by a child process while this one reads the source.

    What takes less time than to start a child is done here; the rest is left to the child's tree.
    """

    wants_other = False

    def __init__(self) -> None:
        package = str(Path(__file__).resolve().parents[2])
        start = f"import sys; sys.path.insert(0, {package!r}); from cyrsync.far import agent; agent.main()"
        self._child = AgentTree(
            lambda: Link([sys.executable, "-I", "-S", "-c", start], "the local agent"), compressed=False
        )
        self._holds = Holds()
        self._write_back = WriteBack()
        self._receiver: Receiver | None = None
        self._keeping: Keeping | None = None
        #: For each stream that was ended, what tells what of it has not arrived, be it here or in the child.
        self._ended: deque[Callable[[], list[Failure]]] = deque()

    @property
    def under_locks(self) -> UnderLocks:
        """The child, where that matters."""
        return self

    @property
    def writer(self) -> Writer:
        """We, or the child."""
        return self

    @cached_property
    def rights(self) -> Rights:
        """Whose rights the child has: ours."""
        return Rights(os.geteuid() == 0, frozenset(os.getgroups()))

    def numbers(self, names: Collection[str]) -> Mapping[str, int | None]:
        """Return the numbers that names have here, also such as are asked for later."""
        return _NumbersHere()

    def make(self, root: bytes) -> None:
        """Make a directory, and those above it, if they are not there."""
        if not os.path.isdir(root):
            self._child.make(root)

    def clear(self, root: bytes) -> None:
        """Remove the hidden directory that a killed run has left in a root, if it can be; nobody may write there."""
        if os.path.lexists(os.path.join(root, remove.RENAMED)):
            self._child.clear(root)

    def resolve(self, path: bytes) -> Status:
        """Return what is at `path`, links resolved."""
        return resolve_here(path)

    def cyrus_at_work(self, roots: Sequence[bytes]) -> list[Cyrus]:
        """Return the processes of any Cyrus here that uses one of these directories."""
        return at_work(roots)

    def stat(self, paths: Sequence[bytes]) -> list[tuple[int, int] | int | None]:
        """Return what `AgentTree.stat` does."""
        return [host.status(path) for path in paths]

    def heads(self, paths: Sequence[bytes]) -> list[bytes]:
        """Return what `AgentTree.heads` does."""
        return [host.head(path) for path in paths]

    def guids(self, root: bytes, questions: Sequence[guids.Question]) -> list[list[bytes]]:
        """Return what `AgentTree.guids` does."""
        counts = [len(question.uids) for question in questions]
        return agent_answers.guids(counts, {"guids": guids.answers(questions, root, lambda: True)})

    def let_go(self) -> None:
        """Release all locks."""
        process.share(())
        self._holds.close()

    def share(self) -> Held:
        """Share the locks that we hold alone."""
        return Held(self._holds.share(), alone=False)

    def hold(self, paths: Sequence[bytes]) -> Held:
        """Lock the directories at `paths`, all or none of them. Raise UnusableError."""
        return self._hold(paths, among=False)

    def hold_among(self, paths: Sequence[bytes]) -> Held:
        """Release all locks, and lock these directories alone, or together with others who share them."""
        return self._hold(paths, among=True)

    def _hold(self, paths: Sequence[bytes], *, among: bool) -> Held:
        alone = True
        try:
            if among:
                busy, alone = self._holds.hold_among(paths)
            else:
                busy = self._holds.hold(paths)
        except OSError as error:
            raise UnusableError(f"{error_text(error)}: it cannot be locked") from None
        process.share(self._holds.descriptors())
        return Held(busy, alone)

    def put_owner_file(self, root: bytes, owner_file: OwnerFile) -> None:
        """Write the owner file of a root. Raise NotWrittenError if that fails."""
        check_owner_file(root, *host.put_owner_file(root, owner_file.to_json()))

    def write_back(self, roots: Sequence[bytes]) -> None:
        """Do what `AgentTree.write_back` does."""
        self._write_back.begin(roots)

    def to_disk(self, roots: Sequence[bytes]) -> None:
        """Wait until all that was written to these directories is on their disks. Raise OSError."""
        self._write_back.end(roots)

    def same(self, question: quick_check.Question, *, numeric_ids: bool) -> array[int]:
        """Return the UIDs of messages that are the same there as here; owners and permissions are set."""
        return quick_check.same(question, numeric_ids)

    def keep(self, homes: Mapping[bytes, bytes], spacing: int) -> None:
        """Keep from now on what is replaced or deleted below roots: see `AgentTree.keep`."""
        from cyrsync.far.keeping import Keeping  # what few runs need is not loaded by all

        self._keeping = Keeping(dict(homes), spacing)
        self._child.keep(homes, spacing)

    def begin_stream(self, *, numeric_ids: bool, aside: bool, much: bool, compressed: bool = False) -> Sink:
        """Return what writes mailboxes here; where much will follow, in the child, beside who reads them."""
        if much:
            self._receiver = None
            return self._child.begin_stream(numeric_ids=numeric_ids, aside=aside, much=much, compressed=compressed)
        self._receiver = Receiver(numeric_ids, aside, self._keeping)
        return self._receiver

    def finish_stream(self) -> None:
        """End the stream: another one may begin, or `stream_failures` be asked."""
        if self._receiver:
            self._ended.append(self._receiver.end)
        else:
            self._child.finish_stream()
            self._ended.append(self._child.stream_failures)

    def push_stream(self) -> None:
        """Send what waits of a stream, as far as there is room for it."""
        if not self._receiver:
            self._child.push_stream()

    def stream_failures(self) -> list[Failure]:
        """Return what `AgentTree.stream_failures` does."""
        return self._ended.popleft()()

    # What follows, the child does alone; `AgentTree` says what.

    def about(self) -> About:
        return self._child.about()

    def room(self, path: bytes) -> Room:
        return self._child.room(path)

    def read(self, path: bytes) -> bytes:
        return self._child.read(path)

    def walk(self, root: bytes, users: frozenset[str], other: Other = NO_OTHER) -> Iterator[Folder]:
        return self._child.walk(root, users, other)

    def look(self, root: bytes, paths: Sequence[bytes]) -> Iterator[Folder]:
        return self._child.look(root, paths)

    def read_under_locks(
        self, root: bytes, paths: Sequence[bytes], wanted: Kinds = NO_KINDS, *, numeric_ids: bool = False
    ) -> Iterator[LockedFolder]:
        return self._child.read_under_locks(root, paths, wanted, numeric_ids=numeric_ids)

    def links_to_mailboxes(self, root: bytes, paths: Sequence[bytes]) -> list[bytes]:
        return self._child.links_to_mailboxes(root, paths)

    def digests(self, root: bytes, questions: Sequence[Question]) -> dict[bytes, Digests | None]:
        return self._child.digests(root, questions)

    def audit(self, root: bytes, content: bool) -> Iterator[Audited]:
        return self._child.audit(root, content)

    def remove(self, root: bytes, removals: Iterable[Removal], *, keep_times: bool) -> Removed:
        return self._child.remove(root, removals, keep_times=keep_times)

    def remove_temporary(self, root: bytes, removals: Iterable[Removal], *, keep_times: bool) -> Removed:
        return self._child.remove_temporary(root, removals, keep_times=keep_times)

    def relink(self, moves: Sequence[Move]) -> Iterator[array[int]]:
        return self._child.relink(moves)

    def pack(self) -> str:
        return self._child.pack()

    @property
    def stores(self) -> Stores:
        return self._child.stores

    def close(self) -> None:
        """End the child, if there is one, and release the replica."""
        self._write_back.stop()
        self._child.close()
        process.share(())
        self._holds.end(_PATIENCE)  # an rsync that failed ends some time before its own children


#: What an agent serves.
ReplicaTree = AgentTree | ChildTree


class _NumbersHere(dict[str, "int | None"]):
    """The numbers that names have on this machine, looked up when they are first asked for."""

    def __missing__(self, name: str) -> int | None:
        self[name] = owner.number(name)
        return self[name]
