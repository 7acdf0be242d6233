"""Messages of renamed mailboxes, given their new place on the replica by hard links instead of being sent again.

Mailboxes may have taken each other's names. So all links are made in a hidden directory first, and only when
every one of them is there do they take their places.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import json
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far import uids as uid_sets
from cyrsync.far import wire
from cyrsync.far.remove import RENAMED, clear

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, BinaryIO, Optional

    from cyrsync.far.keeping import Guard

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class Move(NamedTuple):
    """Messages of one mailbox and where they are to be: (root, path below it)."""

    old: "tuple[bytes, bytes]"
    new: "tuple[bytes, bytes]"
    uids: "array[int]"


def encode(move: Move) -> bytes:
    """Return a move as one frame: a line of JSON, then the UIDs' steps."""
    size, steps = uid_sets.pack(move.uids)
    names = [name.decode("latin-1") for name in (*move.old, *move.new)]
    return json.dumps([names, size, len(steps)]).encode("ascii") + b"\n" + steps


def decode(stream: "BinaryIO") -> "Iterator[Move]":
    """Yield the moves in a stream, up to a line with `null`. Raise WireError, or EOFError when the stream ends."""
    record = wire.read_record(stream)
    while record is not None:
        yield _move(record, stream)
        record = wire.read_record(stream)


@wire.one_error
def _move(record: "Any", stream: "BinaryIO") -> Move:
    (old_root, old, new_root, new), size, length = record
    return Move(
        (wire.whole_path(old_root), wire.path(old)),
        (wire.whole_path(new_root), wire.path(new)),
        uid_sets.unpack(size, wire.read_data(stream, length, wire.MAX_MESSAGES)),
    )


def relink(
    moves: "Iterable[Move]", guard_of: "Callable[[bytes], Optional[Guard]]" = lambda _: None
) -> "list[array[int]]":
    """Execute moves, and return the UIDs of each that are in their new place. What fails is left out.

    `guard_of` returns the guard of a root's history.
    """
    moves = list(moves)
    roots = {move.new[0] for move in moves}
    for root in roots:
        clear(root)
    gathered = [_gather(move, number) for number, move in enumerate(moves)]
    placed = [_place(move, number, gathered[number], guard_of(move.new[0])) for number, move in enumerate(moves)]
    for root in roots:
        clear(root)
    return placed


def _gather(move: Move, number: int) -> "array[int]":
    """Link messages into a directory of their own."""
    try:
        old = _open(move.old[0], move.old[1])
    except OSError:
        return uid_sets.empty()
    try:
        new = _open(move.new[0], _hidden(number), make=True)
        try:
            return _each(
                move.uids, lambda name: os.link(name, name, src_dir_fd=old, dst_dir_fd=new, follow_symlinks=False)
            )
        finally:
            os.close(new)
    except OSError:
        return uid_sets.empty()
    finally:
        os.close(old)


def _place(move: Move, number: int, uids: "array[int]", guard: "Optional[Guard]") -> "array[int]":
    """Rename gathered messages into their mailbox's directory, over what has their names there."""
    if not uids:
        return uids
    try:
        hidden = _open(move.new[0], _hidden(number))
    except OSError:
        return uid_sets.empty()
    try:
        new = _open(move.new[0], move.new[1], make=True)
        try:
            if guard:
                guard.enter(new, move.new[1], (kinds.INDEX,))

            def place(name: bytes) -> None:
                if guard:
                    with suppress(FileNotFoundError):
                        guard.takes(new, move.new[1], name)
                os.rename(name, name, src_dir_fd=hidden, dst_dir_fd=new)

            return _each(uids, place)
        finally:
            os.close(new)
    except OSError:
        return uid_sets.empty()
    finally:
        os.close(hidden)


def _each(uids: "array[int]", act: "Callable[[bytes], None]") -> "array[int]":
    done = []
    for uid in uids:
        try:
            act(b"%d." % uid)
            done.append(uid)
        except OSError:
            pass
    return uid_sets.of(done)


def _hidden(number: int) -> bytes:
    return RENAMED + b"/%d" % number


def _open(root: bytes, path: bytes, make: bool = False) -> int:
    """Return a descriptor of a directory, reached from the root one component at a time; with `make`, it is made.

    One that is made looks as that which it is in: the mailbox may have gone before it is sent, and nobody else gives
    the directories on the way to it their attributes.
    """
    current = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    for component in path.split(b"/"):
        made = False
        try:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(component, 0o700, dir_fd=current)
                    made = True
            below = os.open(component, _DIRECTORY, dir_fd=current)
            if made and not path.startswith(RENAMED + b"/"):
                _dress_as(below, os.fstat(current))
        finally:
            os.close(current)
        current = below
    return current


def _dress_as(directory: int, other: os.stat_result) -> None:
    """Give a directory the owner, the group and the mode of another one; others than root cannot give any owner."""
    with suppress(OSError):
        os.fchown(directory, other.st_uid, other.st_gid)
    with suppress(OSError):
        os.fchmod(directory, stat.S_IMODE(other.st_mode))
