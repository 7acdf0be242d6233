"""The receiving end of a stream of mailboxes: each is written beside its place, and takes it when all of it is there.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import errno
import os
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.far.descent import Descent
from cyrsync.far.folder_writer import FolderWriter
from cyrsync.far.remove import RENAMED
from cyrsync.far.to_disk import to_disk

if TYPE_CHECKING:
    from typing import Optional

    from cyrsync.far.folder import Entry
    from cyrsync.far.frames import Part, Target
    from cyrsync.far.grown import Cache
    from cyrsync.far.keeping import Keeping

_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MOST_OPEN = 256  # of files that were lengthened


class Failure(NamedTuple):
    """Why a mailbox of a stream, counted from 0, is not in its place: an errno, and what it is about.

    Or, where it has `arrived`, what of a directory that it is in could not be made as on the source.
    """

    mailbox: int
    number: int
    path: bytes
    arrived: bool = False


class Receiver:
    """Writes a stream of mailboxes. What cannot be written costs its mailbox only.

    A file that was lengthened in its place has the time of its original only when it is on the disk: after a power cut
    it could have the right size and time, and wrong contents.
    """

    def __init__(self, numeric_ids: bool, aside: bool = True, keeping: "Optional[Keeping]" = None) -> None:
        """A folder that is not there is made `aside`; not where others write beside this one.

        What is replaced is kept by `keeping`.
        """
        self._keeping = keeping
        self._numeric_ids = numeric_ids
        self._aside = aside
        self._mailbox = 0
        self._parts = []  # type: list[FolderWriter]
        self._failure = None  # type: Failure | None
        self._failures = []  # type: list[Failure]
        self._lengthened = []  # type: list[tuple[int, int, int, bytes]]
        self._undressed = set()  # type: set[bytes]  # directories that are told of
        self._descent = None  # type: Descent | None  # to folders whose messages are linked
        self._made_aside = {}  # type: dict[bytes, Entry]  # roots with a hidden directory

    def part(self, part: "Part") -> None:
        """Begin a part of the present mailbox."""
        if self._failure:
            return
        try:
            keeper = self._keeping.keeper(part.root) if self._keeping else None
            self._parts.append(FolderWriter(part, self._numeric_ids, self._aside, keeper))
            if self._parts[-1].is_aside():
                self._made_aside[part.root] = part.above[0][1]
        except OSError as error:
            self._fail(error, part.root, part.path)

    def message(self, uid: int, entry: "Entry", data: bytes) -> None:
        """Write a message file, or the first piece of it."""
        self._write(b"%d." % uid, entry, data, is_message=True)

    def link(self, uid: int, entry: "Entry", target: "Target") -> None:
        """Write a message file as a link to another one, of a mailbox that has its place, or of the present part."""
        name = b"%d." % uid
        if not self._may_write(name):
            return
        part = self._parts[-1]
        is_here = (target.root, target.path) == (part.root, part.path)
        try:
            part.link(uid, entry, target.uid, None if is_here else self._other_folder(target))
        except OSError as error:
            self._fail(error, part.root, os.path.join(part.path, name))

    def file(self, name: bytes, entry: "Entry", data: bytes) -> None:
        """Write another file, or the first piece of it, or a symbolic link."""
        self._write(name, entry, data, is_message=False)

    def tail(self, name: bytes, entry: "Entry", old: "Cache", data: bytes) -> None:
        """Write what a cache has grown by, or the first piece of that."""
        if not self._may_write(name):
            return
        part = self._parts[-1]
        try:
            part.begin_tail(name, entry, old, data)
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
        """Return which mailboxes are not in their places, or not as on the source, and why."""
        self.abandon()
        self._settle()
        self._descent = None
        for root, entry in self._made_aside.items():
            _remove_hidden(root, entry)
        return self._failures

    def _write(self, name: bytes, entry: "Entry", data: bytes, is_message: bool) -> None:
        if not self._may_write(name):
            return
        part = self._parts[-1]
        try:
            part.begin(name, entry, data, is_message)
        except OSError as error:
            self._fail(error, part.root, os.path.join(part.path, name))

    def _may_write(self, name: bytes) -> bool:
        """Tell whether a file belongs to a part that can be written."""
        if not self._failure and not self._parts:
            self._failure = Failure(self._mailbox, errno.EINVAL, name)
        return self._failure is None

    def _other_folder(self, target: "Target") -> int:
        """Return a descriptor of the folder that a message is in, good until another is asked for."""
        if self._descent is None or self._descent.root != target.root:
            self._descent = Descent(target.root)
        return self._descent.open(target.path)

    def _give_place(self, part: "FolderWriter") -> None:
        try:
            part.give_place()
        except OSError as error:
            self._fail(error, part.root, os.path.join(part.path, part.name))
        for path, number in part.undressed:
            directory = os.path.join(part.root, path) if path else part.root
            if directory not in self._undressed:
                self._undressed.add(directory)
                self._failures.append(Failure(self._mailbox, number, directory, arrived=True))
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
