"""What the lines of an agent's answers say, each checked. All raise WireError, or another error of `wire.WRONG`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from cyrsync.cyrus.mailbox import index
from cyrsync.cyrus.mailbox.records import GUID_SIZE
from cyrsync.ends import answers
from cyrsync.ends.tree import Held, Rights, Status
from cyrsync.far import agent, wire
from cyrsync.far.at_work import Cyrus
from cyrsync.far.hold import Busy
from cyrsync.far.host import Room
from cyrsync.far.receive import Failure
from cyrsync.far.wire import WireError

if TYPE_CHECKING:
    from cyrsync.far.digests import Digests

Answer = TypeVar("Answer")
_MAX_ID = (1 << 32) - 1  # of users and groups
_MAX_GROUPS = 1 << 16  # NGROUPS_MAX of Linux
_MAX_PROCESSES = 1 << 22  # PID_MAX_LIMIT of Linux
_MAX_DIGEST = 40  # characters of a SHA-1 in hexadecimal
_MAX_ROOM = 1 << 100  # bytes, inodes, or the number of a device


class About(NamedTuple):
    """What an agent runs on, and the time there in seconds since 1970."""

    python: str
    user: str
    time: float


def nothing(_: dict[str, Any]) -> None:
    """Read nothing but that this is the end."""


def _so_many(count: int, told: list[Answer]) -> list[Answer]:
    """Check that there is an answer to each question. Raise WireError."""
    if len(told) != count:
        raise WireError(f"{len(told)} instead of {count}")
    return told


def error(found: dict[str, Any]) -> str:
    """Return what is wrong, empty for nothing."""
    return wire.text(found["error"])


def rights(found: dict[str, Any]) -> Rights:
    """Return whose rights an agent has."""
    groups = [wire.number(group, _MAX_ID) for group in wire.list_of(found["groups"], _MAX_GROUPS)]
    return Rights(wire.number(found["euid"], _MAX_ID) == 0, frozenset(groups), wire.flag(found["attributes"]))


def numbers(count: int, found: dict[str, Any]) -> list[int | None]:
    """Return the number of each name that was asked for, None for what is unknown."""
    return _so_many(
        count, [None if one is None else wire.number(one, _MAX_ID) for one in wire.list_of(found["numbers"])]
    )


def links(found: dict[str, Any]) -> set[bytes]:
    """Return the links behind which mailboxes lie."""
    return {wire.path(path) for path in wire.list_of(found["found"])}


def digests(count: int, found: dict[str, Any]) -> list[Digests | None]:
    """Return what each index says, None for one that cannot be read."""
    from cyrsync.far.digests import Digests

    told = []
    for one in wire.list_of(found["digests"]):
        told.append(None if one is None else Digests(*[wire.text(text, _MAX_DIGEST) for text in wire.list_of(one)]))
    return _so_many(count, told)


def guids(counts: list[int], found: dict[str, Any]) -> list[list[bytes]]:
    """Return the GUIDs of so many messages of each folder, or none where its index cannot be read."""
    told = []
    for count, row in zip(counts, _so_many(len(counts), wire.list_of(found["guids"])), strict=True):
        data = bytes.fromhex(wire.text(row, count * _MAX_DIGEST))
        if len(data) not in (0, count * GUID_SIZE):
            raise WireError(f"{len(data)} bytes instead of {count} GUIDs")
        told.append([data[at : at + GUID_SIZE] for at in range(0, len(data), GUID_SIZE)])
    return told


def heads(count: int, found: dict[str, Any]) -> list[bytes]:
    """Return the first bytes of each cyrus.index."""
    return _so_many(count, [wire.text(one, index.READ_SIZE).encode("latin-1") for one in wire.list_of(found["found"])])


def number(found: dict[str, Any]) -> int:
    """Return an errno, 0 for none."""
    return wire.number(found["number"], wire.MAX_ERRNO)


def about(found: dict[str, Any]) -> About:
    """Return what an agent runs on."""
    return About(wire.text(found["python"]), wire.text(found["user"]), answers.time(found["time"]))


def room(found: dict[str, Any]) -> Room | str:
    """Return what there is room for, or why that is not known."""
    if found["error"]:
        return wire.text(found["error"])
    fields = Room(*found["room"])
    for size in fields[:-1]:
        wire.number(size, _MAX_ROOM)
    wire.flag(fields.writable)
    return fields


def contents(found: dict[str, Any]) -> bytes | int:
    """Return what is in a file, or its errno."""
    number = wire.number(found["error"], wire.MAX_ERRNO)
    return number or wire.text(found["text"], agent.LARGEST).encode("latin-1")


def status(found: dict[str, Any]) -> Status | int:
    """Return what is at a path, or the errno for one that cannot be seen."""
    if found["error"]:
        return wire.number(found["error"], wire.MAX_ERRNO)
    exists, directory, parent, owner_file, bare, boot = found["status"]
    root, link = _from_top(found["root"]), _from_top(found["link"]) if found["link"] else b""
    flags = (wire.flag(exists), wire.flag(directory), wire.flag(parent))
    return Status(root, *flags, wire.text(owner_file), wire.flag(bare), wire.text(boot, wire.MAX_BOOT), link)


def _from_top(value: object) -> bytes:
    path = wire.whole_path(value)
    if not path.startswith(b"/"):
        raise WireError(f"no whole path: {wire.shown(path)}")
    return path


def held(found: dict[str, Any]) -> Held | str:
    """Return the result of locking, or why a lock is not possible."""
    if found["error"]:
        return wire.text(found["error"])
    alone = wire.flag(found["alone"])
    if found["busy"] is None:
        return Held(None, alone)
    root, pid, since = found["busy"]
    return Held(Busy(wire.whole_path(root), wire.number(pid, _MAX_PROCESSES), answers.time(since)), alone)


def written(found: dict[str, Any]) -> tuple[int, str]:
    """Return the errno of a failed write (-1 if it has none, 0 if it succeeded), and the reason."""
    return wire.number(found["number"], wire.MAX_ERRNO, -1), wire.text(found["error"])


def cyruses(roots: Sequence[bytes], found: dict[str, Any]) -> list[Cyrus]:
    """Return the Cyrus processes that use one of the directories, and those of which this is unknown."""
    there = []
    for pid, conf, root in wire.list_of(found["found"], _MAX_PROCESSES):
        there.append(Cyrus(wire.number(pid, _MAX_PROCESSES), wire.whole_path(conf), wire.whole_path(root)))
        if there[-1].directory not in (b"", *roots):
            raise WireError(f"what nobody asked for: {wire.shown(there[-1].directory)}")
    return there


def stats(count: int, found: dict[str, Any]) -> list[tuple[int, int] | int | None]:
    """Return what stands at each path: see `answers.size_and_time`."""
    return _so_many(count, [answers.size_and_time(look) for look in wire.list_of(found["found"])])


def counts(found: dict[str, Any]) -> tuple[int, int]:
    """Return how many files and folders were deleted."""
    return wire.number(found["files"], wire.MAX_SIZE), wire.number(found["folders"], wire.MAX_SIZE)


def not_removed(record: Any, asked: answers.Asked) -> tuple[bytes, int]:
    """Return what could not be deleted, with its errno."""
    path, number = record
    return asked.check(wire.path(path)), wire.number(number, wire.MAX_ERRNO)


def not_received(record: Any, mailboxes: int) -> Failure:
    """Return which of these mailboxes is not in its place, or not as on the source."""
    mailbox, number, path, arrived = record
    found = wire.number(mailbox, mailboxes - 1), wire.number(number, wire.MAX_ERRNO, 1)
    return Failure(*found, wire.text(path, wire.MAX_LINE).encode("latin-1"), wire.flag(arrived))
