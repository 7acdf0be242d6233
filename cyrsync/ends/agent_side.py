"""A side that an agent serves: a child process for a replica on this machine, over ssh for a far one."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from cyrsync import process
from cyrsync.cyrus.mailbox import index
from cyrsync.ends import answers, bundle
from cyrsync.ends.inflated import Inflated
from cyrsync.ends.link import Link, Patience
from cyrsync.ends.shell import HAS_POSIX, HAS_PYTHON, RemoteShell, agent_command
from cyrsync.ends.side import Held, NotWrittenError, Removed, Rights, Status, UnderLocks, Writer, resolve_here, unseen
from cyrsync.errors import UnusableError, error_text
from cyrsync.far import agent, folder, quick_check, remove, to_disk, wire
from cyrsync.far import token as tokens
from cyrsync.far import uids as uid_sets
from cyrsync.far.agent import Room
from cyrsync.far.at_work import Cyrus, at_work
from cyrsync.far.beginning import Beginning
from cyrsync.far.extended import NO_KINDS, Kinds
from cyrsync.far.finding import Audited, from_record
from cyrsync.far.folder import Entry, Folder
from cyrsync.far.frames import Deflated, Encoder, Part
from cyrsync.far.hold import Busy, Holds
from cyrsync.far.receive import Failure, Receiver
from cyrsync.far.remove import Removal
from cyrsync.far.wire import WireError

if TYPE_CHECKING:
    from array import array

    from cyrsync.far.digests import Digests, Question
    from cyrsync.far.relink import Move
    from cyrsync.far.take import Taken
    from cyrsync.far.token import Token

Answer = TypeVar("Answer")
_MAX_ID = (1 << 32) - 1  # of users and groups
_MAX_GROUPS = 1 << 16  # NGROUPS_MAX of Linux
_MAX_PROCESSES = 1 << 22  # PID_MAX_LIMIT of Linux
_MAX_DIGEST = 40  # characters of a SHA-1 in hexadecimal
_QUESTIONS = 10_000  # that one line answers
_MAX_BOOT = 100  # characters of what names a boot
_MAX_ROOM = 1 << 100  # bytes, inodes, or the number of a device
_PATIENCE = 5.0  # seconds


class Sink(Protocol):
    """What takes a stream of mailboxes: see `Encoder`, which sends it on, and `Receiver`, which writes it."""

    def part(self, part: Part) -> None:
        """Begin a part of the present mailbox."""

    def message(self, uid: int, entry: Entry, data: bytes) -> None:
        """Take a message file of that part, or the first piece of it."""

    def file(self, name: bytes, entry: Entry, data: bytes) -> None:
        """Take another file, or the first piece of it, or a symbolic link."""

    def tail(self, name: bytes, entry: Entry, offset: int, data: bytes) -> None:
        """Take what a file has beyond so many bytes, which are there, or the first piece of it."""

    def more(self, data: bytes) -> None:
        """Take the next piece of a file."""

    def commit(self) -> None:
        """Give the mailbox its place."""

    def abandon(self) -> None:
        """Leave everything of the mailbox as it was."""


class About(NamedTuple):
    """What an agent runs on, and the time there in seconds since 1970."""

    python: str
    user: str
    time: float


class AgentSide:
    """A tree read by an agent that answers over a link."""

    wants_other = False

    def __init__(self, start: Callable[[], Link], compressed: bool) -> None:
        """`start` gives the link to the agent when something is first asked of it."""
        self._start = start
        self._compressed = compressed
        self._greeted = False
        self._taught = False

    @property
    def under_locks(self) -> UnderLocks:
        """The agent."""
        return self

    @property
    def writer(self) -> Writer:
        """The agent."""
        return self

    @cached_property
    def _link(self) -> Link:
        return self._start()

    @cached_property
    def _answers(self) -> IO[bytes]:
        return io.BufferedReader(Inflated(self._link.output)) if self._compressed else self._link.output

    @cached_property
    def rights(self) -> Rights:
        """Whose rights the agent has."""
        self._ask(do="identify", root=b"")
        return self._end(_rights)

    def numbers(self, names: Collection[str]) -> Mapping[str, int | None]:
        """Return the numbers that `user:NAME` and `group:NAME` have there, None for what is unknown."""
        self._ask(do="numbers", root=b"", names=sorted(names))
        return dict(zip(sorted(names), self._end(partial(_numbers, len(names))), strict=True))

    def about(self) -> About:
        """Return what the agent runs on."""
        self._ask(do="about", root=b"")
        return self._end(_about)

    def room(self, path: bytes) -> Room:
        """Return what there is room for at `path`. Raise UnusableError where that is not known."""
        self._ask(do="room", root=path)
        found = self._end(_room)
        if isinstance(found, str):
            raise UnusableError(f"{os.fsdecode(path)}: {found}")
        return found

    def read(self, path: bytes) -> bytes:
        """Return what is in a small file. Raise OSError."""
        self._ask(do="read", root=path)
        found = self._end(_contents)
        if isinstance(found, int):
            raise OSError(found, os.strerror(found), path)
        return found

    def resolve(self, path: bytes) -> Status:
        """Return what stands at `path`, links resolved."""
        self._ask(do="resolve", root=path)
        found = self._end(_status)
        if isinstance(found, int):
            raise unseen(path, found)
        return found

    def cyrus_at_work(self, roots: Sequence[bytes]) -> list[Cyrus]:
        """Return who works on one of these directories, of any Cyrus there."""
        self._ask(do="at_work", root=b"", paths=answers.texts(roots))
        return self._end(partial(_cyruses, roots))

    def make(self, root: bytes) -> None:
        """Make a directory, and those above it, if they are not there. Raise UnusableError where that can't be."""
        self._ask(do="make", root=root)
        error = self._end(_error)
        if error:
            raise UnusableError(f"{os.fsdecode(root)}: it cannot be made on the replica: {error}")

    def clear(self, root: bytes) -> None:
        """Remove the hidden directory that a killed run has left in a root, if it can be; nobody may write there."""
        self._ask(do="clear", root=root)
        self._end(_nothing)

    def let_go(self) -> None:
        """Hold nothing any more, until asked again."""
        self._ask(do="let_go", root=b"")
        self._end(_nothing)

    def hold(self, paths: Sequence[bytes]) -> Held:
        """Hold the directories that stand at `paths`, all or none of them. Raise UnusableError."""
        return self._hold(paths, among=False)

    def hold_among(self, paths: Sequence[bytes]) -> Held:
        """Let go of all, and hold these directories alone, or together with others who hold them so."""
        return self._hold(paths, among=True)

    def share(self) -> Held:
        """Let others hold with us what we hold alone."""
        self._ask(do="share", root=b"")
        found = self._end(_held)
        if isinstance(found, str):
            raise UnusableError(f"what is held cannot be shared: {found}")
        return found

    def _hold(self, paths: Sequence[bytes], *, among: bool) -> Held:
        self._ask(do="hold", root=b"", paths=answers.texts(paths), among=among)
        found = self._end(_held)
        if isinstance(found, str):
            raise UnusableError(f"{os.fsdecode(paths[0])}: it cannot be held: {found}")
        return found

    def put_token(self, root: bytes, token: Token) -> None:
        """Write what the replica says of itself. Raise NotWrittenError where that can't be."""
        self._ask(do="put_token", root=root, token=token.to_json())
        _check_token(root, *self._end(_written))

    def to_disk(self, roots: Sequence[bytes]) -> None:
        """Wait until all that was written to these directories is on their disks. Raise OSError."""
        self._ask(do="to_disk", root=b"", paths=answers.texts(roots))
        number = self._end(_number)
        if number:
            raise OSError(number, os.strerror(number), roots[0])

    def stat(self, paths: Sequence[bytes]) -> list[tuple[int, int] | int | None]:
        """Return size and modification time (nanoseconds) of files, by their whole paths.

        None where there is no file, an errno where that was not to be seen.
        """
        found: list[tuple[int, int] | int | None] = []
        for portion in answers.portions(paths):
            self._ask(do="stat", root=b"", paths=answers.texts(portion))
            found += self._end(partial(_stats, len(portion)))
        return found

    def heads(self, paths: Sequence[bytes]) -> list[bytes]:
        """Return the first bytes of each cyrus.index, by their whole paths; none of one that cannot be read."""
        found: list[bytes] = []
        for portion in answers.portions(paths):
            self._ask(do="heads", root=b"", paths=answers.texts(portion))
            found += self._end(partial(_heads, len(portion)))
        return found

    def walk(self, root: bytes, users: frozenset[str], other: Iterable[Folder] = ()) -> Iterator[Folder]:
        """Yield the folders below `root`; the agent starts at once and reads ahead."""
        self._ask(do="walk", root=root, users=sorted(users))
        return self._walked(answers.WalkOrder(users))

    def remove(self, root: bytes, removals: Iterable[Removal], *, keep_times: bool) -> Removed:
        """Delete below `root`."""
        return self._remove(root, removals, keep_times=keep_times, temporary=False)

    def remove_temporary(self, root: bytes, removals: Iterable[Removal], *, keep_times: bool) -> Removed:
        """Delete what a killed rsync has left of the files that the removals name."""
        return self._remove(root, removals, keep_times=keep_times, temporary=True)

    def _remove(self, root: bytes, removals: Iterable[Removal], *, keep_times: bool, temporary: bool) -> Removed:
        self._ask(do="remove", root=root, keep_times=keep_times, temporary=temporary)
        asked = set()
        for removal in removals:
            asked.add(removal.path)
            self._link.send(remove.encode(removal))
        self._link.send(b"null\n")
        failed: list[tuple[bytes, int]] = []
        files, folders = self._end(_counts, lambda record: failed.append(_not_removed(record, asked)))
        return Removed(files, folders, failed)

    def same(self, question: quick_check.Question, *, numeric_ids: bool) -> array[int]:
        """Return the UIDs of messages that are there as they are here; owners and permissions are set."""
        self._teach()
        self._ask(do="compare", root=b"", numeric_ids=numeric_ids)
        self._link.send(quick_check.encode(question))
        found = self._checked(partial(self._read_uids, uid_sets.of([uid for uid, _ in question.messages])))
        self._end(_nothing)
        return found

    def beginnings(self, paths: Sequence[bytes]) -> list[Beginning | None]:
        """Return what files hold that may have grown here since, by their whole paths; None where that is no help."""
        self._teach()
        self._ask(do="beginnings", root=b"", paths=answers.texts(paths))
        return self._end(partial(_beginnings, len(paths)))

    def begin_stream(self, *, numeric_ids: bool, aside: bool, much: bool, compressed: bool = False) -> Sink:
        """Return what writes mailboxes there, until `finish_stream`; `much`: more will follow.

        With `aside`, a folder that is not there gets its name as a whole; then nobody else may write there.
        """
        self._ask(do="receive", root=b"", numeric_ids=numeric_ids, aside=aside, compressed=compressed)
        self._deflated = Deflated(self._link.send) if compressed else None
        self._encoder = Encoder(self._deflated.write if self._deflated else self._link.send)
        return self._encoder

    def finish_stream(self) -> None:
        """End the stream; `stream_failures` is asked next."""
        self._encoder.end()
        if self._deflated:
            self._deflated.end()

    def stream_failures(self) -> list[Failure]:
        """Return which mailboxes of a stream that was ended are not in their places."""
        failures: list[Failure] = []
        self._end(_nothing, lambda record: failures.append(_not_received(record, self._encoder.mailboxes)))
        return failures

    def audit(self, root: bytes, content: bool) -> Iterator[Audited]:
        """Check every mailbox below `root`, with `content` every message."""
        self._teach()
        self._ask(do="audit", root=root, content=content)
        order = answers.Rising()
        while True:
            found = self._checked(partial(self._read_audited, order))
            if found is None:
                return
            yield found

    def take(
        self, root: bytes, paths: Sequence[bytes], wanted: Kinds = NO_KINDS, *, numeric_ids: bool = False
    ) -> Iterator[Taken]:
        """Take folders below `root` under Cyrus's locks, in that order: see `Side.take`."""
        from cyrsync.far.take import decode  # what few runs need is not loaded by all

        def read(path: bytes) -> Taken:
            self._greet()
            taken = decode(self._answers, numeric_ids)
            answers.asked_for(taken.folder.path, path)
            return taken

        if paths:
            self._teach()
        return self._each("take", root, paths, read, acls=wanted.acls, xattrs=wanted.xattrs)

    def links_to_mailboxes(self, root: bytes, paths: Sequence[bytes]) -> list[bytes]:
        """Return those of these links behind which mailboxes lie."""
        self._teach()
        self._ask(do="links", root=root, paths=[path.decode("latin-1") for path in paths])
        found = self._end(_links)
        return [path for path in paths if path in found]

    def digests(self, root: bytes, questions: Sequence[Question]) -> dict[bytes, Digests | None]:
        """Return what indexes say of messages; None where that cannot be read."""
        from cyrsync.far.digests import encode

        found: dict[bytes, Digests | None] = {}
        for start in range(0, len(questions), _QUESTIONS):
            asked = questions[start : start + _QUESTIONS]
            self._teach()
            self._ask(do="digest", root=root)
            for question in asked:
                self._link.send(encode(question))
            self._link.send(b"null\n")
            told = self._end(partial(_digests, len(asked)))
            found.update((question.path, one) for question, one in zip(asked, told, strict=True))
        return found

    def look(self, root: bytes, paths: Sequence[bytes]) -> Iterator[Folder]:
        """List folders below `root` by themselves, in that order."""

        def read(path: bytes) -> Folder:
            self._greet()
            found = folder.read(self._answers)
            answers.asked_for(found.path, path)
            return found

        return self._each("look", root, paths, read)

    def relink(self, moves: Sequence[Move]) -> Iterator[array[int]]:
        """Give messages a new place by hard links; yield for each move the UIDs that have it."""
        from cyrsync.far.relink import encode

        self._teach()
        self._ask(do="relink", root=b"")
        for move in moves:
            self._link.send(encode(move))
        self._link.send(b"null\n")
        for move in moves:
            yield self._checked(partial(self._read_uids, move.uids))
        self._end(_nothing)

    def close(self) -> None:
        """End the agent."""
        if "_link" in self.__dict__:
            self._link.close()

    def _teach(self) -> None:
        """Send what the agent needs for more than a walk, once."""
        if not self._taught:
            program = bundle.more()
            self._ask(do="load", root=b"", size=len(program))
            self._link.send(program)
            self._end(_nothing)
            self._taught = True

    def _ask(self, root: bytes, **request: Any) -> None:
        request["root"] = root.decode("latin-1")
        self._link.send(json.dumps(request).encode("ascii") + b"\n")

    def _each(
        self, what: str, root: bytes, paths: Sequence[bytes], read: Callable[[bytes], Answer], **more: bool
    ) -> Iterator[Answer]:
        """Ask for something of each of the paths, with `more` to say, and yield the answers."""
        for portion in answers.portions(paths):
            self._ask(do=what, root=root, paths=answers.texts(portion), **more)
            for left, path in zip(range(len(portion), 0, -1), portion, strict=True):
                answer = self._checked(partial(read, path))
                if left == 1:
                    self._end(_nothing)  # who takes the last asks for no more
                yield answer

    def _walked(self, order: answers.WalkOrder) -> Iterator[Folder]:
        read = partial(self._read_walked, order)
        while True:
            found = self._checked(read)
            if found is None:
                return
            yield found

    def _read_walked(self, order: answers.WalkOrder) -> Folder | None:
        record = self._next()
        if _is_end(record):
            order.end()
            return None
        found = folder.read_rest(record, self._answers)
        order.add(found)
        return found

    def _read_audited(self, order: answers.Rising) -> Audited | None:
        record = self._next()
        if _is_end(record):
            return None
        found = from_record(record)
        order.add(found.path)
        return found

    def _read_uids(self, asked: array[int]) -> array[int]:
        size, length = self._next()
        uids = uid_sets.unpack(size, wire.read_data(self._answers, length, wire.MAX_MESSAGES))
        if uid_sets.difference(uids, asked):
            raise WireError("messages that nobody asked for")
        return uids

    def _end(self, read: Callable[[dict[str, Any]], Answer], each: Callable[[Any], object] | None = None) -> Answer:
        """Return what the last line of an answer says; `each` reads the lines before, if there may be any."""

        def read_all() -> Answer:
            record = self._next()
            while not _is_end(record):
                if each is None:
                    raise WireError("more than was asked for")
                each(record)
                record = self._next()
            return read(record)

        return self._checked(read_all)

    def _next(self) -> Any:
        """Return the next line of an answer. Raise WireError, or EOFError."""
        self._greet()
        return wire.read_record(self._answers)

    def _greet(self) -> None:
        if not self._greeted:
            self._link.wait_for(agent.GREETING.rstrip())
            self._greeted = True

    def _checked(self, read: Callable[[], Answer]) -> Answer:
        """Make one error of all that can be wrong with an answer."""
        try:
            return read()
        except (EOFError, OSError):
            raise self._link.failure() from None
        except answers.WRONG as error:
            raise answers.wrong(self._link.name, error) from None


def _is_end(record: Any) -> bool:
    """Tell whether a line is the last of an answer. Raise WireError for one that is neither that nor another."""
    if type(record) is dict and record.get("end") is True:
        return True
    wire.list_of(record)
    return False


def _nothing(_: dict[str, Any]) -> None:
    """Read nothing but that this is the end."""


def _so_many(count: int, told: list[Answer]) -> list[Answer]:
    """See that there is an answer to each question. Raise WireError."""
    if len(told) != count:
        raise WireError(f"{len(told)} instead of {count}")
    return told


def _error(found: dict[str, Any]) -> str:
    return wire.text(found["error"])


def _rights(found: dict[str, Any]) -> Rights:
    groups = [wire.number(group, _MAX_ID) for group in wire.list_of(found["groups"], _MAX_GROUPS)]
    return Rights(wire.number(found["euid"], _MAX_ID) == 0, frozenset(groups), wire.flag(found["attributes"]))


def _numbers(count: int, found: dict[str, Any]) -> list[int | None]:
    return _so_many(
        count, [None if one is None else wire.number(one, _MAX_ID) for one in wire.list_of(found["numbers"])]
    )


def _links(found: dict[str, Any]) -> set[bytes]:
    return {wire.path(path) for path in wire.list_of(found["found"])}


def _digests(count: int, found: dict[str, Any]) -> list[Digests | None]:
    from cyrsync.far.digests import Digests

    told = []
    for one in wire.list_of(found["digests"]):
        told.append(None if one is None else Digests(*[wire.text(text, _MAX_DIGEST) for text in wire.list_of(one)]))
    return _so_many(count, told)


def _heads(count: int, found: dict[str, Any]) -> list[bytes]:
    return _so_many(count, [wire.text(one, index.READ_SIZE).encode("latin-1") for one in wire.list_of(found["found"])])


def _number(found: dict[str, Any]) -> int:
    return wire.number(found["number"], wire.MAX_ERRNO)


def _about(found: dict[str, Any]) -> About:
    return About(wire.text(found["python"]), wire.text(found["user"]), answers.time(found["time"]))


def _room(found: dict[str, Any]) -> Room | str:
    if found["error"]:
        return wire.text(found["error"])
    fields = Room(*found["room"])
    for size in fields[:-1]:
        wire.number(size, _MAX_ROOM)
    wire.flag(fields.writable)
    return fields


def _contents(found: dict[str, Any]) -> bytes | int:
    """Return what is in a file, or its errno."""
    number = wire.number(found["error"], wire.MAX_ERRNO)
    return number or wire.text(found["text"], agent.LARGEST).encode("latin-1")


def _status(found: dict[str, Any]) -> Status | int:
    """Return what stands somewhere, or the errno that kept it from being seen."""
    if found["error"]:
        return wire.number(found["error"], wire.MAX_ERRNO)
    exists, directory, parent, token, bare = found["status"]
    root = wire.whole_path(found["root"])
    if not root.startswith(b"/"):
        raise WireError(f"no whole path: {wire.shown(root)}")
    return Status(root, wire.flag(exists), wire.flag(directory), wire.flag(parent), wire.text(token), wire.flag(bare))


def _held(found: dict[str, Any]) -> Held | str:
    """Return what came of holding, or why it cannot be."""
    if found["error"]:
        return wire.text(found["error"])
    boot, alone = wire.text(found["boot"], _MAX_BOOT), wire.flag(found["alone"])
    if found["busy"] is None:
        return Held(None, boot, alone)
    root, pid, since = found["busy"]
    return Held(Busy(wire.whole_path(root), wire.number(pid, _MAX_PROCESSES), answers.time(since)), boot, alone)


def _written(found: dict[str, Any]) -> tuple[int, str]:
    """Return the errno of what could not be written, -1 where it has none and 0 where it is written; and why."""
    return wire.number(found["number"], wire.MAX_ERRNO, -1), wire.text(found["error"])


def _cyruses(roots: Sequence[bytes], found: dict[str, Any]) -> list[Cyrus]:
    there = []
    for pid, conf, root in wire.list_of(found["found"], _MAX_PROCESSES):
        there.append(Cyrus(wire.number(pid, _MAX_PROCESSES), wire.whole_path(conf), wire.whole_path(root)))
        if there[-1].directory not in (b"", *roots):
            raise WireError(f"what nobody asked for: {wire.shown(there[-1].directory)}")
    return there


def _stats(count: int, found: dict[str, Any]) -> list[tuple[int, int] | int | None]:
    return _so_many(count, [answers.size_and_time(look) for look in wire.list_of(found["found"])])


def _counts(found: dict[str, Any]) -> tuple[int, int]:
    return wire.number(found["files"], wire.MAX_SIZE), wire.number(found["folders"], wire.MAX_SIZE)


def _not_removed(record: Any, asked: set[bytes]) -> tuple[bytes, int]:
    path, number = record
    return answers.inside(wire.path(path), asked), wire.number(number, wire.MAX_ERRNO)


def _beginning(size: Any, digest: Any) -> Beginning:
    return Beginning(wire.number(size, wire.MAX_SIZE), wire.text(digest, _MAX_DIGEST))


def _beginnings(count: int, found: dict[str, Any]) -> list[Beginning | None]:
    return _so_many(count, [None if one is None else _beginning(*one) for one in wire.list_of(found["found"])])


def _not_received(record: Any, mailboxes: int) -> Failure:
    mailbox, number, path = record
    found = wire.number(mailbox, mailboxes - 1), wire.number(number, wire.MAX_ERRNO, 1)
    return Failure(*found, wire.text(path, wire.MAX_LINE).encode("latin-1"))


class ChildSide(AgentSide):
    """A replica on this machine, read by a child process while this one reads the source.

    What is done sooner than a child has started is done here.
    """

    def __init__(self) -> None:
        package = str(Path(__file__).resolve().parents[2])
        start = f"import sys; sys.path.insert(0, {package!r}); from cyrsync.far import agent; agent.main()"
        super().__init__(lambda: Link([sys.executable, "-I", "-S", "-c", start], "the local agent"), compressed=False)
        self._holds = Holds()
        self._receiver: Receiver | None = None

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
            super().make(root)

    def clear(self, root: bytes) -> None:
        """Remove the hidden directory that a killed run has left in a root, if it can be; nobody may write there."""
        if os.path.lexists(os.path.join(root, remove.RENAMED)):
            super().clear(root)

    def resolve(self, path: bytes) -> Status:
        """Return what stands at `path`, links resolved."""
        return resolve_here(path)

    def cyrus_at_work(self, roots: Sequence[bytes]) -> list[Cyrus]:
        """Return who works on one of these directories, of any Cyrus here."""
        return at_work(roots)

    def stat(self, paths: Sequence[bytes]) -> list[tuple[int, int] | int | None]:
        """Return what `AgentSide.stat` does."""
        return [agent.status(path) for path in paths]

    def heads(self, paths: Sequence[bytes]) -> list[bytes]:
        """Return what `AgentSide.heads` does."""
        return [agent.head(path) for path in paths]

    def let_go(self) -> None:
        """Hold nothing any more, until asked again."""
        process.share(())
        self._holds.close()

    def share(self) -> Held:
        """Let others hold with us what we hold alone."""
        return Held(self._holds.share(), tokens.boot_id(), alone=False)

    def _hold(self, paths: Sequence[bytes], *, among: bool) -> Held:
        alone = True
        try:
            if among:
                busy, alone = self._holds.hold_among(paths)
            else:
                busy = self._holds.hold(paths)
        except OSError as error:
            raise UnusableError(f"{error_text(error)}: it cannot be held") from None
        process.share(self._holds.descriptors())
        return Held(busy, tokens.boot_id(), alone)

    def put_token(self, root: bytes, token: Token) -> None:
        """Write what the replica says of itself. Raise NotWrittenError where that can't be."""
        _check_token(root, *agent.put_token(root, token.to_json()))

    def to_disk(self, roots: Sequence[bytes]) -> None:
        """Wait until all that was written to these directories is on their disks. Raise OSError."""
        to_disk.to_disk(roots)

    def same(self, question: quick_check.Question, *, numeric_ids: bool) -> array[int]:
        """Return the UIDs of messages that are there as they are here; owners and permissions are set."""
        return quick_check.same(question, numeric_ids)

    def beginnings(self, paths: Sequence[bytes]) -> list[Beginning | None]:
        """Return nothing: here all of a file costs no more than a look at it."""
        return [None] * len(paths)

    def begin_stream(self, *, numeric_ids: bool, aside: bool, much: bool, compressed: bool = False) -> Sink:
        """Return what writes mailboxes here; where much will follow, in the child, beside who reads them."""
        if much:
            self._receiver = None
            return super().begin_stream(numeric_ids=numeric_ids, aside=aside, much=much, compressed=compressed)
        self._receiver = Receiver(numeric_ids, aside)
        return self._receiver

    def finish_stream(self) -> None:
        """End the stream; `stream_failures` is asked next."""
        if not self._receiver:
            super().finish_stream()

    def stream_failures(self) -> list[Failure]:
        """Return which mailboxes of a stream that was ended are not in their places."""
        return self._receiver.end() if self._receiver else super().stream_failures()

    def close(self) -> None:
        """End the child, if there is one, and let go of the replica."""
        super().close()
        process.share(())
        self._holds.end(_PATIENCE)  # an rsync that failed ends some time before its own children


class _NumbersHere(dict[str, "int | None"]):
    """The numbers that names have on this machine, looked up when they are first asked for."""

    def __missing__(self, name: str) -> int | None:
        self[name] = agent.number(name)
        return self[name]


def _check_token(root: bytes, number: int, error: str) -> None:
    if number:
        raise NotWrittenError(f"{os.fsdecode(root)}: its owner file cannot be written: {error}", number)


def open_far(shell: RemoteShell, host: str, patience: Patience) -> AgentSide | Link:
    """Start an agent at the far end; where there is no python3, return the link to the shell that answered.

    Raise NoAgentError where another command is run than was sent.
    """
    link = Link(shell.words(agent_command(bundle.BOOTSTRAP), first=True), host, patience.silence)
    try:
        answer = link.first_answer((HAS_PYTHON, HAS_POSIX), patience.answer, shell.is_logged_in)
    except BaseException:
        link.close()
        raise
    if answer == HAS_POSIX:
        return link
    link.send(bundle.program())
    return AgentSide(lambda: link, compressed=True)
