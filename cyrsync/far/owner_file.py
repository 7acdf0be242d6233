"""The owner file: whose a replica is, and how far it is, at each of its roots. No engine sends or deletes it.

It has two slots of one size, and is written in its place: the older slot is overwritten, and the newer of those that
are whole counts. So a power cut costs the last writing at most, and a disk that is full costs none.

    cyrsync-replica VERSION NUMBER LENGTH CRC32
    {JSON of LENGTH bytes}

and blanks up to the end of the slot. VERSION is 2, and grows only if older programs could not go by what is there:
keys that this one does not know are kept. A file that begins with `{` is one of before there were slots.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import errno
import json
import os
import re
import stat
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.far import whole_file

if TYPE_CHECKING:
    from typing import Optional, Tuple

#: Below each root of a replica.
NAME = b".cyrsync-replica"
_NEW = NAME + b".new"
_VERSION = 2
_SLOT = 4096  # bytes of a slot: a power cut tears a block, not its neighbour
LARGEST = 1 << 16  # bytes of the file, at the most
_HEADER = re.compile(rb"cyrsync-replica ([0-9]{1,9}) ([0-9]{1,18}) ([0-9]{1,9}) ([0-9a-f]{8})\n")
#: What a time or a count of runs cannot reach: some thousand years.
_NEVER = 1 << 37
#: Opened so, a FIFO does not block, and no link is followed.
_CAREFULLY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class NewerVersion(ValueError):
    """The owner file was written by a newer cyrsync."""


class OwnerFile(NamedTuple):
    """The owner file of a replica. Times are seconds since 1970 on the clock of the source, 0.0 for none."""

    replica: str  # as long as one disk has it, and one state speaks of it
    source: str  # whose replica it is: host and imapd.conf; "" where no `sync -C` has written
    run: int  # counts the runs of `sync -C` that wrote here, from 1
    begun: float  # the last of them
    ended: float  # 0.0: it is still going on, or was killed
    complete: float  # when the last run began that left nothing undone
    promoted: str = ""  # since when it is promoted (ISO 8601), "" for not
    settings: "tuple[tuple[str, str], ...]" = ()  # of the source's imapd.conf, those that say where mail lies
    writing: str = ""  # while any run writes: the boot of the replica's host that it writes in, see `boot_id`
    doubtful: bool = False  # a power cut or a disk ended a run that was writing, and not all has been compared since
    more: "tuple[tuple[str, str], ...]" = ()  # keys that are not known here, with their values in JSON

    def to_json(self) -> str:
        """Return the owner file as text that `from_json` reads."""
        record = self._asdict()
        record.update((name, json.loads(value)) for name, value in record.pop("more"))
        return json.dumps(record, sort_keys=True)

    def is_written_in(self, boot: str) -> bool:
        """Tell whether a run is writing, or was killed, in this boot of the replica's host."""
        return bool(boot) and self.writing == boot and not self.ended

    def cut_off(self, boot: str) -> bool:
        """Tell whether a power cut ended a run that was writing; `boot` is its host's now.

        Where that is "", it cannot be told: a run that has not ended may have been cut off.
        """
        return self.doubtful or bool(self.writing and self.writing != boot)


#: Of a replica that no `sync -C` has written to.
UNOWNED = OwnerFile(replica="", source="", run=0, begun=0.0, ended=0.0, complete=0.0)


def from_json(text: "str | bytes") -> OwnerFile:
    """Return the owner file in a text. Raise ValueError if it is none, NewerVersion if a newer cyrsync wrote it."""
    try:
        record = json.loads(text if isinstance(text, str) else text.decode("utf-8"))
        if record.pop("version", _VERSION) != _VERSION:
            raise NewerVersion("of a newer version")
        settings = tuple((str(name), str(value)) for name, value in record.pop("settings", ()))
        unknown = sorted(record.keys() - set(OwnerFile._fields[:-1]))
        more = tuple((name, json.dumps(record.pop(name), sort_keys=True)) for name in unknown)
        owner_file = OwnerFile(settings=settings, more=more, **record)
        texts = (owner_file.replica, owner_file.source, owner_file.promoted, owner_file.writing)
        numbers = (owner_file.begun, owner_file.ended, owner_file.complete)
        known = (
            type(owner_file.run) is int
            and type(owner_file.doubtful) is bool
            and all(isinstance(one, str) for one in texts)
        )
        if not known or not all(0 <= number < _NEVER for number in (owner_file.run, *numbers)):
            raise ValueError("a value cannot be right")
        return owner_file
    except (AttributeError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(str(error)) from None


def boot_id() -> str:
    """Return the id of this boot of the machine; "unknown" if the system has none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read(100).strip() or "unknown"
    except OSError:
        return "unknown"


def read(root: bytes) -> "OwnerFile | None":
    """Return the owner file of a root, None where there is none. Raise OSError, or ValueError for a damaged one."""
    text = read_text(root)
    return from_json(text) if text else None


def read_text(root: bytes) -> str:
    """Return an owner file as JSON, "" where there is none, and what is none for a damaged one. Raise OSError."""
    try:
        descriptor = os.open(os.path.join(root, NAME), os.O_RDONLY | _CAREFULLY)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return ""
        raise
    try:
        status = os.fstat(descriptor)
        # Whoever owns the root may have been given all that is in it, this file included.
        owners = (os.geteuid(), 0, os.stat(root).st_uid)
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in owners or status.st_size > LARGEST:
            return "{}"
        data = os.pread(descriptor, LARGEST, 0)
    finally:
        os.close(descriptor)
    return text_of(data)


def text_of(data: bytes) -> str:
    """Return the owner file that an owner file holds as JSON, and what is no owner file where it is damaged."""
    if data.startswith(b"{"):
        return data.decode("utf-8", "replace")
    return max(filter(None, _slots(data)), default=(0, "{}"))[1]


def is_bare(root: bytes) -> bool:
    """Tell whether nothing is in a directory but what every new file system has: that of a disk that is not mounted."""
    with os.scandir(root) as entries:
        return all(entry.name in (NAME, _NEW, b"lost+found") for entry in entries)


def write(root: bytes, owner_file: OwnerFile) -> None:
    """Put an owner file in place, whole and on disk when this returns. Raise OSError."""
    text = owner_file.to_json().encode("utf-8")
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not _write_in_place(directory, text):
            _make(directory, text)
    finally:
        os.close(directory)


def _slots(data: bytes) -> "list[Optional[Tuple[int, str]]]":
    """Return number and JSON of both slots, None for one that is not whole: neither is, of a file that was cut."""
    size = len(data) // 2
    return [None if len(data) % (2 * _SLOT) else _slot(data[begin : begin + size]) for begin in (0, size)]


def _slot(data: bytes) -> "Optional[Tuple[int, str]]":
    header = _HEADER.match(data)
    if not header:
        return None
    version, number, length = (int(word) for word in header.groups()[:3])
    text = data[header.end() : header.end() + length]
    if len(text) != length or zlib.crc32(text) != int(header.group(4), 16):
        return None
    if version != _VERSION:
        return number, '{{"version": {}}}'.format(version)
    return number, text.decode("utf-8", "replace")


def _packed(text: bytes, number: int, size: int) -> bytes:
    header = b"cyrsync-replica %d %d %d %08x\n" % (_VERSION, number, len(text), zlib.crc32(text))
    return (header + text).ljust(size - 1) + b"\n"


def _write_in_place(directory: int, text: bytes) -> bool:
    """Overwrite the slot that does not count. False where there is no owner file of ours with room for it."""
    try:
        descriptor = os.open(NAME, os.O_RDWR | _CAREFULLY, dir_fd=directory)
    except OSError:
        return False
    try:
        status = os.fstat(descriptor)
        ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_nlink == 1
        if not ours or status.st_size > LARGEST:
            return False
        data = os.pread(descriptor, LARGEST, 0)
        size = len(data) // 2
        found = _slots(data)
        last = max((slot[0] for slot in found if slot), default=0)
        packed = _packed(text, last + 1, size)
        if not last or len(packed) != size:
            return False
        older = 1 if found[0] and found[0][0] == last else 0
        os.lseek(descriptor, older * size, os.SEEK_SET)
        whole_file.write_all(descriptor, packed)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return True


def _make(directory: int, text: bytes) -> None:
    """Make the file beside its place, and rename it. The directory keeps its times: they are the source's."""
    before = os.fstat(directory)
    number = 1
    size = max(_SLOT, -(-2 * len(text) // _SLOT) * _SLOT)
    if 2 * size > LARGEST:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), NAME)
    try:
        whole_file.replace(NAME, _packed(text, number, size).ljust(2 * size), directory, _NEW, mode=0o644)
    finally:
        with suppress(PermissionError):  # who may write there need not own it
            os.utime(directory, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.fsync(directory)
