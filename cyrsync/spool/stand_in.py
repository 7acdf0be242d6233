"""A run in rsync's stead: the user's own rsync line decides, and rsync itself takes over what is not ours."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cyrsync.ends.address import Address
from cyrsync.ends.both import BothSides
from cyrsync.ends.side import Side
from cyrsync.errors import (
    ConnectionFailed,
    CyrsyncError,
    DoubtfulError,
    Exit,
    GuardError,
    LockedError,
    NoAgentError,
    RsyncFailed,
    UnusableError,
)
from cyrsync.rsync import deletion_lines
from cyrsync.rsync.deletion_lines import DeletionLines
from cyrsync.rsync.driver import Rsync
from cyrsync.spool.run import Planned, Run
from cyrsync.spool.steps import Transfer
from cyrsync.state import no_agent
from cyrsync.sync.options import Options
from cyrsync.sync.ownership import WalkOwnership
from cyrsync.text import path_text


class NotForUs(Exception):
    """The line is rsync's own affair; nothing has been done yet."""

    def __init__(self, reason: str, *, spool: bool = False, no_agent: bool = False) -> None:
        """`spool`: but what it copies is a Cyrus spool; `no_agent`: its far end runs nothing that it is sent."""
        super().__init__(reason)
        self.spool = spool
        self.no_agent = no_agent


@dataclass(frozen=True, slots=True)
class Deletions:
    """How the line would have rsync delete, and tell of it."""

    lines: DeletionLines
    #: How paths begin in what rsync prints: with the source's own name, if there is no slash behind it.
    below: bytes = b""
    after_errors: bool = False  # also where the source could not be read
    last: bool = False  # not before all files are there
    quiet: bool = False

    def tell(self, paths: Iterable[bytes], standing: Iterable[bytes], *, logs: bool) -> None:
        """Print and log that paths are deleted, and that folders stay for what is left out in them."""
        now, pid = time.strftime("%Y/%m/%d %H:%M:%S"), os.getpid()
        shown, logged = [], []
        for path in paths:
            whole = self.below + b"/" + path if self.below else path
            if self.lines.shown:
                shown.append(deletion_lines.line(self.lines.shown, whole, now, pid))
            if self.lines.logged:
                logged.append(b"%s [%d] " % (now.encode(), pid))
                logged.append(deletion_lines.line(self.lines.logged, whole, now, pid))
        for path in () if self.quiet else standing:
            shown.append(
                b"cannot delete non-empty directory: " + (self.below + b"/" + path if self.below else path) + b"\n"
            )
        sys.stdout.flush()
        sys.stdout.buffer.write(b"".join(map(self._escaped, shown)))
        sys.stdout.buffer.flush()
        if logged and logs and self.lines.log_file:
            with suppress(OSError), open(self.lines.log_file, "ab") as log:  # rsync has complained of it
                log.write(b"".join(map(self._escaped, logged)))

    def _escaped(self, line: bytes) -> bytes:
        return deletion_lines.escape(line, as_they_are=self.lines.as_they_are)


class StandIn(Run):
    """A run whose output and exit code are rsync's."""

    verbatim = True

    def __init__(
        self,
        source: Address,
        replica: Address,
        options: Options,
        deletions: Deletions,
        plain_rsync: Callable[[str, bool], int],
    ) -> None:
        """`plain_rsync` runs the line as it is, for a reason, and returns rsync's code.

        It is told whether there is an owner file.
        """
        super().__init__(source, replica, options)
        self._deletions = deletions
        self._plain_rsync = plain_rsync
        self._codes: set[int] = set()
        self._busy: LockedError | None = None  # why the replica is not held
        self._is_spool = False  # what is copied
        self.handed_over = False  # plain rsync has run

    def _attempt(self, directory: Path) -> None:
        refusal = no_agent.recall(self.key, self.options.rsh)
        if refusal:
            raise NotForUs(refusal, no_agent=True)
        super()._attempt(directory)

    def _acts(self) -> bool:
        return True  # a dry run is rsync's

    def _fail(self, error: CyrsyncError) -> None:
        if isinstance(error, NoAgentError) and not self.options.dry_run:
            no_agent.remember(self.key, self.options.rsh, str(error))
        if isinstance(error, UnusableError) and not isinstance(error, DoubtfulError):
            raise NotForUs(str(error), no_agent=isinstance(error, NoAgentError)) from None
        super()._fail(error)

    def _hold(self, side: Side) -> str:
        try:
            return super()._hold(side)
        except LockedError as error:
            if self._is_spool or side.resolve(self.replica.path).token:
                raise
            self._busy = error  # what is no spool may be written to by two lines at once
            return ""

    def _sync(self, sides: BothSides, directory: Path) -> None:
        """Do what is ours to do; plain rsync has the replica alone, too."""
        try:
            self._check_links(sides)
            if self.kinds and sides.source.under_locks and not self._extended(sides):
                raise NotForUs("ACLs and extended attributes of metadata can be read and set on Linux alone")
            super()._sync(sides, directory)
        except DoubtfulError:
            raise
        except (NotForUs, UnusableError) as error:
            owned = bool(sides.replica_status.token)
            if not sides.boot or not (owned or (isinstance(error, NotForUs) and error.spool)):
                raise
            ownership = WalkOwnership(sides.replica.writer, sides.replica_status, sides.boot) if owned else None
            if ownership:
                ownership.begin()
            self.handed_over = True
            self.result.exit = self._plain_rsync(str(error), owned)
            if ownership and self.result.exit == Exit.DONE:
                ownership.end(compared=False)

    def _check_links(self, sides: BothSides) -> None:
        """See that no tree is a link where its name is part of the transfer: rsync sends that, or replaces it."""
        if not self._deletions.below:
            return
        ends = [(self.replica, sides.replica, sides.replica_status)]
        ends += [] if self.source.local else [(self.source, sides.source, sides.source_status)]
        for address, side, status in ends:
            above, slash, name = address.path.rpartition(b"/")
            if not address.daemon and status.root != os.path.join(side.resolve(above or slash or b".").root, name):
                raise NotForUs(f"{address.text}: {path_text(name)} is a link there, not a directory")

    def _guard(self, planned: Planned) -> None:
        if not planned.cyrus_folders:
            if self.options.delete and planned.gone_cyrus_folders:
                raise GuardError(
                    f"{self.source.text}: no Cyrus folder in it, but {self.replica.text} holds a spool: "
                    "is the partition mounted? Run rsync itself if all of the replica is to go"
                )
            raise NotForUs(f"{self.source.text} is not a Cyrus spool")
        self._is_spool = True
        if self._busy:
            raise self._busy
        limit = self.options.max_delete
        if limit and self.limit.counted.total() > limit.number:
            reason = f"--max-delete={limit.number} ends within {self.limit.counted.total()} deletions"
            raise NotForUs(reason, spool=True)
        if limit is None:
            self.limit.decide()
            self._note_withheld()
        if self.result.folders.unreadable:
            self._skip_deletions()

    def _skip_deletions(self) -> None:
        """Delete nothing after an error of the source's, as rsync does."""
        if self._deletions.after_errors or not self.limit.left():
            return
        if self.limit.allows() and not self._deletions.quiet:
            sys.stdout.write("IO error encountered -- skipping file deletion\n")
            sys.stdout.flush()
        self.limit.refuse("not all could be read, and there is no --ignore-errors")
        self._note_withheld()

    def _try(self, rsync: Rsync) -> None:
        try:
            super()._try(rsync)
        except (ConnectionFailed, RsyncFailed) as refusal:
            if self.result.withheld:
                raise  # rsync would delete what is withheld
            raise NotForUs(str(refusal), spool=True) from None

    def _words(self) -> tuple[str, ...]:
        return (*self.options.words, "--dry-run") if self.options.dry_run else self.options.words

    def _compares_nanoseconds(self) -> bool:
        return False  # rsync by itself looks at whole seconds

    def _rsync(self, sides: BothSides, directory: Path) -> Rsync:
        rsync = super()._rsync(sides, directory)
        self._codes = rsync.codes
        return rsync

    def _delete(self, transfer: Transfer, sides: BothSides) -> None:
        failed = self.result.folders.unreadable or (self._deletions.last and transfer.account.failed)
        if failed:
            self._skip_deletions()
        if sides.replica.writer:
            self._deletions.tell(transfer.deleted_entries(), transfer.left_standing(), logs=not self.options.dry_run)
        super()._delete(transfer, sides)

    def _exit_code(self) -> int:
        if Exit.PARTIAL in self._codes:
            return Exit.PARTIAL
        code = super()._exit_code()
        return code or (Exit.VANISHED if Exit.VANISHED in self._codes else Exit.DONE)
