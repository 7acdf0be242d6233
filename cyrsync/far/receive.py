"""The receiving end of a stream of mailboxes: each is written beside its place, and takes it when all of it is there.

A folder that is not there is made in a hidden directory, and renamed into its place as a whole. In one that is there,
every file is written under a hidden name, and then all are renamed: messages first, then other files in the order in
which they came. No link is followed below a root. A link or a file that stands where a directory has to be makes way.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import errno
import os
import stat
from array import array
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far.owner import owner_here
from cyrsync.far.remove import RENAMED
from cyrsync.far.to_disk import to_disk

if TYPE_CHECKING:
    from typing import Optional

    from cyrsync.far.folder import Entry
    from cyrsync.far.frames import Part

_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_DIRECTORY = _ROOT | os.O_NOFOLLOW
_OLD_FILE = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_TRIES = 20  # to make a directory in one that others remove when it is empty
_MOST_OPEN = 256  # of files that were lengthened
_LONGEST = 255 - len("..123456")  # bytes of a name that a temporary one can have in it


class Failure(NamedTuple):
    """Why a mailbox of a stream, counted from 0, is not in its place: an errno, and what it is about."""

    mailbox: int
    number: int
    path: bytes


class Receiver:
    """Writes a stream of mailboxes. What cannot be written costs its mailbox only.

    A file that was lengthened in its place has the time of its original only when it is on the disk: after a power cut
    it could have the right size and time, and wrong contents.
    """

    def __init__(self, numeric_ids: bool, aside: bool = True) -> None:
        """A folder that is not there is made `aside`; not where others write beside this one."""
        self._numeric_ids = numeric_ids
        self._aside = aside
        self._mailbox = 0
        self._parts = []  # type: list[_Part]
        self._failure = None  # type: Optional[Failure]
        self._failures = []  # type: list[Failure]
        self._lengthened = []  # type: list[tuple[int, int, int, bytes]]
        self._made_aside = {}  # type: dict[bytes, Entry]  # roots with a hidden directory

    def part(self, part: "Part") -> None:
        """Begin a part of the present mailbox."""
        if self._failure:
            return
        try:
            self._parts.append(_Part(part, self._numeric_ids, self._aside))
            if self._parts[-1].is_aside():
                self._made_aside[part.root] = part.above[0][1]
        except OSError as error:
            self._fail(error, part.root, part.path)

    def message(self, uid: int, entry: "Entry", data: bytes) -> None:
        """Write a message file, or the first piece of it."""
        self._write(b"%d." % uid, entry, data, is_message=True)

    def file(self, name: bytes, entry: "Entry", data: bytes) -> None:
        """Write another file, or the first piece of it, or a symbolic link."""
        self._write(name, entry, data, is_message=False)

    def tail(self, name: bytes, entry: "Entry", offset: int, data: bytes) -> None:
        """Write what a file has beyond so many bytes, which are here, or the first piece of it."""
        if self._failure or not self._parts:
            self._failure = self._failure or Failure(self._mailbox, errno.EINVAL, name)
            return
        part = self._parts[-1]
        try:
            part.begin_tail(name, entry, offset, data)
        except OSError as error:
            self._fail(error, part.root, os.path.join(part.path, name))

    def more(self, data: bytes) -> None:
        """Write the next piece of a file."""
        if not self._failure:
            part = self._parts[-1]
            try:
                part.more(data)
            except OSError as error:
                self._fail(error, part.root, os.path.join(part.path, part.name))

    def commit(self) -> None:
        """Give a mailbox its place."""
        parts, self._parts = self._parts, []
        try:
            for part in parts:
                if not self._failure:
                    self._give_place(part)
        finally:
            for part in parts:
                part.close()
        if self._failure:
            self._failures.append(self._failure)
            self._failure = None
        self._mailbox += 1
        if len(self._lengthened) >= _MOST_OPEN:
            self._settle()

    def abandon(self) -> None:
        """Leave everything of a mailbox as it was."""
        parts, self._parts = self._parts, []
        for part in parts:
            part.close()
        self._failure = None

    def end(self) -> "list[Failure]":
        """Return which mailboxes are not in their places, and why."""
        self.abandon()
        self._settle()
        for root, entry in self._made_aside.items():
            _remove_hidden(root, entry)
        return self._failures

    def _write(self, name: bytes, entry: "Entry", data: bytes, is_message: bool) -> None:
        if self._failure:
            return
        if not self._parts:
            self._failure = Failure(self._mailbox, errno.EINVAL, name)
            return
        part = self._parts[-1]
        try:
            part.begin(name, entry, data, is_message)
        except OSError as error:
            self._fail(error, part.root, os.path.join(part.path, name))

    def _give_place(self, part: "_Part") -> None:
        try:
            part.give_place()
        except OSError as error:
            self._fail(error, part.root, os.path.join(part.path, part.name))
        for descriptor, mtime in part.take_lengthened():
            self._lengthened.append((descriptor, mtime, self._mailbox, part.root))

    def _fail(self, error: OSError, root: bytes, path: bytes) -> None:
        self._failure = Failure(self._mailbox, error.errno or errno.EIO, os.path.join(root, path) if path else root)

    def _settle(self) -> None:
        lengthened, self._lengthened = self._lengthened, []
        try:
            to_disk(sorted({root for _, _, _, root in lengthened}))
            for descriptor, mtime, _, _ in lengthened:
                os.utime(descriptor, ns=(os.fstat(descriptor).st_atime_ns, mtime))
        except OSError as error:
            number = error.errno or errno.EIO
            self._failures += [Failure(mailbox, number, root) for _, _, mailbox, root in lengthened]
        finally:
            for descriptor, _, _, _ in lengthened:
                os.close(descriptor)


class _Part:
    """A folder below a root, as long as it is being written."""

    def __init__(self, part: "Part", numeric_ids: bool, aside: bool) -> None:
        self.root = part.root
        self.path = part.path
        self.name = b""  # of the file at work
        self._numeric_ids = numeric_ids
        self._opened = []  # type: list[tuple[int, Entry]]
        self._aside = b""  # the name, in the hidden directory, of a folder that was not there
        self._hidden = -1  # that directory
        self._suffix = os.urandom(3).hex().encode("ascii")
        self._messages = array("I")  # that are written, by UID
        self._others = []  # type: list[tuple[bytes, bytes]]  # and other files: temporary name, name
        self._lengthened = []  # type: list[tuple[int, int]]
        self._file = -1  # that is being written
        self._tail = -1  # that is being lengthened
        self._left = 0  # bytes of it that are to come
        self._entry = None  # type: Optional[Entry]
        self._new_file = None  # type: Optional[tuple[int, int, int]]  # owner, group and mode that new files have
        try:
            self._open(part, aside)
        except BaseException:
            self.close()
            raise

    def is_aside(self) -> bool:
        """Tell whether the folder is one that was not there."""
        return bool(self._aside)

    def begin(self, name: bytes, entry: "Entry", data: bytes, is_message: bool) -> None:
        """Write a file, or the first piece of it. Raise OSError."""
        self.name = name
        self._finish()
        folder = self._opened[-1][0]
        bare = not self._aside and not is_message and name not in kinds.BOUND and len(data) == entry.size
        if bare and (self._is_same(name, entry, folder) or self._lengthen(name, entry, data, folder)):
            return
        temporary = name if self._aside else self._temporary(name)
        if stat.S_ISLNK(entry.mode):
            os.symlink(entry.extra.encode("latin-1"), temporary, dir_fd=folder)
            self._others.append((temporary, name))
            _dress_link(temporary, folder, entry, self._numeric_ids)
            return
        self._file = os.open(temporary, _NEW_FILE, 0o600, dir_fd=folder)
        if is_message:
            self._messages.append(int(name[:-1]))
        else:
            self._others.append((temporary, name))
        self._entry = entry
        _write(self._file, data)
        self._left = entry.size - len(data)
        if not self._left:
            self._finish()

    def begin_tail(self, name: bytes, entry: "Entry", offset: int, data: bytes) -> None:
        """Write the end of a file that is here, or the first piece of it. Raise OSError."""
        self.name = name
        self._finish()
        descriptor = os.open(name, _OLD_FILE, dir_fd=self._opened[-1][0])
        self._lengthened.append((descriptor, entry.mtime))
        now = os.fstat(descriptor)
        if not stat.S_ISREG(now.st_mode) or now.st_nlink != 1 or now.st_size != offset:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        os.lseek(descriptor, offset, os.SEEK_SET)
        self._tail, self._left, self._entry = descriptor, entry.size - offset, entry._replace(mtime=0)
        self.more(data)

    def more(self, data: bytes) -> None:
        """Write the next piece of the file. Raise OSError."""
        if self._tail >= 0:
            _write(self._tail, data)
            self._left -= len(data)
            if not self._left:
                assert self._entry is not None
                dress(self._tail, self._entry, numeric_ids=self._numeric_ids)
                self._tail = -1
            return
        _write(self._file, data)
        self._left -= len(data)
        if not self._left:
            self._finish()

    def give_place(self) -> None:
        """Rename everything into its place. Raise OSError."""
        self._finish()
        if self._aside:
            dress(*self._opened[-1], numeric_ids=self._numeric_ids)
            name = self.name = self.path.rpartition(b"/")[2]
            os.rename(self._aside, name, src_dir_fd=self._hidden, dst_dir_fd=self._opened[-2][0])
            self._aside = b""
            self._forget()
        else:
            self._rename()
        for directory, entry in reversed(self._opened):
            dress(directory, entry, numeric_ids=self._numeric_ids)

    def take_lengthened(self) -> "list[tuple[int, int]]":
        """Return the files that were lengthened, open, each with its time."""
        lengthened, self._lengthened = self._lengthened, []
        return lengthened

    def close(self) -> None:
        """Remove what has not found its place."""
        if self._file >= 0:
            _close(self._file)
            self._file = -1
        for uid in self._messages:
            _discard(b"%d." % uid if self._aside else self._temporary(b"%d." % uid), self._opened[-1][0])
        for temporary, _ in self._others:
            _discard(temporary, self._opened[-1][0])
        if self._aside:
            _discard(self._aside, self._hidden, is_directory=True)
        for directory, _ in self._opened:
            _close(directory)
        if self._hidden >= 0:
            _close(self._hidden)
        for descriptor, _ in self._lengthened:
            _close(descriptor)
        self._opened, self._aside, self._hidden, self._lengthened = [], b"", -1, []
        self._forget()

    def _open(self, part: "Part", aside: bool) -> None:
        for path, entry in part.above:
            if not self._opened:
                self._opened.append((os.open(part.root, _ROOT), entry))
                continue
            above = self._opened[-1][0]
            name = path.rpartition(b"/")[2]
            directory = _open_directory(name, above)
            if directory is None and aside and path == part.path:
                directory = self._make_aside(above)
            if directory is None:
                _make_directory(name, above)
                directory = os.open(name, _DIRECTORY, dir_fd=above)
            self._opened.append((directory, entry))

    def _make_aside(self, above: int) -> "Optional[int]":
        """Make a folder in the hidden directory; None where another file system is mounted on the way."""
        root = self._opened[0][0]
        name = b"new.%b" % os.urandom(8).hex().encode("ascii")
        for left in range(_TRIES, -1, -1):
            _make_directory(RENAMED, root)
            try:
                self._hidden = os.open(RENAMED, _DIRECTORY, dir_fd=root)
                if os.fstat(self._hidden).st_dev != os.fstat(above).st_dev:
                    return None
                os.mkdir(name, 0o700, dir_fd=self._hidden)
                break
            except FileNotFoundError:  # another receiver has just removed the hidden directory, as it was empty
                if self._hidden >= 0:
                    os.close(self._hidden)
                    self._hidden = -1
                if not left:
                    raise
        self._aside = name
        return os.open(name, _DIRECTORY, dir_fd=self._hidden)

    def _rename(self) -> None:
        folder = self._opened[-1][0]
        while self._messages:
            name = self.name = b"%d." % self._messages[-1]
            os.rename(self._temporary(name), name, src_dir_fd=folder, dst_dir_fd=folder)
            self._messages.pop()
        if {kinds.HEADER, kinds.INDEX} <= {name for _, name in self._others}:
            # Were we killed between the two, an index would stand beside a header that it was not written with.
            _discard(kinds.INDEX, folder)
        self._others.reverse()
        while self._others:
            temporary, name = self._others[-1]
            self.name = name
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            self._others.pop()

    def _temporary(self, name: bytes) -> bytes:
        """Return a name such as rsync gives its own, which are known for what they are if they stay."""
        if len(name) > _LONGEST:
            return b".%b.%b" % (name[:_LONGEST], os.urandom(3).hex().encode("ascii"))
        return b".%b.%b" % (name, self._suffix)

    def _forget(self) -> None:
        """Forget files that have their places."""
        self._messages = array("I")
        self._others = []

    def _finish(self) -> None:
        """Give the file at work the attributes of its original."""
        if self._file < 0 and self._tail < 0:
            return
        if self._left:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        descriptor, self._file = self._file, -1
        try:
            assert self._entry is not None
            self._dress_new(descriptor, self._entry)
        finally:
            os.close(descriptor)

    def _dress_new(self, descriptor: int, entry: "Entry") -> None:
        """Give a new file its attributes: what new files have in this folder is looked at once."""
        if self._new_file is None:
            now = os.fstat(descriptor)
            self._new_file = now.st_uid, now.st_gid, stat.S_IMODE(now.st_mode)
        uid, gid, mode = self._new_file
        wanted = _settable(entry, uid, gid, self._numeric_ids)
        if wanted != (uid, gid):
            os.chown(descriptor, *wanted)
        if stat.S_IMODE(entry.mode) != mode:
            os.chmod(descriptor, stat.S_IMODE(entry.mode))
        os.utime(descriptor, ns=(entry.mtime, entry.mtime))

    def _is_same(self, name: bytes, entry: "Entry", folder: int) -> bool:
        """Tell whether a file needs no sending, by rsync's quick check, and no attributes."""
        if stat.S_ISLNK(entry.mode) or not kinds.is_metadata(name):
            return False  # what is no mailbox's was seen to differ
        try:
            now = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        same_owner = (now.st_uid, now.st_gid) == owner_here(entry.owner, self._numeric_ids)
        return same_owner and (now.st_mode, now.st_size, now.st_mtime_ns) == (entry.mode, entry.size, entry.mtime)

    def _lengthen(self, name: bytes, entry: "Entry", data: bytes, folder: int) -> bool:
        """Write the end of a metadata file that has grown, and tell whether it has: a cache is seldom rewritten.

        One that has other names is left: they are copies that somebody keeps. Its time is no original's at first.
        """
        if not kinds.is_metadata(name):
            return False
        try:
            descriptor = os.open(name, _OLD_FILE, dir_fd=folder)
        except OSError:
            return False
        grown = False
        try:
            now = os.fstat(descriptor)
            candidate = stat.S_ISREG(now.st_mode) and now.st_nlink == 1 and 0 < now.st_size < len(data)
            grown = candidate and os.read(descriptor, now.st_size) == data[: now.st_size]
            if grown:
                self._lengthened.append((descriptor, entry.mtime))
                os.utime(descriptor, ns=(now.st_atime_ns, 0))
                _write(descriptor, memoryview(data)[now.st_size :])
                dress(descriptor, entry._replace(mtime=0), numeric_ids=self._numeric_ids)
        finally:
            if not grown:
                os.close(descriptor)
        return grown


def _make_directory(name: bytes, above: int) -> None:
    """Make a directory, unless another receiver has."""
    try:
        os.mkdir(name, 0o700, dir_fd=above)
    except FileExistsError:
        pass


def _open_directory(name: bytes, above: int) -> "Optional[int]":
    """Open a directory; None where none is there. What else is there makes way, as it does for rsync."""
    try:
        return os.open(name, _DIRECTORY, dir_fd=above)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
    os.unlink(name, dir_fd=above)
    return None


def _remove_hidden(root: bytes, entry: "Entry") -> None:
    """Remove the hidden directory, if nothing is in it; the root has its time all the same."""
    try:
        directory = os.open(root, _ROOT)
    except OSError:
        return
    try:
        os.rmdir(RENAMED, dir_fd=directory)
        os.utime(directory, ns=(os.fstat(directory).st_atime_ns, entry.mtime))
    except OSError:
        pass  # the next run clears it
    finally:
        os.close(directory)


def _discard(name: bytes, directory: int, *, is_directory: bool = False) -> None:
    try:
        if is_directory:
            os.rmdir(name, dir_fd=directory)
        else:
            os.unlink(name, dir_fd=directory)
    except OSError:
        pass  # whoever comes next removes it


def _close(descriptor: int) -> None:
    """Close a file that does not count any more: a full disk may say so only now."""
    try:
        os.close(descriptor)
    except OSError:
        pass


def _write(descriptor: int, data: "bytes | memoryview") -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def dress(descriptor: int, entry: "Entry", *, numeric_ids: bool) -> None:
    """Give an open file or directory the attributes of its original, where it has others."""
    now = os.fstat(descriptor)
    wanted = _settable(entry, now.st_uid, now.st_gid, numeric_ids)
    if (now.st_uid, now.st_gid) != wanted:
        os.chown(descriptor, *wanted)
        now = os.fstat(descriptor)  # which takes bits away
    if stat.S_IMODE(now.st_mode) != stat.S_IMODE(entry.mode):
        os.chmod(descriptor, stat.S_IMODE(entry.mode))
    if now.st_mtime_ns != entry.mtime:
        os.utime(descriptor, ns=(now.st_atime_ns, entry.mtime))


def _dress_link(name: bytes, directory: int, entry: "Entry", numeric_ids: bool) -> None:
    now = os.stat(name, dir_fd=directory, follow_symlinks=False)
    wanted = _settable(entry, now.st_uid, now.st_gid, numeric_ids)
    if (now.st_uid, now.st_gid) != wanted:
        os.chown(name, *wanted, dir_fd=directory, follow_symlinks=False)
    os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=directory, follow_symlinks=False)


def _settable(entry: "Entry", uid: int, gid: int, numeric_ids: bool) -> "tuple[int, int]":
    """Return the owner that a file of ours can be given; as rsync has it, others than root may give away the group."""
    wanted = owner_here(entry.owner, numeric_ids)
    if os.geteuid() == 0:
        return wanted
    return uid, wanted[1] if wanted[1] in os.getgroups() else gid
