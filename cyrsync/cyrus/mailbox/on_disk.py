"""The bytes of a file that stay on the disk, and are read by pieces: the index of a million messages is 112 MB.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import errno
import os

#: Bytes that are read at once where less is asked for: what is asked for next is often in them.
_AHEAD = 1 << 16


class OnDisk:
    """The first so many bytes of an open file that nobody changes; it is closed with the last that refers to this."""

    def __init__(self, descriptor: int, size: int) -> None:
        """The descriptor is this object's from now on."""
        self._descriptor = descriptor
        self._size = size
        self._ahead_at, self._ahead = 0, b""

    def __len__(self) -> int:
        return self._size

    def __del__(self) -> None:
        os.close(self._descriptor)

    def read_at(self, at: int, size: int) -> bytes:
        """Return so many bytes, fewer only where the file ends. Raise OSError."""
        size = min(size, self._size - at)
        if size >= _AHEAD:
            return self._read(at, size)
        begin = at - self._ahead_at
        if not 0 <= begin <= len(self._ahead) - size:
            self._ahead_at, begin = at, 0
            self._ahead = self._read(at, min(_AHEAD, self._size - at))
        return self._ahead[begin : begin + size]

    def _read(self, at: int, size: int) -> bytes:
        data = os.pread(self._descriptor, size, at)
        if len(data) != size:
            raise OSError(errno.EIO, "the file has been cut off")
        return data
