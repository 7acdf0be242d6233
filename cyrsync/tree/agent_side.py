"""A side that an agent serves: a child process for a replica on this machine, over ssh for a far one."""

from __future__ import annotations

import io
import json
import os
import sys
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from cyrsync import process
from cyrsync.audit.finding import Audited, from_record
from cyrsync.errors import ConnectionFailed, UnusableError, error_text
from cyrsync.tree import agent, bundle, folder, place, remove, to_disk
from cyrsync.tree import token as tokens
from cyrsync.tree import uids as uid_sets
from cyrsync.tree.agent import Room
from cyrsync.tree.at_work import Cyrus, at_work
from cyrsync.tree.folder import Folder
from cyrsync.tree.hold import Busy, Holds
from cyrsync.tree.link import Link, Patience
from cyrsync.tree.place import Placer, Placing
from cyrsync.tree.remove import Removal
from cyrsync.tree.shell import HAS_POSIX, HAS_PYTHON, RemoteShell, agent_command
from cyrsync.tree.side import Held, NotWrittenError, Removed, Rights, Status, resolve_here, unseen

if TYPE_CHECKING:
    from array import array

    from cyrsync.tree.digests import Digests, Question
    from cyrsync.tree.relink import Move
    from cyrsync.tree.take import Taken
    from cyrsync.tree.token import Token


class About(NamedTuple):
    """What an agent runs on, and the time there in seconds since 1970."""

    python: str
    user: str
    time: float


class AgentSide:
    """A tree read by an agent that answers over a link."""

    can_remove = True
    can_take = True
    wants_other = False

    def __init__(self, start: Callable[[], Link], compressed: bool) -> None:
        """`start` gives the link to the agent when something is first asked of it."""
        self._start = start
        self._compressed = compressed
        self._greeted = False
        self._taught = False

    @cached_property
    def _link(self) -> Link:
        return self._start()

    @cached_property
    def _answers(self) -> IO[bytes]:
        return io.BufferedReader(_Inflated(self._link.output)) if self._compressed else self._link.output

    @cached_property
    def rights(self) -> Rights:
        """Whose rights the agent has."""
        self._ask(do="identify", root=b"")
        hello = self._end_of_answer()
        return Rights(hello["euid"] == 0, frozenset(hello["groups"]))

    def numbers(self, names: Collection[str]) -> Mapping[str, int | None]:
        """Return the numbers that `user:NAME` and `group:NAME` have there, None for what is unknown."""
        self._ask(do="numbers", root=b"", names=sorted(names))
        return dict(zip(sorted(names), self._end_of_answer()["numbers"], strict=True))

    def about(self) -> About:
        """Return what the agent runs on."""
        self._ask(do="about", root=b"")
        found = self._end_of_answer()
        return About(found["python"], found["user"], found["time"])

    def room(self, path: bytes) -> Room:
        """Return what there is room for at `path`. Raise UnusableError where that is not known."""
        self._ask(do="room", root=path)
        found = self._end_of_answer()
        if found["error"]:
            raise UnusableError(f"{os.fsdecode(path)}: {found['error']}")
        return Room(*found["room"])

    def read(self, path: bytes) -> bytes:
        """Return what is in a small file. Raise OSError."""
        self._ask(do="read", root=path)
        found = self._end_of_answer()
        if found["error"]:
            raise OSError(found["error"], os.strerror(found["error"]), path)
        return bytes(found["text"].encode("latin-1"))

    def resolve(self, path: bytes) -> Status:
        """Return what stands at `path`, links resolved."""
        self._ask(do="resolve", root=path)
        found = self._end_of_answer()
        if found["error"]:
            raise unseen(path, found["error"])
        return Status(found["root"].encode("latin-1"), *found["status"])

    def cyrus_at_work(self, roots: Sequence[bytes]) -> list[Cyrus]:
        """Return who works on one of these directories, of any Cyrus there."""
        self._ask(do="at_work", root=b"", paths=[root.decode("latin-1") for root in roots])
        with self._garbled():
            found = self._end_of_answer()["found"]
            return [Cyrus(int(pid), conf.encode("latin-1"), root.encode("latin-1")) for pid, conf, root in found]

    def make(self, root: bytes) -> None:
        """Make a directory, and those above it, if they are not there. Raise UnusableError where that can't be."""
        self._ask(do="make", root=root)
        error = self._end_of_answer()["error"]
        if error:
            raise UnusableError(f"{os.fsdecode(root)}: it cannot be made on the replica: {error}")

    def hold(self, paths: Sequence[bytes]) -> Held:
        """Hold the directories that stand at `paths`, all or none of them. Raise UnusableError."""
        self._ask(do="hold", root=b"", paths=[path.decode("latin-1") for path in paths])
        found = self._end_of_answer()
        if found["error"]:
            raise UnusableError(f"{os.fsdecode(paths[0])}: it cannot be held: {found['error']}")
        if found["busy"]:
            root, pid, since = found["busy"]
            return Held(Busy(root.encode("latin-1"), pid, since), found["boot"])
        return Held(None, found["boot"])

    def put_token(self, root: bytes, token: Token) -> None:
        """Write what the replica says of itself. Raise NotWrittenError where that can't be."""
        self._ask(do="put_token", root=root, token=token.to_json())
        found = self._end_of_answer()
        _check_token(root, found["number"], found["error"])

    def to_disk(self, roots: Sequence[bytes]) -> None:
        """Wait until all that was written to these directories is on their disks. Raise OSError."""
        self._ask(do="to_disk", root=b"", paths=[root.decode("latin-1") for root in roots])
        number = self._end_of_answer()["number"]
        if number:
            raise OSError(number, os.strerror(number), roots[0])

    def stat(self, paths: Sequence[bytes]) -> list[tuple[int, int] | int | None]:
        """Return size and modification time (nanoseconds) of files, by their whole paths.

        None where there is no file, an errno where that was not to be seen.
        """
        self._ask(do="stat", root=b"", paths=[path.decode("latin-1") for path in paths])
        return [tuple(found) if isinstance(found, list) else found for found in self._end_of_answer()["found"]]

    def heads(self, paths: Sequence[bytes]) -> list[bytes]:
        """Return the first bytes of each cyrus.index, by their whole paths; none of one that cannot be read."""
        self._ask(do="heads", root=b"", paths=[path.decode("latin-1") for path in paths])
        with self._garbled():
            found = [str(one).encode("latin-1") for one in self._end_of_answer()["found"]]
            if len(found) != len(paths):
                raise ValueError("not as many as were asked for")
            return found
        raise self._link.failure()

    def walk(self, root: bytes, users: frozenset[str], other: Iterable[Folder] = ()) -> Iterator[Folder]:
        """Yield the folders below `root`; the agent starts at once and reads ahead."""
        self._ask(do="walk", root=root, users=sorted(users), leftovers=True)
        return self._folders()

    def remove(self, root: bytes, removals: Iterable[Removal], *, keep_times: bool) -> Removed:
        """Delete below `root`."""
        self._ask(do="remove", root=root, keep_times=keep_times)
        for removal in removals:
            self._link.send(remove.encode(removal))
        self._link.send(b"null\n")
        done = self._end_of_answer()
        return Removed(done["files"], done["folders"], [(p.encode("latin-1"), n) for p, n in done["failed"]])

    def begin_placing(self, *, numeric_ids: bool) -> None:
        """Let `place` follow, and nothing else until `end_placing`: the agent works while more is got ready."""
        self._ask(do="place", root=b"", numeric_ids=numeric_ids)

    def place(self, placing: Placing) -> None:
        """Put files of a folder in their places."""
        self._link.send(place.encode(placing))

    def end_placing(self) -> set[tuple[bytes, bytes]]:
        """Return the folders (root, path) where not all files are in their places."""
        self._link.send(b"null\n")
        return {(root.encode("latin-1"), path.encode("latin-1")) for root, path in self._end_of_answer()["failed"]}

    def audit(self, root: bytes, content: bool) -> Iterator[Audited]:
        """Check every mailbox below `root`, with `content` every message."""
        self._teach()
        self._ask(do="audit", root=root, content=content)
        for record in self._records():
            if isinstance(record, dict):
                return
            yield from_record(record)
        raise self._link.failure()

    def take(self, root: bytes, paths: Sequence[bytes]) -> Iterator[Taken]:
        """Take folders below `root` under Cyrus's locks, in that order."""
        from cyrsync.tree.take import decode  # what few runs need is not loaded by all

        self._teach()
        self._ask(do="take", root=root, paths=[path.decode("latin-1") for path in paths])
        for left in range(len(paths), 0, -1):
            with self._garbled():
                taken = decode(self._answers)
            if left == 1:
                self._end_of_answer()  # who takes the last asks for no more
            yield taken
        if not paths:
            self._end_of_answer()

    def digests(self, root: bytes, questions: Sequence[Question]) -> dict[bytes, Digests | None]:
        """Return what indexes say of messages; None where that cannot be read."""
        from cyrsync.tree.digests import Digests, encode

        if not questions:
            return {}
        self._teach()
        self._ask(do="digest", root=root)
        for question in questions:
            self._link.send(encode(question))
        self._link.send(b"null\n")
        found = self._end_of_answer()["digests"]
        with self._garbled():
            told = [Digests(*map(str, one)) if one else None for one in found]
            return {question.path: one for question, one in zip(questions, told, strict=True)}

    def look(self, root: bytes, paths: Sequence[bytes]) -> Iterator[Folder]:
        """List folders below `root` by themselves, in that order."""
        self._ask(do="look", root=root, paths=[path.decode("latin-1") for path in paths])
        return self._folders()

    def relink(self, moves: Sequence[Move]) -> Iterator[array[int]]:
        """Give messages a new place by hard links; yield for each move the UIDs that have it."""
        from cyrsync.tree.relink import encode

        self._teach()
        self._ask(do="relink", root=b"")
        for move in moves:
            self._link.send(encode(move))
        self._link.send(b"null\n")
        for _ in moves:
            with self._garbled():
                size, length = json.loads(self._answers.readline())
                uids = uid_sets.unpack(size, self._answers.read(length))
            yield uids
        self._end_of_answer()

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
            self._end_of_answer()
            self._taught = True

    def _ask(self, root: bytes, **request: Any) -> None:
        request["root"] = root.decode("latin-1")
        self._link.send(json.dumps(request).encode("ascii") + b"\n")

    def _folders(self) -> Iterator[Folder]:
        for record in self._records():
            if isinstance(record, dict):
                return
            yield self._decode(record)
        raise self._link.failure()

    def _end_of_answer(self) -> dict[str, Any]:
        for record in self._records():
            if isinstance(record, dict):
                return record
        raise self._link.failure()

    def _records(self) -> Iterator[Any]:
        if not self._greeted:
            self._link.wait_for(agent.GREETING.rstrip())
            self._greeted = True
        try:
            for line in iter(self._answers.readline, b""):
                yield json.loads(line)
        except (OSError, ValueError, zlib.error):
            raise self._link.failure() from None

    def _decode(self, record: Any) -> Folder:
        with self._garbled():
            size = record[3][1]
            steps = self._answers.read(size) if size else b""
            if len(steps) == size:
                return folder.decode(record, steps)
        raise self._link.failure()

    @contextmanager
    def _garbled(self) -> Iterator[None]:
        """Make one error of all that can be wrong with an answer."""
        try:
            yield
        except EOFError:
            raise self._link.failure() from None
        except (OSError, TypeError, ValueError, LookupError, zlib.error) as error:
            raise ConnectionFailed(f"{self._link.name}: the answer was garbled: {error}") from error


class ChildSide(AgentSide):
    """A replica on this machine, read by a child process while this one reads the source.

    What is done sooner than a child has started is done here.
    """

    def __init__(self) -> None:
        package = str(Path(__file__).resolve().parents[2])
        start = f"import sys; sys.path.insert(0, {package!r}); from cyrsync.tree import agent; agent.main()"
        super().__init__(lambda: Link([sys.executable, "-I", "-S", "-c", start], "the local agent"), compressed=False)
        self._holds = Holds()
        self._placer = Placer(numeric_ids=False)

    @cached_property
    def rights(self) -> Rights:
        """Whose rights the child has: ours."""
        return Rights(os.geteuid() == 0, frozenset(os.getgroups()))

    def numbers(self, names: Collection[str]) -> Mapping[str, int | None]:
        """Return the numbers that names have here, also such as are asked for later."""
        return _NumbersHere()

    def make(self, root: bytes) -> None:
        """Make a directory, and those above it, if they are not there."""
        if not os.path.isdir(root) or os.path.lexists(os.path.join(root, remove.RENAMED)):
            super().make(root)

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

    def hold(self, paths: Sequence[bytes]) -> Held:
        """Hold the directories that stand at `paths`, all or none of them. Raise UnusableError."""
        try:
            busy = self._holds.hold(paths)
        except OSError as error:
            raise UnusableError(f"{error_text(error)}: it cannot be held") from None
        process.share(self._holds.descriptors())
        return Held(busy, tokens.boot_id())

    def put_token(self, root: bytes, token: Token) -> None:
        """Write what the replica says of itself. Raise NotWrittenError where that can't be."""
        _check_token(root, *agent.put_token(root, token.to_json()))

    def to_disk(self, roots: Sequence[bytes]) -> None:
        """Wait until all that was written to these directories is on their disks. Raise OSError."""
        to_disk.to_disk(roots)

    def begin_placing(self, *, numeric_ids: bool) -> None:
        """Let `place` follow."""
        self._placer = Placer(numeric_ids)

    def place(self, placing: Placing) -> None:
        """Put files of a folder in their places."""
        self._placer.place(placing)

    def end_placing(self) -> set[tuple[bytes, bytes]]:
        """Return the folders (root, path) where not all files are in their places."""
        return set(self._placer.finish())

    def close(self) -> None:
        """End the child, if there is one, and let go of the replica."""
        super().close()
        process.share(())
        self._holds.close()


class _NumbersHere(dict[str, "int | None"]):
    """The numbers that names have on this machine, looked up when they are first asked for."""

    def __missing__(self, name: str) -> int | None:
        self[name] = agent.number(name)
        return self[name]


class _Inflated(io.RawIOBase):
    """What a compressed stream says, as far as it has arrived."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._inflate = zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._inflate.decompress(self._inflate.unconsumed_tail, len(buffer))
        while not data:
            arrived = self._stream.read1(1 << 16)  # type: ignore[attr-defined]
            if not arrived:
                return 0
            data = self._inflate.decompress(arrived, len(buffer))
        buffer[: len(data)] = data
        return len(data)


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
