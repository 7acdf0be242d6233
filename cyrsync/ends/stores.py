"""The stores of a replica, asked for over a link to its agent. Every answer is checked where it is read."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from cyrsync.ends import agent_answers, answers
from cyrsync.ends.agent_link import AgentLink
from cyrsync.ends.tree_size import MAX_OTHERS
from cyrsync.far import wire
from cyrsync.far.prune import Swept
from cyrsync.far.store import STATE, VERSION
from cyrsync.far.unnamed import Removal
from cyrsync.far.wire import WireError

_Answer = TypeVar("_Answer")
_DIRECTORY = re.compile(rb"[A-Za-z0-9_-]+\Z")


class KeptState(NamedTuple):
    """A state of a mailbox: its name; the mailbox's directory and name then, b"" if unknown."""

    name: bytes
    folder: bytes
    mailbox: bytes


class KeptMailbox(NamedTuple):
    """The history of a mailbox: states, records of messages deleted in between; until when the newest held (ns)."""

    directory: bytes
    states: tuple[KeptState, ...]
    ended: int


class KeptFile(NamedTuple):
    """The history of another file: the directory of its versions below `files`; until when the newest held (ns)."""

    path: bytes
    versions: tuple[bytes, ...]
    ended: int


@dataclass(slots=True)
class Listed:
    """What the store below one root has."""

    there: bool = False
    knows_held: bool = False  # else it cannot be read who is held
    held: dict[bytes, bytes] = field(default_factory=dict)  # user: since when, by whom
    mailboxes: list[KeptMailbox] = field(default_factory=list)
    files: list[KeptFile] = field(default_factory=list)
    damaged: list[bytes] = field(default_factory=list)  # paths of states
    problems: list[tuple[bytes, str]] = field(default_factory=list)


class Stores:
    """The stores, by the agent."""

    def __init__(self, agent: AgentLink) -> None:
        self._agent = agent

    def look(self, root: bytes, *, read: bool = False, brief: bool = False) -> Listed:
        """Return what the store below a root has; `read`: also unreadable states; `brief`: only who is held."""
        listed = Listed()
        self._ask("list", root, read=read, brief=brief)

        def each(record: Any) -> None:
            kind, *rest = record
            _READ[kind](listed, *rest)

        listed.there, listed.knows_held = self._agent.end(
            lambda found: (wire.flag(found["there"]), wire.flag(found["is_known"])), each, MAX_OTHERS
        )
        return listed

    def prune(
        self,
        roots: Sequence[bytes],
        removals: Iterable[Removal],
        *,
        grace: int,
        dry_run: bool,
        sweep: bool,
        tell: Callable[[int], object],
    ) -> tuple[Swept, list[tuple[bytes, str]]]:
        """Remove states of one partition, with `sweep` also what no state names; return also what went wrong."""
        self._ask("prune", paths=answers.texts(roots), grace=grace, dry_run=dry_run, sweep=sweep)
        return self._of_each(roots, removals, tell, _swept)

    def forget(
        self, roots: Sequence[bytes], removals: Iterable[Removal], *, sweep: bool, tell: Callable[[int], object]
    ) -> tuple[Swept, list[tuple[bytes, str]]]:
        """Erase states of one partition, and with `sweep` the messages that only they name."""
        self._ask("forget", paths=answers.texts(roots), sweep=sweep)
        return self._of_each(roots, removals, tell, _swept)

    def mentioning(
        self, root: bytes, paths: Sequence[bytes], words: Iterable[bytes], tell: Callable[[int], object]
    ) -> tuple[list[bytes], list[tuple[bytes, str]]]:
        """Return which versions, and files of states, may have any of some words; and what cannot be read, and why.

        `paths` has versions and states. All paths are paths in the store, but for those of what cannot be read.
        """
        self._ask("mentioning", root, paths=[], words=[word.decode("latin-1") for word in words])
        found: list[bytes] = []
        asked = frozenset(paths)

        def mentions(path: str) -> None:
            raw = wire.path(path)
            if raw not in asked and raw.rpartition(b"/")[0] not in asked:
                raise WireError(f"not asked for: {wire.shown(raw)}")
            found.append(raw)

        _, problems = self._of_each(
            [root], [Removal(root, path) for path in paths], tell, agent_answers.nothing, mentions
        )
        return found, problems

    def kept(self, root: bytes, path: bytes) -> bytes:
        """Return what a version, or a file of a state, has, by its path in the store. Raise OSError."""
        self._ask("kept", root, path=path.decode("latin-1"))

        def read() -> bytes | str:
            size = self._agent.record()
            if isinstance(size, dict):
                return wire.text(size["error"])
            return wire.read_data(self._agent.stream, size, wire.MAX_FILE)

        found = self._agent.checked(read)
        if isinstance(found, str):
            raise OSError(errno.EIO, found)
        self._agent.end(agent_answers.nothing)
        return found

    def rewrite(self, root: bytes, path: bytes, data: bytes) -> None:
        """Replace a version, or a file of a state. Raise OSError."""
        self._ask("rewrite", root, path=path.decode("latin-1"), size=len(data))
        self._agent.send(data)
        wrong = self._agent.end(lambda found: wire.text(found["error"]))
        if wrong:
            raise OSError(errno.EIO, wrong)

    def hold(self, roots: Sequence[bytes], user: bytes, text: str) -> str:
        """Hold a user in each store; return what went wrong, else ""."""
        return self._say("hold", roots, [user.decode("latin-1"), text])[0]

    def release(self, roots: Sequence[bytes], user: bytes) -> tuple[str, int]:
        """End the hold of a user; return what went wrong, and in how many stores the user was held."""
        return self._say("release", roots, [user.decode("latin-1")])

    def record(self, roots: Sequence[bytes], line: str) -> str:
        """Note in each store that somebody was forgotten; return what went wrong."""
        return self._say("record", roots, [line])[0]

    def _say(self, what: str, roots: Sequence[bytes], words: list[str]) -> tuple[str, int]:
        self._ask(what, paths=answers.texts(roots), words=words)
        return self._agent.end(lambda found: (wire.text(found["error"]), wire.number(found["number"], len(roots))))

    def _ask(self, what: str, root: bytes = b"", **more: Any) -> None:
        self._agent.teach()
        self._agent.ask("store", root, what=what, **more)

    def _of_each(
        self,
        roots: Sequence[bytes],
        removals: Iterable[Removal],
        tell: Callable[[int], object],
        at_end: Callable[[Any], _Answer],
        mentions: Callable[[str], object] | None = None,
    ) -> tuple[_Answer, list[tuple[bytes, str]]]:
        """Send the paths that a request is about; return what the last line of the answer says, and what went wrong."""
        rows = ([roots.index(root), path.decode("latin-1")] for root, path in removals)
        self._agent.send_all(json.dumps(row).encode("ascii") + b"\n" for row in rows)
        listed = Listed()

        def each(record: Any) -> None:
            kind, *rest = record
            if kind == "at":
                tell(wire.number(rest[0], wire.MAX_SIZE))
            elif kind == "mentions" and mentions:
                mentions(*rest)
            else:
                _READ[kind](listed, *rest)

        return self._agent.end(at_end, each, MAX_OTHERS), listed.problems


def _held(listed: Listed, user: str, text: str) -> None:
    listed.held[wire.text(user).encode("latin-1")] = wire.text(text).encode("latin-1")


def _mailbox(listed: Listed, directory: str, states: Any, ended: int) -> None:
    found = []
    for state, folder, name in wire.list_of(states):
        one = KeptState(*(wire.text(text, wire.MAX_LINE).encode("latin-1") for text in (state, folder, name)))
        if not STATE.match(one.name):
            raise WireError(f"no state: {wire.shown(one.name)}")
        found.append(one)
    raw = wire.text(directory).encode("latin-1")
    if not _DIRECTORY.match(raw):
        raise WireError(f"no mailbox: {wire.shown(raw)}")
    listed.mailboxes.append(KeptMailbox(raw, tuple(found), wire.number(ended, wire.MAX_TIME)))


def _file(listed: Listed, path: str, versions: Any, ended: int) -> None:
    names = wire.names(versions)
    if not all(map(VERSION.match, names)):
        raise WireError(f"no versions: {wire.shown(b' '.join(names))}")
    listed.files.append(KeptFile(wire.path(path), tuple(names), wire.number(ended, wire.MAX_TIME)))


def _damaged(listed: Listed, path: str) -> None:
    listed.damaged.append(wire.path(path))


def _problem(listed: Listed, path: str, reason: str) -> None:
    listed.problems.append((wire.whole_path(path), wire.text(reason)))


def _swept(found: dict[str, Any]) -> Swept:
    numbers = [wire.number(number, wire.MAX_SIZE) for number in wire.list_of(found["swept"])]
    return Swept(*numbers)


_READ: dict[str, Callable[..., None]] = {
    "held": _held,
    "mailbox": _mailbox,
    "file": _file,
    "damaged": _damaged,
    "problem": _problem,
}
