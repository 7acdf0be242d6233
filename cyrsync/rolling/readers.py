"""Processes of a server: who reads the channels of its sync log, and who may not yet write to them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from cyrsync.far import at_work, hold
from cyrsync.rolling.channel import Channel

#: Programs that read a channel all the time: the letters that ask for it, and the channel where none is named.
_PROGRAMS = {b"sync_client": (b"rR", ""), b"squatter": (b"R", "squatter")}
#: What a reader of ours is called.
WATCHER = "cyrsync"
#: The one that only starts others.
_MASTERS = frozenset([b"master", b"cyrmaster", b"cyrus-master"])
#: Seconds by which the start of a process may seem to be too early: the system counts them from a whole one.
_ROUGHLY = 1.0


class Reader(NamedTuple):
    """A process that reads a channel."""

    channel: str
    program: str
    pid: int


def readers(conf: bytes) -> list[Reader]:
    """Return the processes that read a channel of the server with this imapd.conf."""
    return [reader for pid in at_work.processes() for reader in _reader(pid, os.path.realpath(conf))]


def watcher(channel: Channel) -> Iterator[Reader]:
    """Yield the watcher of ours that reads a channel: it locks the directory, see `SyncLog`."""
    with suppress(OSError):
        pid, _ = hold.holder(os.stat(channel.directory))
        # The kernel's list may mean a file of another file system.
        if pid and any(os.fsencode(WATCHER) in word for word in at_work.command_line(pid)):
            yield Reader(channel.name, WATCHER, pid)


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


def older_than(conf: str) -> tuple[float, list[int]]:
    """Return when an imapd.conf was changed, and the processes that are older: they read it only when they start."""
    changed = os.stat(conf).st_mtime
    real = os.path.realpath(os.fsencode(conf))
    old = []
    for pid in at_work.processes():
        theirs = at_work.conf_of(pid)
        if theirs is None or os.path.realpath(theirs) != real:
            continue
        program = os.path.basename(at_work.command_line(pid)[0].partition(b":")[0])
        if program not in _MASTERS and 0 < hold.started(pid) < changed - _ROUGHLY:
            old.append(pid)
    return changed, old


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
