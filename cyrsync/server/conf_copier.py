"""Copies files beside the partitions, each as it was at one moment, to where they are sent from."""

from __future__ import annotations

import os
import stat
import struct
import time

from cyrsync.cyrus.server import database_copy
from cyrsync.cyrus.server.conf_files import ConfFile, ConfFiles
from cyrsync.cyrus.server.database_copy import Copied, CopyError, LockedCopyError
from cyrsync.far.descent import Descent
from cyrsync.far.folder import Entry
from cyrsync.far.walk import Reader
from cyrsync.server import large_metadata
from cyrsync.server.run_patience import RunPatience
from cyrsync.spool.staging import Staging
from cyrsync.state.conf_table import ConfRow
from cyrsync.state.mailbox_row import UNSEEN
from cyrsync.sync.session import Session

#: Nanoseconds in which a file may change again and keep its times.
_GRAIN = 2_000_000_000
_LOOK = struct.Struct("<4Q")


class ConfCopier:
    """Copies one file after the other."""

    def __init__(self, files: ConfFiles, patience: RunPatience, session: Session) -> None:
        self._files = files
        self._patience = patience
        self._readers: dict[bytes, Reader] = {}
        self._in_memory = Staging(session.staging_directory / "conf")
        self._on_disk = Staging(session.directory / "conf")

    def copy(self, file: ConfFile) -> Copied:
        """Copy one file; where it lies among users' files no link is followed, whatever becomes of a directory.

        Raise CopyError, or OSError.
        """
        path, is_named = _target(file), self._files.may_be_link(file.whole_path)
        if not is_named:
            above, name = os.path.split(file.path)
            descent = Descent(file.root)
            self._files.refuse_foreign(file.root, os.fstat(descent.open(b"")))
            path = os.path.join(descent.where(above), name)
        try:
            copied = database_copy.copy(path, self.staging(file).begin_copy(), self._patience.seconds)
            if is_named:
                self._files.refuse_foreign(file.whole_path, copied.status)
            return copied
        except LockedCopyError:
            self._patience.was_in_vain()
            raise
        except CopyError as error:
            raise CopyError(str(error).replace(os.fsdecode(path), os.fsdecode(file.whole_path))) from None

    def staging(self, file: ConfFile) -> Staging:
        """Return where a file is copied to: what is large does not go into memory."""
        return self._in_memory if file.status.st_size <= large_metadata.IN_MEMORY else self._on_disk

    def clear(self) -> None:
        """Remove all copies."""
        for staging in (self._in_memory, self._on_disk):
            staging.clear()

    def above(self, file: ConfFile) -> tuple[tuple[bytes, Entry], ...]:
        """Return the directories that lead to a file. Raise OSError."""
        reader = self._reader(file.root)
        components = file.path.split(b"/")[:-1]
        paths = [b"/".join(components[:depth]) for depth in range(len(components) + 1)]
        return tuple((path, reader.entry(os.stat(reader.directory(path)))) for path in paths)

    def entry(self, file: ConfFile, status: os.stat_result) -> Entry:
        """Return the entry of a file as it was copied."""
        return self._reader(file.root).entry(status)

    def _reader(self, root: bytes) -> Reader:
        return self._readers.setdefault(root, Reader(root))


def row_of(file: ConfFile, copied: Copied) -> ConfRow:
    """Return what is known of a file that was copied; its look counts only where it cannot change unseen."""
    status = copied.status
    fresh = max(status.st_mtime_ns, status.st_ctime_ns) > time.time_ns() - _GRAIN
    attributes = struct.pack("<3IQ", status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns)
    seen = look_of(status) if copied.shows and not fresh else UNSEEN
    return ConfRow(file.whole_path, file.root, seen, copied.digest + attributes)


def look_of(status: os.stat_result) -> bytes:
    """Return what tells whether a file has changed."""
    return _LOOK.pack(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _target(file: ConfFile) -> bytes:
    """Return what to copy: a database may be a link to where there is room."""
    return os.path.realpath(file.whole_path) if stat.S_ISREG(file.status.st_mode) else file.whole_path
