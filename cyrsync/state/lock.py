"""The run lock: one run at a time for a source and a destination. The kernel lets go of it, however a run ends."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pwd
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from cyrsync.errors import LockedError, UnusableError, WatchedError

#: The environment's word for the state directory.
CHOSEN = "CYRSYNC_STATE"
_LOOK_AGAIN = 0.2  # seconds
#: What a watcher notes in the lock: it keeps the lock as long as it runs.
WATCHING = "watching"


def state_path(chosen: str | None = None) -> Path:
    """Return where cyrsync keeps what outlives a run, if nothing was `chosen`.

    /var/lib/cyrsync for root, cyrsync below the XDG state directory otherwise; CYRSYNC_STATE overrides.
    """
    chosen = os.environ.get(CHOSEN) if chosen is None else chosen
    if chosen:
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/var/lib/cyrsync")
    home = os.environ.get("HOME") or _home_of(os.geteuid())
    return Path(os.environ.get("XDG_STATE_HOME") or Path(home, ".local/state"), "cyrsync")


def _home_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_dir
    except KeyError:
        return "/"


def state_directory(state: Path) -> Path:
    """Return the state directory, made if need be. Raise UnusableError for one that root must not write to."""
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UnusableError(f"{state}: {error.strerror}: set CYRSYNC_STATE to a directory for locks") from None
    refuse_shared(state)
    return state


def refuse_shared(directory: Path) -> None:
    """Raise UnusableError for a state directory of root's that others may write to: they could put links there."""
    try:
        status = directory.stat()
    except OSError:
        return
    others = status.st_uid != 0 or status.st_mode & 0o002 or (status.st_mode & 0o020 and status.st_gid != 0)
    if os.geteuid() == 0 and others:
        raise UnusableError(
            f"{directory}: others than root may write to the state directory: "
            "chown it to root and chmod it 0700, or name another one by --state or CYRSYNC_STATE"
        )


def lock_file(state: Path, key: str) -> Path:
    """Return the file whose lock keeps runs with this key apart."""
    return state / f"{key}.lock"


def run_key(source: str, destination: str) -> str:
    """Return what names the pair in a file name."""
    return hashlib.sha256(f"{source}\0{destination}".encode("utf-8", "surrogateescape")).hexdigest()[:20]


@contextmanager
def run_lock(state: Path, key: str, wait: float, doing: str = "", pair: tuple[str, str] = ("", "")) -> Iterator[None]:
    """Hold the lock; wait up to so many seconds for it. Raise LockedError that names the holder.

    The lock file says what it is held for: nobody waits for a watcher (WatchedError). `pair` is the source and the
    destination, printable, for `status`.
    """
    path = lock_file(state_directory(state), key)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as error:
        raise UnusableError(f"{path}: {error.strerror}") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UnusableError(f"{path}: no regular file: remove it")
        _acquire(descriptor, wait)
        os.ftruncate(descriptor, 0)
        told = f"{os.getpid()} {datetime.now().isoformat(' ', 'seconds')} {doing}\t{json.dumps(pair)}\n"
        os.pwrite(descriptor, told.encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, wait: float) -> None:
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            line = os.pread(descriptor, 100, 0).decode("ascii", "replace").partition("\n")[0]
            pid, _, since = line.partition("\t")[0].strip().partition(" ")
            if since.endswith(f" {WATCHING}"):
                since = since.removesuffix(f" {WATCHING}")
                raise WatchedError(
                    f"process {pid} has been watching since {since}, and does what there is to do"
                ) from None
            if time.monotonic() >= deadline:
                raise LockedError(
                    f"process {pid or 'unknown'} has been working on it since {since or 'a moment ago'}; "
                    "wait for it, or give --wait SECONDS"
                ) from None
            time.sleep(_LOOK_AGAIN)
