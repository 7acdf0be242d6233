"""What every command that writes to a replica does first and last: lock it, and note there that it is writing."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from cyrsync.ends.tree import Held, NotWrittenError, Status, Tree, Writer, owner_file_of, refuse_promoted
from cyrsync.errors import DiskError, LockedError, error_text
from cyrsync.far.hold import Busy
from cyrsync.far.owner_file import UNOWNED, OwnerFile
from cyrsync.text import path_text

#: Why names prove nothing on a replica.
CUT_OFF = "a power cut or a failing disk ended a run that was writing there"
#: The same, where nobody can tell when the host was started.
_NOT_ENDED = "a run that was writing there has not ended, and whether the power failed cannot be told"
#: The result where no agent can lock anything.
_NOBODY = Held(None)
_LOOK_AGAIN = 0.2  # seconds
#: Errors by which a file cannot be made that an rsync may do without: it makes none at the root, or only later.
_NO_FILE = frozenset([errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM])


def hold(tree: Tree, paths: Sequence[bytes], host: str | None, deadline: float, *, overwrite: bool) -> None:
    """Lock the roots of a replica that exist; wait for whoever holds them until the `deadline` (monotonic).

    Raise RefusedError if they were promoted, unless `overwrite` is given; LockedError if they are still held.
    """
    while True:
        held = tree.writer.hold(paths) if tree.writer else _NOBODY
        if held.busy is None:
            return
        status = tree.resolve(held.busy.root)
        owner_file = owner_file_of(status)
        if owner_file and not overwrite:
            refuse_promoted(owner_file, status)
        if time.monotonic() >= deadline:
            raise LockedError(said_of(held.busy, host))
        time.sleep(_LOOK_AGAIN)


def said_of(busy: Busy, host: str | None, advice: str = "wait for it") -> str:
    """Return what to say of who holds a replica, on another `host` or here."""
    there = f" on {host}" if host else ""
    who = f"process {busy.pid}{there}" if busy.pid else f"another process{there}"
    since = f"since {datetime.fromtimestamp(busy.since).isoformat(' ', 'seconds')}" if busy.since else "already"
    return f"{path_text(busy.root)}: {who} has been working on it {since}; {advice}, or give --wait SECONDS"


def to_disk(writer: Writer, owner_files: Mapping[bytes, OwnerFile | None]) -> None:
    """Wait until all that was written to roots is on their disks.

    Raise DiskError where a disk fails. The system says so only once, and any file may have lost what it held; so the
    owner files say from then on that names prove nothing there.
    """
    try:
        writer.to_disk(list(owner_files))
    except OSError as error:
        for root, owner_file in owner_files.items():
            with suppress(NotWrittenError):  # that disk may be gone
                if owner_file:
                    writer.put_owner_file(root, owner_file._replace(doubtful=True))
        reason = f"{error_text(error)}: what was written there may be lost"
        raise DiskError(f"{reason}: see to the disk, then run `cyrsync verify --content`") from None


class WalkOwnership:
    """What a run of the walk notes at the root of its replica. It names no owner."""

    def __init__(self, writer: Writer | None, status: Status) -> None:
        """The root is held, if it is to be written to. Without a `writer` no owner file is written."""
        self._writer = writer
        self._root = status.root
        self._boot = status.boot
        self._bare = status.bare
        self._found = owner_file_of(status)
        self._owner_file: OwnerFile | None = None

    @property
    def doubt(self) -> str:
        """Return why names prove nothing there, "" if they do: what was written last has not been compared since."""
        if not (self._found and self._found.cut_off(self._boot)):
            return ""
        reason = CUT_OFF if self._boot or self._found.doubtful else _NOT_ENDED
        return f"{path_text(self._root)}: {reason}"

    @property
    def replica(self) -> str:
        """The name that the last run to write gave to the replica, "" for none."""
        return self._found.replica if self._found else ""

    def begin(self, note: Callable[[str], None] = lambda _: None) -> str:
        """Say that a run is writing, after a `note` of the replica's new name.

        Return a warning where there is no owner file, and none can be made.
        """
        if not (self._writer and self._boot):
            return ""
        if (self._found is None and not self._bare) or (self._found and self._found.writing):
            # Who wrote it has not had it synced, and nobody will know what it was.
            to_disk(self._writer, {self._root: self._found})
        owner_file = self._found or UNOWNED
        # Nobody's state speaks of this replica any more.
        owner_file = owner_file._replace(
            replica=os.urandom(16).hex(), promoted="", writing=self._boot, doubtful=owner_file.cut_off(self._boot)
        )
        note(owner_file.replica)
        try:
            self._writer.put_owner_file(self._root, owner_file)
        except NotWrittenError as error:
            if self._found or error.number not in _NO_FILE:
                raise
            return f"{error}: should the power fail there during a run, the next one would not know"
        self._writer.write_back([self._root])
        self._owner_file = owner_file
        return ""

    def end(self, *, compared: bool) -> bool:
        """See that all is on the disks, and note that the run is over; `compared`: it has compared all that was there.

        Return whether nothing there is in doubt.
        """
        if not self._writer:
            return True
        to_disk(self._writer, {self._root: self._owner_file})
        if not self._owner_file:
            return True
        doubtful = self._owner_file.doubtful and not compared
        self._writer.put_owner_file(self._root, self._owner_file._replace(writing="", doubtful=doubtful))
        return not doubtful
