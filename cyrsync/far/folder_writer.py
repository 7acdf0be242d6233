"""One folder of a replica while it is written: its files are beside their places, and take them together.

A folder that is not there is made aside, and renamed into its place as a whole (opened_folder.py). In one that is
there, every file is written under a hidden name, and then all are renamed: messages first, then other files in the
order in which they came.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import errno
import os
import stat
from array import array
from typing import TYPE_CHECKING

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far import grown
from cyrsync.far.attributes import dress, dress_link, settable
from cyrsync.far.opened_folder import OpenedFolder
from cyrsync.far.owner import owner_here
from cyrsync.far.whole_file import NEW_FILE, write_all

if TYPE_CHECKING:
    from typing import Optional

    from cyrsync.far.folder import Entry
    from cyrsync.far.frames import Part
    from cyrsync.far.grown import Cache
    from cyrsync.far.keep import Keeper

_OLD_FILE = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LONGEST = 255 - len("..123456")  # bytes of a name that a temporary one can have in it


class FolderWriter:
    """A folder below a root, as long as it is being written."""

    def __init__(self, part: "Part", numeric_ids: bool, aside: bool, keeper: "Optional[Keeper]" = None) -> None:
        """The `keeper` keeps what is replaced."""
        self._keeper = keeper
        self.root = part.root
        self.path = part.path
        self.name = b""  # of the file at work
        #: Directories, by path, whose owner, mode or time could not be set, each with the errno.
        self.undressed = []  # type: list[tuple[bytes, int]]
        self._numeric_ids = numeric_ids
        self._opened = OpenedFolder(part, numeric_ids, aside)
        self._folder = self._opened.descriptor
        self._suffix = os.urandom(3).hex().encode("ascii")
        self._messages = array("I")  # that are written, by UID
        self._linked = set()  # type: set[int]  # of these, the ones that are links
        self._others = []  # type: list[tuple[bytes, bytes]]  # and other files: temporary name, name
        self._lengthened = []  # type: list[tuple[int, int]]
        self._file = -1  # that is being written
        self._tail = -1  # that is being lengthened
        self._left = 0  # bytes of it that are to come
        self._entry = None  # type: Optional[Entry]
        #: By the owner and the mode of an original, what a new file is to be given: None for what it has.
        self._to_give = {}  # type: dict[tuple[str, int], tuple[Optional[tuple[int, int]], Optional[int]]]

    def is_aside(self) -> bool:
        """Tell whether the folder is one that was not there."""
        return bool(self._opened.aside)

    def begin(self, name: bytes, entry: "Entry", data: bytes, is_message: bool) -> None:
        """Write a file, or the first piece of it. Raise OSError."""
        self.name = name
        if self._file >= 0 or self._tail >= 0:
            self._finish()
        bare = not self._opened.aside and not is_message and name not in kinds.SNAPSHOT and len(data) == entry.size
        if bare and self._is_there(name, entry):
            return
        temporary = name if self._opened.aside else self._temporary(name)
        if stat.S_ISLNK(entry.mode):
            os.symlink(entry.extra.encode("latin-1"), temporary, dir_fd=self._folder)
            self._others.append((temporary, name))
            dress_link(temporary, self._folder, entry, self._numeric_ids)
            return
        self._file = os.open(temporary, NEW_FILE, 0o600, dir_fd=self._folder)
        if is_message:
            self._messages.append(int(name[:-1]))
        else:
            self._others.append((temporary, name))
        self._entry = entry
        write_all(self._file, data)
        self._left = entry.size - len(data)
        if not self._left:
            self._finish()

    def link(self, uid: int, entry: "Entry", number: int, other: "Optional[int]") -> None:
        """Make a message of one with this `number`, in an `other` open folder or in this one. Raise OSError.

        Both are one file then. So what differs in more than its time is no such message.
        """
        name = self.name = b"%d." % uid
        self._finish()
        temporary = name if self._opened.aside else self._temporary(name)
        if other is None:
            self._link_here(b"%d." % number, temporary)
        else:
            os.link(b"%d." % number, temporary, src_dir_fd=other, dst_dir_fd=self._folder, follow_symlinks=False)
        self._messages.append(uid)
        self._linked.add(uid)
        now = os.stat(temporary, dir_fd=self._folder, follow_symlinks=False)
        wanted = settable(entry, now.st_uid, now.st_gid, self._numeric_ids)
        same = (now.st_mode, now.st_size, now.st_uid, now.st_gid) == (entry.mode, entry.size, *wanted)
        if not same:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        if now.st_mtime_ns != entry.mtime:
            os.utime(temporary, ns=(entry.mtime, entry.mtime), dir_fd=self._folder, follow_symlinks=False)

    def begin_tail(self, name: bytes, entry: "Entry", old: "Cache", data: bytes) -> None:
        """Write what a cache has grown by, or the first piece of that. Raise OSError, ESTALE if it is another one.

        One that has other names is left: they are copies that somebody keeps. Its time is no original's at first.
        """
        self.name = name
        self._finish()
        descriptor = os.open(name, _OLD_FILE, dir_fd=self._folder)
        grows = False
        try:
            now = os.fstat(descriptor)
            is_old = stat.S_ISREG(now.st_mode) and (now.st_size, now.st_mtime_ns) == (old.size, old.mtime)
            if not is_old or now.st_nlink != 1 or not grown.has_grown(old, descriptor, now.st_size):
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            grows = entry.size > old.size
            if not grows:
                if not self._is_same(now, entry):
                    dress(descriptor, entry, numeric_ids=self._numeric_ids)
                return
            self._lengthened.append((descriptor, entry.mtime))
        finally:
            if not grows:
                os.close(descriptor)
        os.utime(descriptor, ns=(now.st_atime_ns, 0))
        os.lseek(descriptor, old.size, os.SEEK_SET)
        self._tail, self._left, self._entry = descriptor, entry.size - old.size, entry._replace(mtime=0)
        self.more(data)

    def more(self, data: bytes) -> None:
        """Write the next piece of the file. Raise OSError."""
        if self._tail >= 0:
            write_all(self._tail, data)
            self._left -= len(data)
            if not self._left:
                assert self._entry is not None
                dress(self._tail, self._entry, numeric_ids=self._numeric_ids)
                self._tail = -1
            return
        write_all(self._file, data)
        self._left -= len(data)
        if not self._left:
            self._finish()

    def give_place(self) -> None:
        """Rename everything into its place. Raise OSError.

        How its directories look is no part of that: others than root cannot set it for those that are not theirs.
        """
        self._finish()
        if self._opened.aside:
            self.name = self.path.rpartition(b"/")[2]
            self._opened.give_place(self.name)
            self._forget()
        else:
            self._rename()
        self.undressed = self._opened.dress()

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
            _discard(b"%d." % uid if self._opened.aside else self._temporary(b"%d." % uid), self._folder)
        for temporary, _ in self._others:
            _discard(temporary, self._folder)
        self._opened.close()
        self._folder = -1
        for descriptor, _ in self._lengthened:
            _close(descriptor)
        self._lengthened = []
        self._forget()

    def _keep(self, keeper: "Keeper") -> None:
        """Keep what is about to be replaced."""
        coming = {name: temporary for temporary, name in self._others}
        if kinds.INDEX in coming:
            bound = {name: temporary for name, temporary in coming.items() if name in kinds.SNAPSHOT}
            keeper.keep_state(self._folder, self.path, bound)
        for name, temporary in coming.items():
            if not kinds.is_metadata(name):
                keeper.keep_file(self._folder, self.path, name, temporary)

    def _rename(self) -> None:
        if self._keeper:
            self._keep(self._keeper)
        self._messages.reverse()
        while self._messages:
            name = self.name = b"%d." % self._messages[-1]
            os.rename(self._temporary(name), name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            if self._messages.pop() in self._linked:
                _discard(self._temporary(name), self._folder)  # rename(2) leaves it where both were one file already
        if {kinds.HEADER, kinds.INDEX} <= {name for _, name in self._others}:
            # Were we killed between the two, an index would stand beside a header that it was not written with.
            _discard(kinds.INDEX, self._folder)
        self._others.reverse()
        while self._others:
            temporary, name = self._others[-1]
            self.name = name
            os.rename(temporary, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            self._others.pop()

    def _link_here(self, name: bytes, temporary: bytes) -> None:
        """Link a message of this folder, be it one that waits for its place or one that was here."""
        for old in dict.fromkeys([name if self._opened.aside else self._temporary(name), name]):
            try:
                os.link(old, temporary, src_dir_fd=self._folder, dst_dir_fd=self._folder, follow_symlinks=False)
                return
            except FileNotFoundError:
                if old == name:
                    raise

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
        """Give a new file its attributes: what new files lack in this folder is looked at once."""
        kind = entry.owner, entry.mode
        if kind not in self._to_give:
            now = os.fstat(descriptor)
            owner, mode = settable(entry, now.st_uid, now.st_gid, self._numeric_ids), stat.S_IMODE(entry.mode)
            self._to_give[kind] = (
                None if owner == (now.st_uid, now.st_gid) else owner,
                None if mode == stat.S_IMODE(now.st_mode) else mode,
            )
        owner_to_give, mode_to_give = self._to_give[kind]
        if owner_to_give is not None:
            os.chown(descriptor, *owner_to_give)
        if mode_to_give is not None:
            os.chmod(descriptor, mode_to_give)
        os.utime(descriptor, ns=(entry.mtime, entry.mtime))

    def _is_there(self, name: bytes, entry: "Entry") -> bool:
        """Tell whether a metadata file is here as it is to be."""
        if stat.S_ISLNK(entry.mode) or not kinds.is_metadata(name):
            return False  # what is no mailbox's was seen to differ
        try:
            return self._is_same(os.stat(name, dir_fd=self._folder, follow_symlinks=False), entry)
        except FileNotFoundError:
            return False

    def _is_same(self, now: os.stat_result, entry: "Entry") -> bool:
        """Tell whether a file needs no sending, by rsync's quick check, and no attributes."""
        same_owner = (now.st_uid, now.st_gid) == owner_here(entry.owner, self._numeric_ids)
        return same_owner and (now.st_mode, now.st_size, now.st_mtime_ns) == (entry.mode, entry.size, entry.mtime)


def _discard(name: bytes, directory: int) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except OSError:
        pass  # whoever comes next removes it


def _close(descriptor: int) -> None:
    """Close a file that does not count any more: a full disk may say so only now."""
    try:
        os.close(descriptor)
    except OSError:
        pass
