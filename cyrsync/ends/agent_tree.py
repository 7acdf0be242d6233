"""A tree that an agent serves: a child process for a replica on this machine, over ssh for a far one."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from cyrsync.ends import agent_answers, answers
from cyrsync.ends.agent_answers import About
from cyrsync.ends.agent_link import AgentLink
from cyrsync.ends.link import Link
from cyrsync.ends.sink import Sink
from cyrsync.ends.tree import (
    NO_OTHER,
    Held,
    NotWrittenError,
    Other,
    Removed,
    Rights,
    Status,
    UnderLocks,
    Writer,
    unseen,
)
from cyrsync.ends.tree_size import TreeSize
from cyrsync.errors import UnusableError
from cyrsync.far import folder, quick_check, remove, wire
from cyrsync.far import uids as uid_sets
from cyrsync.far.at_work import Cyrus
from cyrsync.far.extended import NO_KINDS, Kinds
from cyrsync.far.finding import Audited, from_record
from cyrsync.far.folder import Folder
from cyrsync.far.frames import Deflated, Encoder
from cyrsync.far.host import Room
from cyrsync.far.receive import Failure
from cyrsync.far.remove import Removal
from cyrsync.far.wire import WireError

if TYPE_CHECKING:
    from array import array

    from cyrsync.ends.stores import Stores
    from cyrsync.far import guids
    from cyrsync.far.digests import Digests, Question
    from cyrsync.far.locked_folder import LockedFolder
    from cyrsync.far.owner_file import OwnerFile
    from cyrsync.far.relink import Move

_QUESTIONS = 10_000  # that one line answers


class AgentTree:
    """A tree read by an agent that answers over a link."""

    wants_other = False

    def __init__(self, start: Callable[[], Link], compressed: bool) -> None:
        """`start` gives the link to the agent when something is first asked of it."""
        self._agent = AgentLink(start, compressed)
        #: For each stream that was ended, what tells what of it has not arrived; they are asked in this order.
        self._ended: deque[Callable[[], list[Failure]]] = deque()

    @property
    def under_locks(self) -> UnderLocks:
        """The agent."""
        return self

    @property
    def writer(self) -> Writer:
        """The agent."""
        return self

    @cached_property
    def rights(self) -> Rights:
        """Whose rights the agent has."""
        self._agent.ask("identify")
        return self._agent.end(agent_answers.rights)

    def numbers(self, names: Collection[str]) -> Mapping[str, int | None]:
        """Return the numbers that `user:NAME` and `group:NAME` have there, None for what is unknown."""
        self._agent.ask("numbers", names=sorted(names))
        return dict(zip(sorted(names), self._agent.end(partial(agent_answers.numbers, len(names))), strict=True))

    def about(self) -> About:
        """Return what the agent runs on."""
        self._agent.ask("about")
        return self._agent.end(agent_answers.about)

    def room(self, path: bytes) -> Room:
        """Return what there is room for at `path`. Raise UnusableError where that is not known."""
        self._agent.ask("room", path)
        found = self._agent.end(agent_answers.room)
        if isinstance(found, str):
            raise UnusableError(f"{os.fsdecode(path)}: {found}")
        return found

    def read(self, path: bytes) -> bytes:
        """Return what is in a small file. Raise OSError."""
        self._agent.ask("read", path)
        found = self._agent.end(agent_answers.contents)
        if isinstance(found, int):
            raise OSError(found, os.strerror(found), path)
        return found

    def resolve(self, path: bytes) -> Status:
        """Return what is at `path`, links resolved."""
        self._agent.ask("resolve", path)
        found = self._agent.end(agent_answers.status)
        if isinstance(found, int):
            raise unseen(path, found)
        return found

    def cyrus_at_work(self, roots: Sequence[bytes]) -> list[Cyrus]:
        """Return the processes of any Cyrus there that uses one of these directories."""
        self._agent.ask("at_work", paths=answers.texts(roots))
        return self._agent.end(partial(agent_answers.cyruses, roots))

    def make(self, root: bytes) -> None:
        """Make a directory, and those above it, if they are not there. Raise UnusableError where that can't be."""
        self._agent.ask("make", root)
        error = self._agent.end(agent_answers.error)
        if error:
            raise UnusableError(f"{os.fsdecode(root)}: it cannot be made on the replica: {error}")

    def clear(self, root: bytes) -> None:
        """Remove the hidden directory that a killed run has left in a root, if it can be; nobody may write there."""
        self._agent.ask("clear", root)
        self._agent.end(agent_answers.nothing)

    def let_go(self) -> None:
        """Release all locks."""
        self._agent.ask("let_go")
        self._agent.end(agent_answers.nothing)

    def hold(self, paths: Sequence[bytes]) -> Held:
        """Lock the directories at `paths`, all or none of them. Raise UnusableError."""
        return self._hold(paths, among=False)

    def hold_among(self, paths: Sequence[bytes]) -> Held:
        """Release all locks, and lock these directories alone, or together with others who share them."""
        return self._hold(paths, among=True)

    def share(self) -> Held:
        """Share the locks that we hold alone."""
        self._agent.ask("share")
        found = self._agent.end(agent_answers.held)
        if isinstance(found, str):
            raise UnusableError(f"its lock cannot be shared: {found}")
        return found

    def _hold(self, paths: Sequence[bytes], *, among: bool) -> Held:
        self._agent.ask("hold", paths=answers.texts(paths), among=among)
        found = self._agent.end(agent_answers.held)
        if isinstance(found, str):
            raise UnusableError(f"{os.fsdecode(paths[0])}: it cannot be locked: {found}")
        return found

    def put_owner_file(self, root: bytes, owner_file: OwnerFile) -> None:
        """Write the owner file of a root. Raise NotWrittenError if that fails."""
        self._agent.ask("put_owner_file", root, owner_file=owner_file.to_json())
        check_owner_file(root, *self._agent.end(agent_answers.written))

    def write_back(self, roots: Sequence[bytes]) -> None:
        """Write to the disks, beside all else, what is written to these directories until `to_disk` is called."""
        self._agent.ask("write_back", paths=answers.texts(roots))

    def to_disk(self, roots: Sequence[bytes]) -> None:
        """Wait until all that was written to these directories is on their disks. Raise OSError."""
        self._agent.ask("to_disk", paths=answers.texts(roots))
        number = self._agent.end(agent_answers.number)
        if number:
            raise OSError(number, os.strerror(number), roots[0])

    def stat(self, paths: Sequence[bytes]) -> list[tuple[int, int] | int | None]:
        """Return size and modification time (nanoseconds) of files, by their whole paths.

        None if there is no file, an errno if it cannot be seen.
        """
        found: list[tuple[int, int] | int | None] = []
        for portion in answers.portions(paths):
            self._agent.ask("stat", paths=answers.texts(portion))
            found += self._agent.end(partial(agent_answers.stats, len(portion)))
        return found

    def heads(self, paths: Sequence[bytes]) -> list[bytes]:
        """Return the first bytes of each cyrus.index, by their whole paths; none of one that cannot be read."""
        found: list[bytes] = []
        for portion in answers.portions(paths):
            self._agent.ask("heads", paths=answers.texts(portion))
            found += self._agent.end(partial(agent_answers.heads, len(portion)))
        return found

    def walk(self, root: bytes, users: frozenset[str], other: Other = NO_OTHER) -> Iterator[Folder]:
        """Yield the folders below `root`; the agent starts at once and reads ahead."""
        self._agent.ask("walk", root, users=sorted(users))
        order = answers.WalkOrder(users, TreeSize() if self._agent.is_far else None)

        def read(record: Any) -> Folder:
            found = folder.read_rest(record, self._agent.stream)
            order.add(found)
            return found

        return self._agent.until_end(read, order.end)

    def remove(self, root: bytes, removals: Iterable[Removal], *, keep_times: bool) -> Removed:
        """Delete below `root`."""
        return self._remove(root, removals, keep_times=keep_times, temporary=False)

    def remove_temporary(self, root: bytes, removals: Iterable[Removal], *, keep_times: bool) -> Removed:
        """Delete what a killed rsync has left of the files that the removals name."""
        return self._remove(root, removals, keep_times=keep_times, temporary=True)

    def _remove(self, root: bytes, removals: Iterable[Removal], *, keep_times: bool, temporary: bool) -> Removed:
        self._agent.ask("remove", root, keep_times=keep_times, temporary=temporary)
        asked = answers.Asked()

        def rows() -> Iterator[bytes]:
            for removal in removals:
                asked.add(removal.path)
                yield remove.encode(removal)

        self._agent.send_all(rows())
        failed: list[tuple[bytes, int]] = []
        files, folders = self._agent.end(
            agent_answers.counts, lambda record: failed.append(agent_answers.not_removed(record, asked))
        )
        return Removed(files, folders, failed)

    def same(self, question: quick_check.Question, *, numeric_ids: bool) -> array[int]:
        """Return the UIDs of messages that are the same there as here; owners and permissions are set."""
        self._agent.teach()
        self._agent.ask("compare", numeric_ids=numeric_ids)
        self._agent.send(quick_check.encode(question))
        found = self._agent.checked(partial(self._read_uids, uid_sets.of([uid for uid, _ in question.messages])))
        self._agent.end(agent_answers.nothing)
        return found

    def keep(self, homes: Mapping[bytes, bytes], spacing: int) -> None:
        """Keep from now on what is replaced or deleted below roots; `homes`, by root, are those with the indexes.

        A mailbox's state is not kept less than `spacing` nanoseconds after another one was.
        """
        self._agent.teach()
        self._agent.ask(
            "keep", paths=answers.texts(list(homes)), homes=answers.texts(list(homes.values())), spacing=spacing
        )
        self._agent.end(agent_answers.nothing)

    def pack(self) -> str:
        """Make what was kept smaller; return why that cannot be done, "" if it is."""
        self._agent.ask("pack")
        return self._agent.end(agent_answers.error)

    def begin_stream(self, *, numeric_ids: bool, aside: bool, much: bool, compressed: bool = False) -> Sink:
        """Return what writes mailboxes there, until `finish_stream`; `much`: more will follow.

        What is sent may wait until `push_stream`, or until something else is asked. Several may be on their way.

        With `aside`, a folder that is not there gets its name as a whole; then nobody else may write there.
        """
        self._agent.ask("receive", numeric_ids=numeric_ids, aside=aside, compressed=compressed)
        self._deflated = Deflated(self._agent.send_later) if compressed else None
        self._encoder = Encoder(self._deflated.write if self._deflated else self._agent.send_later)
        return self._encoder

    def finish_stream(self) -> None:
        """End the stream: another one may begin, or `stream_failures` be asked."""
        self._encoder.end()
        if self._deflated:
            self._deflated.end()
        self._ended.append(partial(self._not_received, self._encoder))

    def push_stream(self) -> None:
        """Send what waits of a stream, as far as there is room for it."""
        self._agent.push()

    def stream_failures(self) -> list[Failure]:
        """Return which mailboxes of the oldest ended stream are not in place, or not as on the source."""
        return self._ended.popleft()()

    def _not_received(self, encoder: Encoder) -> list[Failure]:
        failures: list[Failure] = []
        self._agent.end(
            agent_answers.nothing,
            lambda record: failures.append(agent_answers.not_received(record, encoder.mailboxes)),
        )
        return failures

    def audit(self, root: bytes, content: bool) -> Iterator[Audited]:
        """Check every mailbox below `root`, with `content` every message."""
        self._agent.teach()
        self._agent.ask("audit", root, content=content)
        order = answers.Rising()

        def read(record: Any) -> Audited:
            found = from_record(record)
            order.add(found.path)
            return found

        yield from self._agent.until_end(read)

    def read_under_locks(
        self, root: bytes, paths: Sequence[bytes], wanted: Kinds = NO_KINDS, *, numeric_ids: bool = False
    ) -> Iterator[LockedFolder]:
        """Read folders below `root` under Cyrus's locks, in that order: see `UnderLocks.read_under_locks`."""
        from cyrsync.far.locked_folder import decode  # what few runs need is not loaded by all

        def read(path: bytes) -> LockedFolder:
            locked_folder = decode(self._agent.stream, numeric_ids)
            answers.asked_for(locked_folder.folder.path, path)
            return locked_folder

        if paths:
            self._agent.teach()
        return self._agent.each("read_under_locks", root, paths, read, acls=wanted.acls, xattrs=wanted.xattrs)

    def links_to_mailboxes(self, root: bytes, paths: Sequence[bytes]) -> list[bytes]:
        """Return those of these links behind which mailboxes lie."""
        self._agent.teach()
        self._agent.ask("links", root, paths=answers.texts(paths))
        found = self._agent.end(agent_answers.links)
        return [path for path in paths if path in found]

    def digests(self, root: bytes, questions: Sequence[Question]) -> dict[bytes, Digests | None]:
        """Return what indexes say of messages; None where that cannot be read."""
        from cyrsync.far.digests import encode

        found: dict[bytes, Digests | None] = {}
        for start in range(0, len(questions), _QUESTIONS):
            asked = questions[start : start + _QUESTIONS]
            self._agent.teach()
            self._agent.ask("digest", root)
            self._agent.send_all(map(encode, asked))
            told = self._agent.end(partial(agent_answers.digests, len(asked)))
            found.update((question.path, one) for question, one in zip(asked, told, strict=True))
        return found

    def guids(self, root: bytes, questions: Sequence[guids.Question]) -> list[list[bytes]]:
        """Return the GUIDs of messages by the indexes there, UNKNOWN_GUID for a message that has none.

        Nothing of an index that cannot be read.
        """
        from cyrsync.far.guids import encode

        self._agent.teach()
        self._agent.ask("guids", root)
        self._agent.send_all(map(encode, questions))
        return self._agent.end(partial(agent_answers.guids, [len(question.uids) for question in questions]))

    def look(self, root: bytes, paths: Sequence[bytes]) -> Iterator[Folder]:
        """List folders below `root` by themselves, in that order."""

        def read(path: bytes) -> Folder:
            found = folder.read(self._agent.stream)
            answers.asked_for(found.path, path)
            return found

        return self._agent.each("look", root, paths, read)

    def relink(self, moves: Sequence[Move]) -> Iterator[array[int]]:
        """Link messages to a new place; yield for each move the UIDs that are there."""
        from cyrsync.far.relink import encode

        self._agent.teach()
        self._agent.ask("relink")
        self._agent.send_all(map(encode, moves))
        for move in moves:
            yield self._agent.checked(partial(self._read_uids, move.uids))
        self._agent.end(agent_answers.nothing)

    @property
    def stores(self) -> Stores:
        """The stores of the history, by the agent."""
        from cyrsync.ends.stores import Stores  # what few commands need is not loaded by all

        return Stores(self._agent)

    def close(self) -> None:
        """End the agent."""
        self._agent.close()

    def _read_uids(self, asked: array[int]) -> array[int]:
        size, length = self._agent.record()
        uids = uid_sets.unpack(size, wire.read_data(self._agent.stream, length, wire.MAX_MESSAGES))
        if uid_sets.difference(uids, asked):
            raise WireError("messages that nobody asked for")
        return uids


def check_owner_file(root: bytes, number: int, error: str) -> None:
    """Raise NotWrittenError for an owner file that could not be written; the `number` 0 says that it was."""
    if number:
        raise NotWrittenError(f"{os.fsdecode(root)}: its owner file cannot be written: {error}", number)
