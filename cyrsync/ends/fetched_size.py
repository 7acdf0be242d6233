"""How much a daemon may send of what it was asked for: as much as it has listed, and never all of the disk here."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from cyrsync.far.wire import WireError

#: What files may have grown by since they were listed: bytes, and a share of all.
_GROWTH, _SHARE = 64 << 20, 8
#: Bytes of the disk that are left free; of a small disk, a share.
_SPARE, _SPARE_SHARE = 256 << 20, 20


class FetchedSize:
    """Watches a directory into which an rsync fetches files."""

    def __init__(self, directory: bytes, listed: int) -> None:
        """`listed` are the bytes that are fetched, by the listing."""
        self._directory = directory
        self._most = _size(directory) + listed + listed // _SHARE + _GROWTH
        self._free = _disk(directory)[0]

    def check(self) -> None:
        """Raise WireError if more has arrived than was listed, OSError if the disk is almost full."""
        free, spare = _disk(self._directory)
        if free < spare:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fsdecode(self._directory))
        if self._free - free > self._most:  # all the files are looked at only if they may be too large
            size = _size(self._directory)
            if size > self._most:
                raise WireError("more than it has listed")
            self._free = free + size  # somebody else has written, too


def _disk(directory: bytes) -> tuple[int, int]:
    """Return the bytes that are free on the disk, and as many as are to stay so."""
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize, min(_SPARE, disk.f_blocks * disk.f_frsize // _SPARE_SHARE)


def _size(directory: bytes) -> int:
    """Return the bytes of all files in a directory and below, however deep."""
    found, pending = 0, [directory]
    while pending:
        with suppress(FileNotFoundError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                    continue
                with suppress(FileNotFoundError):  # rsync has given it another name
                    found += entry.stat(follow_symlinks=False).st_size
    return found
