"""The directory that mail is restored to: ours alone, and nothing in it is followed or written over.

Every file is new, has another name until it is whole, and is for the user alone who restores.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress

from cyrsync.cyrus.mailbox import regular_file
from cyrsync.errors import CyrsyncError, Exit, LockedError, UnusableError
from cyrsync.far import whole_file
from cyrsync.far.to_disk import to_disk
from cyrsync.history import contents
from cyrsync.history.outcome import MailboxRestore
from cyrsync.history.rooted import is_within
from cyrsync.history.selected import Message
from cyrsync.text import path_text

#: Says that a directory is what `restore` made, and in which form.
MARK = b".cyrsync-restore"
#: Bytes of a file that is read here: a line for each message.
_LARGEST = 1 << 30
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: What stands before the name of a file that is not whole.
_PARTIAL = b".cyrsync-partial-"


class NotWritten(CyrsyncError):
    """What is restored cannot be written: a full disk, say."""

    code = Exit.FILE_IO


class Target:
    """A directory that is restored to, open and locked until `close`."""

    def __init__(self, path: bytes, form: str, roots: Sequence[bytes], *, may_go_on: bool) -> None:
        """Make the directory, or take one that is empty or, with `may_go_on`, that the same form was restored to.

        Raise UnusableError for any other, and for one within the `roots` of the tree that is read; LockedError where
        another restore is at work.
        """
        self.path = path
        real = os.path.realpath(path)
        inside = next((root for root in roots if is_within(real, os.path.realpath(root))), None)
        if inside is not None:
            raise UnusableError(f"{path_text(path)}: lies in {path_text(inside)}, and nothing is written there")
        try:
            with suppress(FileExistsError):
                os.mkdir(path, 0o700)
            self._top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise UnusableError(f"{path_text(path)}: {error.strerror}") from None
        try:
            self._ownership(form, may_go_on)
        except BaseException:
            os.close(self._top)
            raise

    def directory(self, names: Sequence[bytes]) -> int:
        """Return a descriptor of a directory below, which is made where there is none. Raise NotWritten."""
        descriptor = os.dup(self._top)
        path: list[bytes] = []
        try:
            for name in names:
                path.append(name)
                with suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=descriptor)
                below = os.open(name, _DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
        except OSError as error:
            os.close(descriptor)
            raise self.failed(error, *path) from None
        return descriptor

    def write_durably(self, directory: int, name: bytes, data: bytes) -> None:
        """Write a file that the next restore needs: it is in place only once it is on the disk. Raise NotWritten."""
        try:
            whole_file.replace(name, data, directory, _PARTIAL + name)
            os.fsync(directory)
        except OSError as error:
            raise self.failed(error, name) from None

    def write(
        self, directory: int, name: bytes, blocks: Iterable[bytes], time: int | None = None, to: int | None = None
    ) -> int:
        """Write a file into a directory and return its bytes; what is there under the name is replaced.

        `time` becomes its mtime, in seconds since 1970. With `to`, it is renamed to that other directory when it is
        whole. Raise NotWritten; whatever `blocks` raises, no file is left.
        """
        partial = _PARTIAL + name[-64:]
        size = 0
        try:
            with suppress(FileNotFoundError):
                os.unlink(partial, dir_fd=directory)
            descriptor = os.open(partial, _NEW, 0o600, dir_fd=directory)
        except OSError as error:
            raise self.failed(error, name) from None
        try:
            try:
                for block in blocks:
                    size += self._append(descriptor, block, name)
                if time is not None:
                    os.utime(descriptor, (time, time))
            finally:
                os.close(descriptor)
            os.rename(partial, name, src_dir_fd=directory, dst_dir_fd=directory if to is None else to)
        except BaseException as error:
            with suppress(OSError):
                os.unlink(partial, dir_fd=directory)
            if isinstance(error, OSError):
                raise self.failed(error, name) from None
            raise
        return size

    def link(self, directory: int, name: bytes, text: bytes) -> None:
        """Make a symbolic link in a directory. Raise NotWritten."""
        try:
            os.symlink(text, name, dir_fd=directory)
        except OSError as error:
            raise self.failed(error, name) from None

    def write_message(
        self, directory: int, name: bytes, message: Message, restore: MailboxRestore, to: int | None = None
    ) -> bool:
        """Write a message as `write` does, and tell whether it could be read. Raise NotWritten."""
        try:
            size = self.write(directory, name, contents.blocks(message), message.internaldate, to)
        except contents.Damaged as error:
            restore.damaged.append(error)
            return False
        restore.restored(size)
        return True

    def read(self, directory: int, name: bytes) -> bytes:
        """Return what is in a file that was written here before. Raise OSError, also for what is no regular file."""
        descriptor = os.open(name, _OLD, dir_fd=directory)
        try:
            regular_file.check(descriptor, name)
            return regular_file.contents(descriptor, _LARGEST)
        finally:
            os.close(descriptor)

    def failed(self, error: OSError, *names: bytes) -> NotWritten:
        """Return the message for an error in writing."""
        return NotWritten(f"{path_text(os.path.join(self.path, *names))}: {error.strerror}")

    def settle(self) -> None:
        """Wait until all that was written is on the disk. Raise NotWritten."""
        try:
            to_disk([self.path])
        except OSError as error:
            raise self.failed(error) from None

    def close(self) -> None:
        """Close the directory."""
        os.close(self._top)

    def _append(self, descriptor: int, block: bytes, name: bytes) -> int:
        """Write a block. Raise NotWritten: an OSError would be taken for one of reading."""
        view = memoryview(block)
        try:
            while view:
                view = view[os.write(descriptor, view) :]
        except OSError as error:
            raise self.failed(error, name) from None
        return len(block)

    def _ownership(self, form: str, may_go_on: bool) -> None:
        """See that the directory is empty or ours, and mark it."""
        try:
            fcntl.flock(self._top, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(f"{path_text(self.path)}: another restore is writing to it") from None
        except OSError:
            pass  # a file system without locks
        # A restore that was killed while it wrote the mark has left nothing else.
        found = set(names_in(self._top)) - {_PARTIAL + MARK}
        if not found:
            self.write_durably(self._top, MARK, f"{form}\n".encode())
        elif MARK not in found or not may_go_on:
            raise UnusableError(f"{path_text(self.path)}: not empty: name a new directory")
        elif self._mark() != form:
            raise UnusableError(f"{path_text(self.path)}: something else was restored to it: name a new directory")

    def _mark(self) -> str:
        try:
            return self.read(self._top, MARK).decode("utf-8", "replace").strip()
        except OSError as error:
            raise UnusableError(f"{path_text(self.path)}: {path_text(MARK)}: {error.strerror}") from None


def names_in(directory: int) -> list[bytes]:
    """Return the names in an open directory."""
    return [os.fsencode(name) for name in os.listdir(directory)]


def is_whole(directory: int, name: bytes, message: Message) -> bool:
    """Tell whether a file that was restored before has all of a message: after a power cut it may be empty."""
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == message.size
