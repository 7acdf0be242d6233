"""What has to be right before a first run, on the replica, by the connection that a run would make."""

from __future__ import annotations

import os
import time
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from cyrsync.cyrus.server.config import Config
from cyrsync.ends.address import Address
from cyrsync.ends.agent_answers import About
from cyrsync.ends.tree import Status, owner_file_of
from cyrsync.errors import ConnectionFailed, RefusedError, UnusableError, error_text
from cyrsync.far import host
from cyrsync.far.host import Room
from cyrsync.rsync import features
from cyrsync.server import mapping
from cyrsync.server.ownership import refuse, source_name
from cyrsync.server.replica import Replica
from cyrsync.server.standby import differing
from cyrsync.standby.check import TOLD, Findings, Source, fail, note, ok, told
from cyrsync.standby.checked import Finding
from cyrsync.sync import direction
from cyrsync.sync.options import Options
from cyrsync.text import human_bytes, human_count, human_seconds, path_text

#: A timer has nobody to ask.
_UNPROMPTED = "-o BatchMode=yes -o ConnectTimeout=30"
_LOGIN = "ssh has to get there as this user without a question: a key, and the host in known_hosts"
#: Seconds between two clocks from which on it is worth knowing, and from which on it is wrong.
_APART, _WRONG = 2.0, 60.0
_NEARLY_FULL = 20  # a twentieth of what is there is free


def replica_findings(address: Address, options: Options, source: Source, directory: Path) -> Findings:
    """Look at everything on the replica; `directory` is for temporary files."""
    if address.daemon:
        yield fail("connection", f"{address.text}: an rsync daemon cannot be asked what it has", "-C needs ssh there")
        return
    yield from told("rsync", _rsync())
    with closing(Replica(address, replace(options, rsh=_unprompted(options.rsh)), directory)) as replica:
        reached = True
        try:
            about = replica.agent.about()
        except TOLD as error:
            reached = not isinstance(error, ConnectionFailed)
            yield fail("connection", error_text(error), "" if reached else _LOGIN)
        else:
            yield ok("connection", f"{address.host or 'here'}: Python {about.python}, as {about.user}")
            yield from _answered(replica, about, source)
        if reached and replica.shell:
            yield from told("far rsync", _far_rsync(replica, options), "install it, or name it by --rsync-path")


def _answered(replica: Replica, about: About, source: Source) -> Findings:
    yield from told("destination", _destination(replica, source))
    yield from told("space", _space(replica, source))
    yield from told("clock", _clock(replica))
    if source.config:
        yield from told("rights", _rights(replica, about, source.config))
        yield from told("owner file", _owner_file(replica, source))
        yield from told("Cyrus", _cyrus(replica, source))
        yield from told("standby", _standby(replica, source, source.config), "Cyrus there would not run with it")


def _unprompted(rsh: str | None) -> str | None:
    words = rsh or os.environ.get("RSYNC_RSH") or "ssh"
    return f"{words} {_UNPROMPTED}" if os.path.basename(words.split(" ")[0]) == "ssh" else rsh


def _rsync() -> Findings:
    yield _able("rsync", features.near(), features.version())


def _far_rsync(replica: Replica, options: Options) -> Findings:
    assert replica.shell
    known = features.far(replica.shell.words, options.rsync_path)
    version = features.version(replica.shell.words(f"{options.rsync_path or 'rsync'} --version"))
    yield _able("far rsync", known, version)


def _able(check: str, known: features.Features, version: str) -> Finding:
    """Report what a run lacks with an old rsync."""
    if not {"--protect-args", "--secluded-args"} & known.options:
        return fail(check, f"{version}: it has no -s", "install rsync 3.0.0 or newer")
    if not known.nanoseconds:
        missed = "metadata that changes twice in a second may look unchanged"
        return note(check, f"{version}: {missed}", "3.1.3 and newer compare nanoseconds")
    return ok(check, version)


def _destination(replica: Replica, source: Source) -> Findings:
    if source.config:
        mapping.check_server(replica.maps, replica.address, source.config, source.roots())
        if replica.address.local:
            mapping.refuse_own(replica.maps, replica.address.path, source.roots())
    for root in source.roots():
        status, found = replica.status(root), replica.root(root)
        if status.exists and not status.directory:
            yield fail("destination", f"{path_text(found)}: not a directory", "move it away")
        elif not replica.tree.room(found).writable:
            yield fail("destination", f"{path_text(found)}: no right to write there", "log in as root, or as its owner")
    yield ok("destination", f"{path_text(replica.tree.resolve(replica.address.path).root)}: a directory")


@dataclass(slots=True)
class Disk:
    """A file system of the replica, and what it has to hold, at least."""

    path: bytes
    room: Room
    size: int = 0
    inodes: int = 0
    occupied: bool = False  # something is there
    complete: bool = True  # all of it was, some time ago


def _space(replica: Replica, source: Source) -> Findings:
    disks: dict[int, Disk] = {}
    for root in source.roots():
        status = replica.agent.resolve(replica.path(root))
        room = replica.agent.room(status.root)
        disk = disks.setdefault(room.device, Disk(status.root, room))
        size, inodes = source.needs.get(root, (0, 0))
        disk.size, disk.inodes = disk.size + size, disk.inodes + inodes
        disk.occupied |= status.directory and not status.bare
        disk.complete &= _is_complete(status)
    for disk in disks.values():
        room, where = disk.room, path_text(disk.path)
        text = f"{where}: {human_bytes(room.free)} free, for at least {human_bytes(disk.size)}"
        yield room_finding(disk, text, disk.size, room.used, room.free)
        if room.inodes:
            text = f"{where}: {human_count(room.free_inodes)} inodes free, for at least {human_count(disk.inodes)}"
            yield room_finding(disk, text, disk.inodes, room.used_inodes, room.free_inodes)


def _is_complete(status: Status) -> bool:
    """Tell whether the owner file of a root says that all was there once. A damaged one is reported elsewhere."""
    with suppress(UnusableError):
        owner_file = owner_file_of(status)
        return bool(owner_file and owner_file.complete)
    return False


def room_finding(disk: Disk, text: str, need: int, used: int, free: int) -> Finding:
    """Report whether there is enough room. Only an owner file tells whether what is there is a copy."""
    if need <= free:
        return ok("space", text)
    if not disk.occupied or need - used > free:
        return fail("space", text, "make room there, or choose another DEST")
    if disk.complete and free * _NEARLY_FULL >= need:
        return ok("space", f"{text}, most of which is there")
    return note("space", text, "nearly full" if disk.complete else "enough if what is there is most of a copy")


def _clock(replica: Replica) -> Findings:
    asked = []
    for _ in range(3):
        before = time.time()
        there = replica.agent.about().time
        after = time.time()
        asked.append((after - before, there - (before + after) / 2))
    yield clock_finding(*min(asked))


def clock_finding(round_trip: float, ahead: float) -> Finding:
    """Judge the other clock by how far it is ahead for certain: half of the time of the question is in doubt."""
    apart = max(abs(ahead) - round_trip / 2, 0.0)
    if apart <= _APART:
        return ok("clock", f"within {human_seconds(_APART)}")
    text = f"there it is {human_seconds(apart)} {'ahead' if ahead > 0 else 'behind'}"
    return (fail if apart > _WRONG else note)(
        "clock", text, "set both by NTP: promote computes a replica's age from it"
    )


def _rights(replica: Replica, about: About, config: Config) -> Findings:
    owners = {host.user_name(os.stat(one.data).st_uid) for one in config.partitions.values()}
    if replica.agent.rights.root or owners == {about.user}:
        yield ok("rights", f"{about.user} can give files there to their owners")
    else:
        advice = "log in as root, or see to the owners before Cyrus is started there: promote says how"
        yield note("rights", f"all files there will be {about.user}'s", advice)


def _owner_file(replica: Replica, source: Source) -> Findings:
    """Report whose replica it is, by the rules of a run."""
    owner_files = []
    for root in source.roots():
        status = replica.agent.resolve(replica.path(root))
        owner_file = owner_file_of(status)
        try:
            if owner_file:
                refuse(owner_file, status, source_name(os.path.realpath(os.fsencode(source.conf))))
                owner_files.append(owner_file)
        except RefusedError as error:
            yield fail("owner file", str(error), "sync refuses to write there (exit 4)")
            return
    complete = max([owner_file.complete for owner_file in owner_files], default=0.0)
    last = datetime.fromtimestamp(complete).isoformat(" ", "seconds") if complete else "none"
    ours = any(owner_file.source for owner_file in owner_files)
    yield ok("owner file", f"this server's, last complete run: {last}" if ours else "none yet: nobody's replica")


def _cyrus(replica: Replica, source: Source) -> Findings:
    """Tell whether a Cyrus is at work on the replica."""
    known, doubtful = direction.cyrus_on(replica.agent, [replica.path(root) for root in source.roots()])
    if known:
        yield fail("Cyrus", known, "stop it, or sync refuses to write there (exit 4)")
    elif doubtful:
        yield note("Cyrus", doubtful)
    else:
        yield ok("Cyrus", "not using the replica")


def _standby(replica: Replica, source: Source, config: Config) -> Findings:
    """Compare the imapd.conf that a Cyrus on the replica would have."""
    path = os.path.realpath(os.fsencode(source.conf))
    where = path_text(replica.path(path))
    found = differing(replica, path, config)
    if found is None:
        yield note("standby", f"{where}: not there", "promote compares the standby's imapd.conf, wherever that is")
        return
    for one in found:
        yield (fail if one.fatal else note)("standby", f"{where}: {one.text}", "set it there as it is here")
    if not any(one.fatal for one in found):
        yield ok("standby", f"{where}: Cyrus can read what this server has written")
