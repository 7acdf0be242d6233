"""What a replica is about to lose is kept in its store: states of mailboxes, and other files; messages are for `pool`.

Everything is kept by a hard link before something else takes its name: so what is kept is whole, and was on the disk
before. Annotations alone are copied: Cyrus changes them in their place, if the replica is promoted.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import errno
import os
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox import header, records, regular_file
from cyrsync.cyrus.mailbox import index as indexes
from cyrsync.cyrus.mailbox.finder import Finder
from cyrsync.far import packed, store, whole_file
from cyrsync.far import uids as uid_sets
from cyrsync.far.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Optional

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_BLOCK = 1 << 20
_MOST = 1000  # states that came to be at one time
_SHORT = 100  # bytes of a file's name that are in a temporary one


class Keeper:
    """Keeps what is about to be lost below one root. If a method raises OSError, nothing must be lost."""

    def __init__(self, root: bytes, spacing: int = 0) -> None:
        """A mailbox's state is not kept less than `spacing` nanoseconds after another one was, by the clock here."""
        self._spacing = spacing
        self._store = Store(root)
        self._former = {}  # type: dict[bytes, bytes]  # where the states are of mailboxes that had these folders

    def keep_state(self, folder: int, path: bytes, coming: "Optional[Mapping[bytes, bytes]]" = None) -> None:
        """Keep the state of a mailbox before its index is replaced, or removed.

        `folder` is open, `path` is its path below the root, and `coming` has the names of what takes the place of
        files, by the names of these; None where all of it goes.
        """
        try:
            index = os.open(kinds.INDEX, _FILE, dir_fd=folder)
        except FileNotFoundError:
            return
        try:
            status = regular_file.check(index, kinds.INDEX)
            name = _directory_of(folder)
            if name and not (coming and all(_is_same(folder, *names) for names in coming.items())):
                new = coming.get(kinds.INDEX) if coming else None
                self._former[path] = name
                mailbox = self._store.open(store.MAILBOXES, name)
                try:
                    self._keep_state(mailbox, name, folder, path, index, status, new)
                finally:
                    os.close(mailbox)
        finally:
            os.close(index)

    def keep_file(self, folder: int, path: bytes, name: bytes, coming: bytes = b"") -> None:
        """Keep a file that is no mailbox's before it is removed, or another one, that is `coming`, takes its place.

        A symbolic link is kept as one.
        """
        if coming and _is_same(folder, name, coming):
            return
        names = [*(part for part in path.split(b"/") if part), store.versions_of(name)]
        try:
            file = os.open(name, _FILE, dir_fd=folder)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENXIO):
                return  # nothing, or a socket
            if error.errno != errno.ELOOP:
                raise
            self._keep_link(folder, names, name)
            return
        try:
            status = os.fstat(file)
            if stat.S_ISREG(status.st_mode):
                self._keep_file(folder, names, name, file, status)
        finally:
            os.close(file)

    def newest(self, folder: "Optional[int]", path: bytes) -> "Optional[Finder]":
        """Return the index of the newest state that was kept of the mailbox whose messages a folder has.

        `folder` is open, None where it is not there any more. None is returned where the state may be another
        mailbox's: messages that go may be of one that had the folder before.
        """
        name = self._former.get(path) if folder is None else _directory_of(folder) or self._former.get(path)
        if not name:
            return None
        self._former[path] = name  # for `note_digest`
        mailbox = self._store.open(store.MAILBOXES, name)
        try:
            newest = packed.newest(mailbox)
            read = packed.reader(mailbox, newest) if newest else None
            finder = Finder(read) if read else None
        except records.BadIndex:
            return None
        finally:
            os.close(mailbox)
        now = _incarnation(folder) if folder is not None else None
        return finder if finder and now in (None, finder.header.uidvalidity) else None

    def note_digest(self, path: bytes, uidvalidity: int, uid: int, digest: bytes) -> None:
        """Remember what a message is called in the pool whose index record does not tell; `path` is its folder.

        That is on the disk before the message leaves its folder: after a power cut, nothing else would tell.
        """
        mailbox = self._store.open(store.MAILBOXES, self._former[path])
        try:
            descriptor = whole_file.open_for_lines(store.HASHED, mailbox)
            try:
                # A line that a full disk or a power cut has torn must not tear the next one.
                line = "\n{} {} {}\n".format(uidvalidity, uid, digest.hex()).encode("ascii")
                is_new = os.fstat(descriptor).st_size == 0
                whole_file.write_all(descriptor, line)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if is_new:
                os.fsync(mailbox)
        finally:
            os.close(mailbox)

    def _keep_state(
        self,
        mailbox: int,
        name: bytes,
        folder: int,
        path: bytes,
        index: int,
        status: os.stat_result,
        new: "Optional[bytes]",
    ) -> None:
        lost = self._lost(mailbox, folder, index, new)
        if lost is not None and not lost:
            return
        suffix = b"" if lost is None else store.GONE
        place = _free_place(mailbox, index, status, suffix, kinds.INDEX)
        if not place:
            return
        temporary = b".%b.%b" % (place, os.urandom(4).hex().encode("ascii"))
        os.mkdir(temporary, 0o700, dir_fd=mailbox)
        state = os.open(temporary, store.DIRECTORY, dir_fd=mailbox)
        try:
            os.symlink(path or b".", store.FOLDER, dir_fd=state)
            for other in (kinds.HEADER, kinds.EXPUNGE):
                with suppress(FileNotFoundError):
                    os.link(other, other, src_dir_fd=folder, dst_dir_fd=state, follow_symlinks=False)
            _copy(kinds.ANNOTATIONS, folder, state)
            if lost is None:
                os.link(kinds.INDEX, kinds.INDEX, src_dir_fd=folder, dst_dir_fd=state, follow_symlinks=False)
            else:
                whole_file.make(kinds.INDEX, lost, state)
            os.rename(temporary, place, src_dir_fd=mailbox, dst_dir_fd=mailbox)
        finally:
            os.close(state)
        if lost is None:
            self._store.note(b"/".join([store.MAILBOXES, name, place]), waits=not packed.is_large(status.st_size))

    def _lost(self, mailbox: int, folder: int, index: int, new: "Optional[bytes]") -> "Optional[bytes]":
        """Return what is to be kept of a state that is too near to the last one: the records that the next one lacks.

        How near is said by when both were kept: a state that began soon after the last one may be there for long.
        They come behind their index's header; b"" where there are none. None for a state that is kept as a whole.
        """
        if not self._spacing or new is None:
            return None
        newest = packed.newest(mailbox)
        if newest is None or abs(_age(mailbox, newest)) >= self._spacing:
            return None
        try:
            old = records.read(regular_file.contents(index), check_records=False)
            coming = os.open(new, _FILE, dir_fd=folder)
            try:
                now = records.read(regular_file.contents(coming), check_records=False)
            finally:
                os.close(coming)
        except records.BadIndex:
            return None
        if old.header.uidvalidity != now.header.uidvalidity:
            return None
        lost = uid_sets.difference(old.uids, now.uids)
        if not lost:
            return b""
        size, start = old.header.record_size, old.header.start_offset
        parts = [os.pread(index, start, 0)]
        wanted = frozenset(lost)
        parts += [os.pread(index, size, start + at * size) for at, uid in enumerate(old.uids) if uid in wanted]
        return b"".join(parts)

    def _keep_file(self, folder: int, names: "list[bytes]", name: bytes, file: int, status: os.stat_result) -> None:
        versions = self._store.open(store.FILES, *names)
        try:
            place = _free_place(versions, file, status, b"", b"")
            if place:
                os.link(name, place, src_dir_fd=folder, dst_dir_fd=versions, follow_symlinks=False)
                self._store.note(b"/".join([store.FILES, *names, place]), waits=not packed.is_large(status.st_size))
        finally:
            os.close(versions)

    def _keep_link(self, folder: int, names: "list[bytes]", name: bytes) -> None:
        """Keep what a symbolic link says, under the time that it has: it is small, and not packed."""
        target, mtime = os.readlink(name, dir_fd=folder), os.lstat(name, dir_fd=folder).st_mtime_ns
        versions = self._store.open(store.FILES, *names)
        try:
            every = sorted(found for found in map(os.fsencode, os.listdir(versions)) if store.VERSION.match(found))
            if every and _says(every[-1], versions) == (target, mtime):
                return  # a run that was killed has kept it
            when = max(mtime, store.last(every, int(time.time() * 10**9)) + 1)
            while any(found.startswith(store.since(when)) for found in every):
                when += 1
            temporary = b".%b.%b" % (name[:_SHORT], os.urandom(4).hex().encode("ascii"))
            os.symlink(target, temporary, dir_fd=versions)
            os.utime(temporary, ns=(mtime, mtime), dir_fd=versions, follow_symlinks=False)
            os.rename(temporary, store.since(when), src_dir_fd=versions, dst_dir_fd=versions)
        finally:
            os.close(versions)


def _says(name: bytes, directory: int) -> "Optional[tuple[bytes, int]]":
    """Return what a symbolic link says, and when it was made; None for what is none."""
    try:
        return os.readlink(name, dir_fd=directory), os.lstat(name, dir_fd=directory).st_mtime_ns
    except OSError:
        return None


def _directory_of(folder: int) -> bytes:
    """Return the name of the directory with the states of the mailbox in a folder, b"" for what is no mailbox."""
    try:
        head = os.open(kinds.HEADER, _FILE, dir_fd=folder)
    except FileNotFoundError:
        return b""
    try:
        uniqueid = header.uniqueid(os.read(head, header.READ_SIZE))
    finally:
        os.close(head)
    return store.directory_of(uniqueid) if uniqueid else b""


def _incarnation(folder: int) -> "Optional[int]":
    """Return the UIDVALIDITY of the mailbox in a folder, 0 for one that cannot be read, None for none."""
    try:
        index = os.open(kinds.INDEX, _FILE, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        head = indexes.head(os.read(index, indexes.READ_SIZE))
        return head.uidvalidity if head else 0
    finally:
        os.close(index)


def _free_place(directory: int, file: int, status: os.stat_result, suffix: bytes, below: bytes) -> bytes:
    """Return the name for a state of an open file that came to be when that was modified; b"" where it is kept already.

    The file is `below` the state's name, or the state itself. A source whose clock was set back since says an earlier
    time than of a state that was kept before: names rise nevertheless.
    """
    last = store.last(map(os.fsencode, os.listdir(directory)), int(time.time() * 10**9))
    for later in range(_MOST):
        name = store.since(max(status.st_mtime_ns, last) + later) + suffix
        if below and not store.is_there(name, directory):
            return name
        whole = os.path.join(name, below) if below else name
        try:
            there = os.lstat(whole, dir_fd=directory)
            if (there.st_dev, there.st_ino) == (status.st_dev, status.st_ino):
                return b""
            continue
        except FileNotFoundError:
            pass
        known = packed.is_of(directory, whole, file)
        if known is None:
            return name
        if known:
            return b""
    raise OSError(errno.EEXIST, "too many states of one time", name)


def _age(mailbox: int, state: bytes) -> float:
    """Return how long ago a state was kept, in nanoseconds; less than 0 if the clock has been set back."""
    try:
        kept = os.lstat(os.path.join(state, store.FOLDER), dir_fd=mailbox).st_mtime
    except FileNotFoundError:
        kept = 0.0  # it is damaged
    return (time.time() - kept) * 10**9


def _is_same(folder: int, name: bytes, other: bytes) -> bool:
    """Tell whether two files, or links, hold the same since the same time; all else is the same as nothing.

    Cyrus may write an index anew as it was. It has a later time then, but what is in it was so before, too.
    """
    said = _says(name, folder)
    if said:
        return said == _says(other, folder)
    try:
        looks = [os.lstat(one, dir_fd=folder) for one in (name, other)]
    except FileNotFoundError:
        return False
    if not all(stat.S_ISREG(look.st_mode) for look in looks):
        return False
    if len({(look.st_size, look.st_mtime_ns) for look in looks}) > 1:
        return False
    one, two = os.open(name, _FILE, dir_fd=folder), os.open(other, _FILE, dir_fd=folder)
    try:
        block = os.read(one, _BLOCK)
        while block and block == os.read(two, len(block)):
            block = os.read(one, _BLOCK)
        return not block
    finally:
        os.close(one)
        os.close(two)


def _copy(name: bytes, folder: int, state: int) -> None:
    try:
        descriptor = os.open(name, _FILE, dir_fd=folder)
    except FileNotFoundError:
        return
    try:
        regular_file.check(descriptor, name)
        whole_file.make(name, regular_file.contents(descriptor), state)
    finally:
        os.close(descriptor)
