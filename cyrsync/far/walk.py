"""The walk: read the directories of a tree, names only, and `lstat` nothing but what is no message.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import errno
import grp
import os
import pwd
import stat
import time
from itertools import islice
from typing import TYPE_CHECKING

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox import header, index
from cyrsync.cyrus.mailbox.user import may_hold_user, user_of
from cyrsync.far import message_files, wire
from cyrsync.far import uids as uid_sets
from cyrsync.far.descent import Descent
from cyrsync.far.folder import Entry, Folder, Incarnation, join
from cyrsync.far.message_files import MessageFiles
from cyrsync.far.read_ahead import ReadAhead

if TYPE_CHECKING:
    from collections.abc import Iterator

    Looks = dict[bytes, "Entry | None"]

#: A directory this large (bytes) is read in portions: a million names at once take 60 MB.
_LARGE_DIRECTORY = 4 << 20
_PORTION = 1 << 16
_DAY = 86400  # seconds: an rsync temporary file older than this is nobody's any more
_DOT = ord(".")
_LENT = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX
#: A header that fails its CRC may have been read while Cyrus wrote it: worth so many looks.
_LOOKS = 3


def walk(root: bytes, users: "frozenset[str]" = frozenset(), leftovers: bool = False) -> "Iterator[Folder]":
    """Yield the folders of the tree at `root`, each before what is below it, in order of `sort_key`.

    With `users`, only those users' folders, and of the others only as much as leads to them. With
    `leftovers`, old temporary files of rsync are looked for. Never raises for a folder: one that
    cannot be read is yielded with its `problem`.
    """
    reader = Reader(root, leftovers)
    ahead = ReadAhead(reader.read, lambda: Reader(root, leftovers).read)
    pending = [b""]
    try:
        while pending:
            path = pending.pop()
            folder = ahead.read(path, pending)
            if not users or folder.problem or user_of(path) in users:
                yield folder
            below = [join(path, name) for name in reversed(folder.folders)]
            pending += [path for path in below if not users or may_hold_user(path, users)]
    finally:
        ahead.close()
        reader.descent.close()


class Reader:
    """Reads one directory at a time, following no link below the root; remembers the names of owners."""

    def __init__(self, root: bytes, leftovers: bool = False) -> None:
        """With `leftovers`, old temporary files of rsync are looked for."""
        self.root = root
        self.descent = Descent(root)
        self.leftovers = leftovers
        #: Seconds to wait, in all, for mailboxes that are just made, renamed or removed.
        self.patience = 2.0
        self.owners = {}  # type: dict[tuple[int, int], str]

    def read(self, path: bytes) -> Folder:
        """Return the folder at `path`, or one with a `problem`."""
        try:
            directory = self.descent.open(path)
            status = os.fstat(directory)
            return self._read(path, status, directory, self.descent.where(path))
        except OSError as error:
            return Folder(path, problem=error.errno or errno.EIO)

    def _read(self, path: bytes, status: os.stat_result, directory: int, where: bytes) -> Folder:
        """Return the folder that is open as `directory`, whose names are to be had at `where`. Raise OSError."""
        messages, others = names_in(where, status.st_size)
        metadata, other_files, folders, leftovers = {}, {}, [], []  # type: Looks, Looks, list[bytes], list[bytes]
        for name in others:
            if kinds.is_left_alone(name, at_root=not path):
                if self.leftovers and kinds.is_leftover(name) and _is_old(name, directory):
                    leftovers.append(name)
                continue
            found = self._look(name, directory)
            if found and stat.S_ISDIR(found.mode):
                folders.append(name)
            elif kinds.is_metadata(name):
                metadata[name] = found
            else:
                other_files[name] = found
                if found is None:
                    folders.append(name)  # it may be one: whoever reads it will say what is wrong
        if messages and status.st_nlink != 2 + len(folders):
            messages = _without_directories(where, messages, folders)
        return Folder(
            path=path,
            attributes=self.entry(status),
            messages=messages,
            metadata=metadata,
            other_files=other_files,
            folders=tuple(sorted(folders)),
            incarnation=_incarnation(metadata, directory),
            leftovers=tuple(leftovers),
        )

    def look(self, path: bytes) -> Folder:
        """Return what `read` does, of the directory that has this path now."""
        self.descent.close()
        return self.read(path)

    def _look(self, name: bytes, directory: int) -> "Entry | None":
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            target = ""
            if stat.S_ISLNK(status.st_mode):
                target = os.readlink(name, dir_fd=directory).decode("latin-1")
        except OSError:
            return None
        return self.entry(status, target)

    def directory(self, path: bytes) -> bytes:
        """Return the whole path of a folder."""
        return os.path.join(self.root, path) if path else self.root

    def above(self, path: bytes) -> "tuple[tuple[bytes, Entry], ...]":
        """Return a folder's directory and those it is in, the root first; links are followed. Raise OSError."""
        components = path.split(b"/") if path else []
        chain = [b"/".join(components[:depth]) for depth in range(len(components) + 1)]
        return tuple([(above, self.entry(os.stat(self.directory(above)))) for above in chain])

    def entry(self, status: os.stat_result, target: str = "") -> Entry:
        """Return what a listing has of a file: no bits that lend rights, which nothing of Cyrus's has."""
        ids = (status.st_uid, status.st_gid)
        owner = self.owners.get(ids)
        if owner is None:
            owner = self.owners[ids] = owner_of(*ids)
        mode = status.st_mode
        if stat.S_ISREG(mode):
            mode &= ~_LENT
        elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            target = str(status.st_rdev)
        return Entry(mode, status.st_size, status.st_mtime_ns, owner, target)


def names_in(directory: bytes, size: int) -> "tuple[MessageFiles, list[bytes]]":
    """Return the message files and the other names in a directory of `size` bytes. Raise OSError."""
    rows, others = [], []
    for names in _portions(directory) if size > _LARGE_DIRECTORY else [os.listdir(directory)]:
        row, more_others = message_files.sort_out(names)
        rows.append(row)
        others += more_others
    return MessageFiles(b"".join(rows)), others


def _portions(directory: bytes) -> "Iterator[list[bytes]]":
    with os.scandir(directory) as entries:
        names = [found.name for found in islice(entries, _PORTION)]
        while names:
            yield names
            names = [found.name for found in islice(entries, _PORTION)]


def _without_directories(directory: bytes, messages: MessageFiles, folders: "list[bytes]") -> MessageFiles:
    """Move directories that bear a message's name to `folders`.

    A directory has as many links as two and its sub-directories, so whoever finds another number
    looks closer (file systems that don't count, as btrfs, always have 1). The kinds come with the
    names: no file is looked at.
    """
    with os.scandir(directory) as entries:
        found = {e.name for e in entries if e.name[-1] == _DOT and e.is_dir(follow_symlinks=False)}
    found = {name for name in found if kinds.is_message(name)}
    if not found:
        return messages
    folders += found
    hidden = MessageFiles(b"".join(found)).uids
    nonstandard = tuple([name for name in messages.nonstandard if name not in found])
    return MessageFiles.of(uid_sets.difference(messages.uids, hidden), nonstandard)


def _is_old(name: bytes, directory: int) -> bool:
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    is_kind = stat.S_ISDIR if name == kinds.UPDATES else stat.S_ISREG
    return is_kind(status.st_mode) and status.st_mtime < time.time() - _DAY


def _incarnation(metadata: "dict[bytes, Entry | None]", directory: int) -> "Incarnation | None":
    """Return what cyrus.header and cyrus.index say of the mailbox, None where either can't be trusted."""
    for name in (kinds.HEADER, kinds.INDEX):
        found = metadata.get(name)
        if found is None or not stat.S_ISREG(found.mode):
            return None
    return incarnation_in(kinds.HEADER, kinds.INDEX, directory)


def incarnation_in(header_path: bytes, index_path: bytes, directory: "int | None" = None) -> "Incarnation | None":
    """Return what a header and an index say of the mailbox, None where either can't be trusted.

    The paths may be from an open `directory`.
    """
    uniqueid = header.uniqueid(start_of(header_path, header.READ_SIZE, directory))
    if not uniqueid:
        return None
    for _ in range(_LOOKS):
        head = index.head(start_of(index_path, index.READ_SIZE, directory))
        if head:
            return Incarnation(uniqueid, head.uidvalidity, head.last_uid)
    return None


def start_of(path: bytes, size: int, directory: "int | None" = None) -> bytes:
    """Return the first `size` bytes of a file, none when it can't be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except OSError:
        return b""
    try:
        return os.read(descriptor, size)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def owner_of(uid: int, gid: int) -> str:
    """Return the owner of an entry: numbers, and the names that they have here."""
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = ""
    try:
        group = grp.getgrgid(gid).gr_name
    except KeyError:
        group = ""
    names = [name if wire.is_owner_name(name) else "" for name in (user, group)]
    return "{}:{}:{}:{}".format(uid, gid, *names)
