"""Files that are made as a whole: if the process is killed, there is the old file or the new one, never a part.

And files that lines are added to.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import errno
import os
import stat
from contextlib import suppress

NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LINES = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OURS = 0o600  # the mode of a file that only we read


def write_all(descriptor: int, data: "bytes | memoryview") -> None:
    """Write all of the bytes to an open file. Raise OSError."""
    written = os.write(descriptor, data) if data else 0
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])


def make(name: bytes, data: bytes, directory: int) -> None:
    """Make a file with this content in an open directory; sync it before it is renamed.

    Raise OSError; then it is not there, unless another process has made it.
    """
    descriptor = os.open(name, NEW_FILE, _OURS, dir_fd=directory)
    try:
        write_all(descriptor, data)
    except OSError:
        with suppress(OSError):
            os.unlink(name, dir_fd=directory)
        raise
    finally:
        os.close(descriptor)


def replace(name: bytes, data: bytes, directory: int, temporary: bytes, mode: int = _OURS) -> None:
    """Put a file in place in an open directory, once its content is on the disk. Raise OSError.

    Until then its name is `temporary`: a leftover of a killed process with that name is replaced.
    """
    with suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=directory)
    descriptor = os.open(temporary, NEW_FILE, _OURS, dir_fd=directory)
    try:
        try:
            write_all(descriptor, data)
            if mode != _OURS:
                os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise


def open_for_lines(name: bytes, directory: int) -> int:
    """Open a file to add to, in an open directory; a new one is for us alone.

    Raise OSError, also for what is no regular file, or has another name, too: somebody may have put it there.
    """
    descriptor = os.open(name, _LINES, _OURS, dir_fd=directory)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "no regular file with one name", name)
