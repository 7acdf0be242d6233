"""The lock on a replica: a writer locks its roots, from before the first look until after the last write.

A root is locked exclusively, and the directories above it shared: so the lock of a directory covers all below it.
Shards share the roots; the first of them locks them exclusively until it has noted that they write there. The kernel
releases the lock, however a run ends. Some file systems (NFS) have no such locks of directories: there nothing is
locked.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import fcntl
import os
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Dict, List, Optional, Sequence, Tuple

_LOOK_AGAIN = 0.02  # seconds


class Busy(NamedTuple):
    """The holder of a root: a process on its machine, and since when it runs; both are 0 if unknown."""

    root: bytes
    pid: int
    since: float  # seconds since 1970


class Holds:
    """Roots that are locked until this is closed, or until this process ends."""

    def __init__(self) -> None:
        self._roots = {}  # type: Dict[bytes, int]
        self._above = {}  # type: Dict[bytes, int]

    def hold(self, paths: "Sequence[bytes]") -> "Optional[Busy]":
        """Lock the directories at `paths`, all or none of them; or return who else holds them.

        Raise OSError if one cannot be opened.
        """
        return self._hold(paths, fcntl.LOCK_EX)

    def hold_among(self, paths: "Sequence[bytes]") -> "Tuple[Optional[Busy], bool]":
        """Release all, and lock the directories alone, or shared; return who else holds them, and if alone."""
        self.close()
        if self._hold(paths, fcntl.LOCK_EX) is None:
            return None, True
        return self._hold(paths, fcntl.LOCK_SH), False

    def share(self) -> "Optional[Busy]":
        """Share the locks that we hold alone; or return who has got them meanwhile."""
        for root, descriptor in self._roots.items():
            busy = self._flock(root, descriptor, fcntl.LOCK_SH)
            if busy:
                return busy
        return None

    def _hold(self, paths: "Sequence[bytes]", how: int) -> "Optional[Busy]":
        roots = sorted(set(map(os.path.realpath, paths)) - self._roots.keys())
        wanted = [root for root in roots if os.path.isdir(root)]
        new = Holds()
        try:
            for root in wanted:
                busy = self._lock(root, how, new._roots)
                if busy:
                    return busy
            for above in sorted({above for root in wanted for above in _above(root)}):
                if above not in new._roots and above not in self._roots and above not in self._above:
                    busy = self._lock(above, fcntl.LOCK_SH, new._above)
                    if busy:
                        return busy
            self._roots.update(new._roots)
            self._above.update(new._above)
            new = Holds()
        finally:
            new.close()
        return None

    def descriptors(self) -> "List[int]":
        """Return the descriptors: a process that has one of them keeps its lock alive."""
        return [*self._roots.values(), *self._above.values()]

    def end(self, seconds: float) -> None:
        """Release all locks, and wait until processes that inherited them have ended, but not for ever."""
        roots = [*self._roots]
        self.close()
        deadline = time.monotonic() + seconds
        while roots and time.monotonic() < deadline:
            again = Holds()
            try:
                busy = again.hold(roots)
            except OSError:
                return
            finally:
                again.close()
            if busy is None or busy.pid != os.getpid():
                return
            time.sleep(_LOOK_AGAIN)

    def close(self) -> None:
        """Let go of all."""
        for held in (self._roots, self._above):
            while held:
                os.close(held.popitem()[1])

    def _lock(self, path: bytes, how: int, held: "Dict[bytes, int]") -> "Optional[Busy]":
        if how == fcntl.LOCK_EX and path in self._above:
            descriptor = self._above.pop(path)  # ours already, with others
        else:
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError:
                if how == fcntl.LOCK_SH:
                    return None
                raise
        held[path] = descriptor
        return self._flock(path, descriptor, how)

    def _flock(self, path: bytes, descriptor: int, how: int) -> "Optional[Busy]":
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return Busy(path, *holder(os.fstat(descriptor)))
        except OSError:
            pass  # there are no such locks here
        return None


def _above(path: bytes) -> "List[bytes]":
    found = []
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        found.append(path)
    return found


def holder(status: os.stat_result) -> "tuple[int, float]":
    """Return the process that has locked a file, and since when it runs; 0 for what the system does not tell."""
    number = "%02x:%02x:%d" % (os.major(status.st_dev), os.minor(status.st_dev), status.st_ino)
    try:
        with open("/proc/locks", encoding="ascii") as file:
            rows = [line.split() for line in file]
    except OSError:
        return 0, 0.0
    rows = [row for row in rows if len(row) == 8 and row[1] == "FLOCK"]
    # Some file systems have another device here than stat tells.
    found = [row for row in rows if row[5] == number] or [row for row in rows if row[5].endswith(":%d" % status.st_ino)]
    pid = int(found[0][4]) if found else 0
    return max(pid, 0), started(pid) if pid > 0 else 0.0


def started(pid: int) -> float:
    """Return since when a process runs, 0.0 for unknown. The fields are those of proc(5)."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        with open("/proc/stat", encoding="ascii") as file:
            booted = next(int(line.split()[1]) for line in file if line.startswith("btime "))
        return booted + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, StopIteration):
        return 0.0
