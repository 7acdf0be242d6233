"""Files of one folder put in their places together: each is written beside its place first, then all are renamed.

What stands in the way of that (a directory that is not there, a link instead of it, a full disk, an owner that cannot
be set) is left as it is, for rsync to make way or to say what is wrong.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import errno
import grp
import json
import os
import pwd
import stat
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far import folder as folders
from cyrsync.far import wire
from cyrsync.far.folder import Entry, File
from cyrsync.far.to_disk import to_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, BinaryIO

_ROOT = os.O_RDONLY | os.O_DIRECTORY
_DIRECTORY = _ROOT | os.O_NOFOLLOW
_MOST_OPEN = 256  # of files that were lengthened
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class Placing(NamedTuple):
    """Files of one folder below a root, in the order in which they take their places.

    `above` are the folder's directory and those it is in, by path, the root first.
    """

    root: bytes
    path: bytes
    above: "tuple[tuple[bytes, Entry], ...]"
    files: "tuple[File, ...]"


def encode(placing: Placing) -> bytes:
    """Return a placing as one frame: a line of JSON, then the files' bytes."""
    above = [[path.decode("latin-1"), entry] for path, entry in placing.above]
    files = [[file.name.decode("latin-1"), file.entry, len(file.data)] for file in placing.files]
    where = [placing.root.decode("latin-1"), placing.path.decode("latin-1")]
    line = json.dumps([*where, above, files]).encode("ascii") + b"\n"
    return line + b"".join([file.data for file in placing.files])


def decode(stream: "BinaryIO") -> "Iterator[Placing]":
    """Yield the placings in a stream, up to a line with `null`. Raise WireError, or EOFError when the stream ends."""
    record = wire.read_record(stream)
    while record is not None:
        yield _placing(record, stream)
        record = wire.read_record(stream)


@wire.one_error
def _placing(record: "Any", stream: "BinaryIO") -> Placing:
    root, path_text, above_listed, listed = record
    path = wire.path(path_text)
    above = tuple([(wire.path(path), folders.directory(fields)) for path, fields in wire.list_of(above_listed)])
    wire.above([path for path, _ in above], path)
    names = wire.unhidden(wire.names([name for name, _, _ in wire.list_of(listed)]))
    files = tuple(
        [
            File(name, folders.regular(fields), wire.read_data(stream, size, wire.MAX_FILE))
            for name, (_, fields, size) in zip(names, listed)
        ]
    )
    return Placing(wire.whole_path(root), path, above, files)


class Placer:
    """Puts files in their places, one folder after another.

    A file that was lengthened in its place has the time of its original only when it is on the disk: after a power cut
    it could have the right size and time, and wrong contents.
    """

    def __init__(self, numeric_ids: bool) -> None:
        self._numeric_ids = numeric_ids
        self._failed = []  # type: list[tuple[bytes, bytes]]
        self._lengthened = []  # type: list[tuple[int, int, Placing]]

    def place(self, placing: Placing) -> None:
        """Put the files of a folder in their places, or none of them."""
        try:
            lengthened = _place(placing, self._numeric_ids)
        except OSError:
            self._failed.append((placing.root, placing.path))
            return
        where = placing._replace(files=())
        self._lengthened += [(descriptor, mtime, where) for descriptor, mtime in lengthened]
        if len(self._lengthened) >= _MOST_OPEN:
            self._settle()

    def finish(self) -> "list[tuple[bytes, bytes]]":
        """Return the folders (root, path) where not all files are in their places."""
        self._settle()
        return self._failed

    def _settle(self) -> None:
        lengthened, self._lengthened = self._lengthened, []
        try:
            to_disk(sorted({placing.root for _, _, placing in lengthened}))
            for descriptor, mtime, _ in lengthened:
                os.utime(descriptor, ns=(os.fstat(descriptor).st_atime_ns, mtime))
        except OSError:
            self._failed += [(placing.root, placing.path) for _, _, placing in lengthened]
        finally:
            for descriptor, _, _ in lengthened:
                os.close(descriptor)


def place(
    placings: "Iterable[Placing]", numeric_ids: bool, wanted: "Callable[[], bool]"
) -> "list[tuple[bytes, bytes]]":
    """Put files in their places, and return the folders (root, path) where not all of them are.

    It stops between two folders when nobody wants it any more.
    """
    placer = Placer(numeric_ids)
    for placing in placings:
        if not wanted():
            break
        placer.place(placing)
    return placer.finish()


def _place(placing: Placing, numeric_ids: bool) -> "list[tuple[int, int]]":
    """Put the files in their places; return those that were lengthened, still open, each with the time to be set."""
    opened = []  # type: list[tuple[int, Entry]]
    lengthened = []  # type: list[tuple[int, int]]
    try:
        for path, entry in placing.above:
            if not stat.S_ISDIR(entry.mode):
                raise NotADirectoryError(errno.ENOTDIR, "")
            name = path.rpartition(b"/")[2]
            directory = os.open(name, _DIRECTORY, dir_fd=opened[-1][0]) if opened else os.open(placing.root, _ROOT)
            opened.append((directory, entry))
        folder = opened[-1][0]
        if _is_there(kinds.UPDATES, folder):
            raise FileExistsError(errno.EEXIST, "")  # a killed rsync's: rsync 3.2.3 takes it for what it is to send
        _replace(placing.files, folder, numeric_ids, lengthened)
        for directory, entry in reversed(opened):
            _dress(directory, entry, numeric_ids)
    except OSError:
        for descriptor, _ in lengthened:
            os.close(descriptor)
        raise
    finally:
        for directory, _ in opened:
            os.close(directory)
    return lengthened


def _is_there(name: bytes, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _replace(files: "Iterable[File]", directory: int, numeric_ids: bool, lengthened: "list[tuple[int, int]]") -> None:
    written = []  # type: list[tuple[bytes, bytes]]
    try:
        for file in files:
            # Of metadata of one moment neither size nor time tells.
            if file.name not in kinds.BOUND and (
                _is_same(file, directory, numeric_ids) or _lengthen(file, directory, numeric_ids, lengthened)
            ):
                continue
            temporary = b".%b.%b" % (file.name, os.urandom(3).hex().encode("ascii"))  # as rsync calls its own
            descriptor = os.open(temporary, _NEW_FILE, 0o600, dir_fd=directory)
            written.append((temporary, file.name))
            try:
                _write(descriptor, file.data)
                _dress(descriptor, file.entry, numeric_ids)
            finally:
                os.close(descriptor)
        if {kinds.HEADER, kinds.INDEX} <= {name for _, name in written} and _is_there(kinds.INDEX, directory):
            # Were we killed between the two, an index would stand beside a header that it was not written with.
            os.unlink(kinds.INDEX, dir_fd=directory)
        while written:
            os.rename(*written[0], src_dir_fd=directory, dst_dir_fd=directory)
            del written[0]
    finally:
        for temporary, _ in written:
            os.unlink(temporary, dir_fd=directory)


def _is_same(file: File, directory: int, numeric_ids: bool) -> bool:
    """Tell whether a file needs no sending, by rsync's quick check, and no attributes."""
    try:
        now = os.stat(file.name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    same_owner = (now.st_uid, now.st_gid) == owner_here(file.entry.owner, numeric_ids)
    known = (file.entry.mode, len(file.data), file.entry.mtime)
    return same_owner and (now.st_mode, now.st_size, now.st_mtime_ns) == known


def _lengthen(file: File, directory: int, numeric_ids: bool, lengthened: "list[tuple[int, int]]") -> bool:
    """Write the end of a metadata file that has grown, and tell whether it has: a cache is much, and seldom rewritten.

    One that has other names is left: they are copies that somebody keeps. Its time is no original's until it is set.
    """
    if not kinds.is_metadata(file.name):
        return False
    try:
        descriptor = os.open(file.name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except OSError:
        return False
    grown = False
    try:
        now = os.fstat(descriptor)
        grown = stat.S_ISREG(now.st_mode) and now.st_nlink == 1 and 0 < now.st_size < len(file.data)
        grown = grown and os.read(descriptor, now.st_size) == file.data[: now.st_size]
        if grown:
            lengthened.append((descriptor, file.entry.mtime))
            os.utime(descriptor, ns=(now.st_atime_ns, 0))
            _write(descriptor, memoryview(file.data)[now.st_size :])
            _dress(descriptor, file.entry._replace(mtime=0), numeric_ids)
    finally:
        if not grown:
            os.close(descriptor)
    return grown


def _write(descriptor: int, data: "bytes | memoryview") -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _dress(descriptor: int, entry: Entry, numeric_ids: bool) -> None:
    """Give an open file or directory the attributes of its original, where it has others."""
    now = os.fstat(descriptor)
    uid, gid = owner_here(entry.owner, numeric_ids)
    mode = stat.S_IMODE(entry.mode)
    if os.geteuid() != 0:  # as rsync has it: others than root cannot give files away, and may know the group
        uid, gid = now.st_uid, gid if gid in os.getgroups() else now.st_gid
    if (now.st_uid, now.st_gid) != (uid, gid):
        os.chown(descriptor, uid, gid)
        now = os.fstat(descriptor)  # which takes bits away
    if stat.S_IMODE(now.st_mode) != mode:
        os.chmod(descriptor, mode)
    if now.st_mtime_ns != entry.mtime:
        os.utime(descriptor, ns=(now.st_atime_ns, entry.mtime))


@lru_cache(maxsize=256)
def owner_here(owner: str, numeric_ids: bool) -> "tuple[int, int]":
    """Return the numbers that rsync would give to files of an owner of elsewhere: those of the names, if known."""
    uid, gid, user, group = owner.split(":")
    numbers = [int(uid), int(gid)]
    if not numeric_ids:
        for which, name in enumerate((user, group)):
            try:
                if name:
                    numbers[which] = grp.getgrnam(name).gr_gid if which else pwd.getpwnam(name).pw_uid
            except (KeyError, ValueError):
                pass  # ValueError: the name cannot be written in the encoding here
    return numbers[0], numbers[1]
