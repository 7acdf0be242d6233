"""Who reads the channels of a server's sync log: Cyrus's own programs that do, by their command lines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from cyrsync.far import at_work

#: Programs that read a channel all the time: the letter that asks for it, and the channel where none is named.
_PROGRAMS = {b"sync_client": (b"r", ""), b"squatter": (b"R", "squatter")}


class Reader(NamedTuple):
    """A process that reads a channel."""

    channel: str
    program: str
    pid: int


def readers(conf: bytes) -> list[Reader]:
    """Return the processes that read a channel of the server with this imapd.conf."""
    return [reader for pid in at_work.processes() for reader in _reader(pid, os.path.realpath(conf))]


def reading(words: list[bytes]) -> tuple[str, bytes] | None:
    """Return which channel a command line reads, and by which imapd.conf; None if it reads none."""
    program = os.path.basename(words[0].partition(b":")[0])
    if program not in _PROGRAMS:
        return None
    wanted, channel = _PROGRAMS[program]
    conf, rolls = at_work.CONF, False
    rest = iter(words[1:])
    for word in rest:
        if not word.startswith(b"-"):
            continue
        letters = word[1:]
        for at, letter in enumerate(letters):
            if letter in b"nC":
                value = letters[at + 1 :] or next(rest, b"")
                channel, conf = (os.fsdecode(value), conf) if letter in b"n" else (channel, value)
                break
            rolls = rolls or letter in wanted
    return (channel, conf) if rolls else None


def _reader(pid: int, conf: bytes) -> Iterator[Reader]:
    words = at_work.command_line(pid)
    found = reading(words)
    if found:
        program = os.fsdecode(os.path.basename(words[0].partition(b":")[0]))
        try:
            home = os.readlink(f"/proc/{pid}/cwd".encode())
        except OSError:
            home = b"/"
        if os.path.realpath(os.path.join(home, found[1])) == conf:
            yield Reader(found[0], program, pid)
