"""Writes a replica to its disks while a run still sends: at the end, little of it is left to wait for.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import threading
from typing import TYPE_CHECKING

from cyrsync.far.to_disk import to_disk

if TYPE_CHECKING:
    from typing import Sequence

#: Seconds before the disks are written for the first time, and between the times: most runs are over before.
PAUSE = 1.0


class WriteBack:
    """Writes file systems to their disks again and again, beside whatever else this process does."""

    def __init__(self) -> None:
        self._thread = None  # type: threading.Thread | None
        self._is_over = threading.Event()
        self._error = None  # type: OSError | None

    def begin(self, roots: "Sequence[bytes]") -> None:
        """Go on with that until `end`, for what lies below these directories."""
        self.stop()
        self._is_over.clear()
        self._thread = threading.Thread(target=self._write, args=(tuple(roots),), daemon=True)
        self._thread.start()

    def end(self, roots: "Sequence[bytes]") -> None:
        """Wait until all that was written to these directories is on their disks.

        Raise OSError if a disk fails, or has failed since the beginning: the system says so only once.
        """
        self.stop()
        error, self._error = self._error, None
        to_disk(roots)
        if error:
            raise error

    def stop(self) -> None:
        """Leave it."""
        thread, self._thread = self._thread, None
        if thread:
            self._is_over.set()
            thread.join()

    def _write(self, roots: "tuple[bytes, ...]") -> None:
        while not self._is_over.wait(PAUSE):
            try:
                to_disk(roots)
            except OSError as error:
                self._error = error
                return
