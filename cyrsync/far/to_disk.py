"""Wait until all that was written to a tree is on its disks.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import List, Sequence

_OCTAL = re.compile(rb"\\([0-7]{3})")


def to_disk(roots: "Sequence[bytes]") -> None:
    """Write the file systems of these directories, and of what is mounted below them, to their disks.

    Raise OSError where a disk fails.
    """
    devices = set()
    for path in [*roots, *_mounted_below(roots)]:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            device = os.fstat(descriptor).st_dev
            if device not in devices:
                _syncfs(descriptor, path)
            devices.add(device)
        finally:
            os.close(descriptor)


def _mounted_below(roots: "Sequence[bytes]") -> "List[bytes]":
    """Return the directories below `roots` that other file systems are mounted at (proc(5), mountinfo)."""
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            points = [_OCTAL.sub(lambda code: bytes([int(code.group(1), 8)]), line.split()[4]) for line in file]
    except OSError:
        return []
    above = tuple([os.path.realpath(root).rstrip(b"/") + b"/" for root in roots])
    return [point for point in points if point.startswith(above) and os.path.isdir(point)]


def _syncfs(descriptor: int, path: bytes) -> None:
    """Write one file system; where the C library cannot be asked for that, all of them."""
    try:
        import ctypes  # not every Python has it

        library = ctypes.CDLL(None, use_errno=True)
        syncfs = library.syncfs
    except (ImportError, OSError, AttributeError):
        os.sync()
        return
    if syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
