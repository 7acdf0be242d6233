"""Whether a Cyrus uses directories of this machine, whatever its imapd.conf is called.

Its processes name their imapd.conf, and that names its directories. Directories are compared by device and inode, so
that links, bind mounts and the mounts of a container hide nothing.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import errno
import os
import re
import stat
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: Where Cyrus looks without -C.
CONF = b"/etc/imapd.conf"
#: Programs of Cyrus's. Other software has some of these names: Postfix a master, Courier an imapd, Apache an httpd.
_MASTERS = frozenset([b"cyrmaster", b"cyrus-master"])
_PROGRAMS = frozenset(
    b"master imapd pop3d lmtpd httpd nntpd timsieved sync_server reconstruct cyr_expire ipurge".split()
)
_SETTING = re.compile(rb"\s*(@?[\w-]+)\s*:\s*(.*?)\s*\Z", re.DOTALL)
_DIRECTORY = re.compile(rb"(\w+_)?(configdirectory|(meta|archive)?partition-\w+|metadir-\w+-\w+)\Z")
_LARGEST = 1 << 20  # bytes of an imapd.conf


class Cyrus(NamedTuple):
    """A process of a running Cyrus."""

    pid: int
    conf: bytes
    directory: bytes  # which of those asked for; b"" where its imapd.conf cannot be read: perhaps none of them


class _Place(NamedTuple):
    """A directory: device and inode of itself, then of all above it; without those that are not there."""

    line: "tuple[tuple[int, int], ...]"
    is_there: bool
    owner: int

    def touches(self, other: "_Place") -> bool:
        """Tell whether one of the two is the other, or lies somewhere in it."""
        return (self.is_there and self.line[0] in other.line) or self.lies_in(other)

    def lies_in(self, other: "_Place") -> bool:
        """Tell whether this is the other, or lies somewhere in it."""
        return other.is_there and other.line[0] in self.line


def at_work(directories: "Sequence[bytes]", within: bool = False) -> "list[Cyrus]":
    """Return the processes that use one of the directories, or one in it or above it: one for each imapd.conf.

    With `within`, those that use a directory in it do not count.
    Only root's processes count, and those of the owner of Cyrus's directory: anybody may call a program so.
    """
    wanted = [(path, _place(os.path.realpath(path))) for path in directories]
    known = {}  # type: dict[tuple[bytes, bytes], list[_Place] | None]
    found = {}  # type: dict[tuple[bytes, bytes], Cyrus]
    for pid in processes():
        conf = conf_of(pid)
        if conf is None:
            continue
        key = (_root_of(pid), conf)
        if key in found and (found[key].directory or known[key] is None):
            continue
        if key not in known:
            known[key] = _places(*key)
        places = known[key]
        if places is None:
            found[key] = Cyrus(pid, conf, b"")
            continue
        user = _user(pid)
        places = [place for place in places if user in (0, place.owner)]
        for path, place in wanted:
            if any(place.lies_in(one) if within else place.touches(one) for one in places):
                found[key] = Cyrus(pid, conf, path)
                break
    return list(found.values())


def processes() -> "list[int]":
    """Return the processes on this machine, none where the system does not tell."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()] if os.path.isdir("/proc") else []


def conf_of(pid: int) -> "bytes | None":
    """Return the path of the imapd.conf that a process of a Cyrus runs with; None for any other process."""
    return conf_of_words(command_line(pid), lambda name: _link(pid, name))


def conf_of_words(words: "list[bytes]", link: "Callable[[str], bytes]") -> "bytes | None":
    """Return the same by a process's words; `link` gives what its `cwd` and `exe` in /proc lead to."""
    name = os.path.basename(words[0].partition(b":")[0])
    if name in _PROGRAMS or name in _MASTERS:
        for number, word in enumerate(words[1:], 1):
            if word == b"-C" and number + 1 < len(words):
                return os.path.join(link("cwd"), words[number + 1])
            if word.startswith(b"-C/"):
                return word[2:]
        if name in _MASTERS or b"/cyr" in words[0] or b"/cyr" in link("exe"):
            return CONF
    return None


def command_line(pid: int) -> "list[bytes]":
    """Return a process's words; one that is empty if it has ended."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb", buffering=0) as file:
            return file.read(1 << 16).rstrip(b"\0").split(b"\0")
    except OSError:
        return [b""]


def _link(pid: int, name: str) -> bytes:
    try:
        return os.readlink(b"/proc/%d/%s" % (pid, name.encode("ascii")))
    except OSError:
        return b""


def _user(pid: int) -> int:
    """Return the user that a process has the rights of; -1 if it has ended."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            return next((int(line.split()[2]) for line in file if line.startswith(b"Uid:")), -1)
    except OSError:
        return -1


def _root_of(pid: int) -> bytes:
    """Return what a process's paths begin with here: b"" unless it is in a container of its own."""
    root = b"/proc/%d/root" % pid
    try:
        theirs, ours = os.stat(root + b"/"), os.stat("/")
    except OSError:
        return b""
    return b"" if (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino) else root


def _places(root: bytes, conf: bytes) -> "list[_Place] | None":
    """Return the directories that an imapd.conf names; None if it is not to be read."""
    places, seen, pending = [], set(), [conf]  # type: list[_Place], set[bytes], list[bytes]
    while pending:
        path = pending.pop()
        if path in seen:
            continue
        seen.add(path)
        try:
            data = _read(root + path)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM):
                return None
            continue
        for key, value in settings(data):
            if key == b"@include":
                pending.append(value)
            elif is_directory(key, value):
                places.append(_place(root + value if root else os.path.realpath(value), len(root)))
    return places


def _read(path: bytes) -> bytes:
    """Return the beginning of a regular file, b"" of anything else."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        return file.read(_LARGEST) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""


def is_directory(key: bytes, value: bytes) -> bool:
    """Tell whether a setting names a directory that Cyrus works on."""
    return bool(_DIRECTORY.match(key)) and value.startswith(b"/")


def settings(data: bytes) -> "Iterator[tuple[bytes, bytes]]":
    """Yield what an imapd.conf sets: name, in lower case, and value."""
    for line in data.replace(b"\\\n", b"").split(b"\n"):
        match = _SETTING.match(line)
        if match:
            yield match.group(1).lower(), match.group(2)


def _place(path: bytes, root: int = 0) -> _Place:
    """Look at a directory and all above it, up to a root whose path has so many bytes."""
    line, is_there, owner = [], False, -1  # type: list[tuple[int, int]], bool, int
    at = path.rstrip(b"/")
    while True:
        try:
            status = os.stat(at if len(at) > root else path[:root] + b"/")
        except OSError:
            pass
        else:
            owner = status.st_uid if not line else owner
            is_there = is_there or at == path.rstrip(b"/")
            line.append((status.st_dev, status.st_ino))
        if len(at) <= root:
            return _Place(tuple(line), is_there, owner)
        at = at.rpartition(b"/")[0]
