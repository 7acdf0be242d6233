"""The drop-in: the user's own rsync line decides, and rsync itself runs what cyrsync cannot."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cyrsync.ends.tree import Tree
from cyrsync.ends.tree_pair import TreePair
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
from cyrsync.spool.execution import extended_of
from cyrsync.spool.manner import Manner
from cyrsync.spool.planning import Planned
from cyrsync.spool.run import hold, opened, walk
from cyrsync.spool.steps import Transfer
from cyrsync.state import no_agent
from cyrsync.sync.ownership import WalkOwnership
from cyrsync.sync.result import RunResult
from cyrsync.sync.session import Session
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
    """How the line would have rsync delete, and report deletions."""

    lines: DeletionLines
    #: How paths begin in what rsync prints: with the source's own name, if there is no slash behind it.
    below: bytes = b""
    after_errors: bool = False  # also where the source could not be read
    last: bool = False  # not before all files are there
    quiet: bool = False

    def report(self, paths: Iterable[bytes], standing: Iterable[bytes], *, logs: bool) -> None:
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


class DropIn:
    """A run whose output and exit code are rsync's."""

    def __init__(self, session: Session, deletions: Deletions, plain_rsync: Callable[[str, bool], int]) -> None:
        """`plain_rsync` runs the line as it is, for a reason, and returns rsync's code.

        It is told whether there is an owner file.
        """
        self._session = session
        self._deletions = deletions
        self._plain_rsync = plain_rsync
        self._busy: LockedError | None = None  # why the replica is not held
        self._is_spool = False  # what is copied
        self.handed_over = False  # plain rsync has run

    def execute(self) -> RunResult:
        """Do what is ours to do. Raise NotForUs where plain rsync is to do it all."""
        return self._session.execute(self._attempt, self._refuse)

    def _attempt(self) -> None:
        refusal = no_agent.recall(*self._pair())
        if refusal:
            raise NotForUs(refusal, no_agent=True)
        with opened(self._session, self._hold) as trees:
            self._sync(trees)

    def _refuse(self, error: CyrsyncError) -> None:
        if isinstance(error, NoAgentError) and not self._session.options.dry_run:
            no_agent.remember(*self._pair(), str(error))
        if isinstance(error, UnusableError) and not isinstance(error, DoubtfulError):
            raise NotForUs(str(error), no_agent=isinstance(error, NoAgentError)) from None

    def _pair(self) -> tuple[Path, str, str | None]:
        return self._session.options.state, self._session.key, self._session.options.rsh

    def _hold(self, tree: Tree) -> bool:
        try:
            return hold(self._session, tree)
        except LockedError as error:
            if self._is_spool or tree.resolve(self._session.replica.path).owner_file:
                raise
            self._busy = error  # what is no spool may be written to by two lines at once
            return False

    def _sync(self, trees: TreePair) -> None:
        """Do what is ours to do; plain rsync has the replica alone, too."""
        session = self._session
        try:
            self._check_links(trees)
            if session.kinds and trees.source.under_locks and not extended_of(session, trees):
                raise NotForUs("ACLs and extended attributes of metadata can be read and set on Linux alone")
            self._walk(trees)
        except DoubtfulError:
            raise
        except (NotForUs, UnusableError) as error:
            owned = bool(trees.replica_status.owner_file)
            if not trees.held or not (owned or (isinstance(error, NotForUs) and error.spool)):
                raise
            ownership = WalkOwnership(trees.replica.writer, trees.replica_status) if owned else None
            if ownership:
                ownership.begin()
            self.handed_over = True
            session.result.exit = self._plain_rsync(str(error), owned)
            if ownership and session.result.exit == Exit.DONE:
                ownership.end(compared=False)

    def _check_links(self, trees: TreePair) -> None:
        """See that no tree is a link where its name is part of the transfer: rsync sends that, or replaces it."""
        if not self._deletions.below:
            return
        source = self._session.source
        ends = [(self._session.replica, trees.replica, trees.replica_status)]
        ends += [] if source.local else [(source, trees.source, trees.source_status)]
        for address, tree, status in ends:
            above, slash, name = address.path.rpartition(b"/")
            if not address.daemon and status.root != os.path.join(tree.resolve(above or slash or b".").root, name):
                raise NotForUs(f"{address.text}: {path_text(name)} is a link there, not a directory")

    def _walk(self, trees: TreePair) -> None:
        """Walk in rsync's manner, and end with the code that it would end with."""
        manner = Manner(self._guard, self._try_words, partial(self._report_deletions, trees), verbatim=True)
        codes, result = walk(self._session, trees, manner), self._session.result
        if Exit.PARTIAL in codes:
            result.exit = Exit.PARTIAL
        elif Exit.VANISHED in codes:
            result.exit = result.exit or Exit.VANISHED

    def _guard(self, planned: Planned) -> None:
        session = self._session
        if not planned.cyrus_folders:
            if session.options.delete and planned.gone_cyrus_folders:
                raise GuardError(
                    f"{session.source.text}: no Cyrus folder in it, but {session.replica.text} holds a spool: "
                    "is the partition mounted? Run rsync itself if all of the replica is to be deleted"
                )
            raise NotForUs(f"{session.source.text} is not a Cyrus spool")
        self._is_spool = True
        if self._busy:
            raise self._busy
        limit = session.options.max_delete
        if limit and session.limit.counted.total() > limit.number:
            reason = f"--max-delete={limit.number} is less than the {session.limit.counted.total()} deletions planned"
            raise NotForUs(reason, spool=True)
        if limit is None:
            session.limit.decide()
            session.note_withheld()
        if session.result.folders.unreadable:
            self._skip_deletions()

    def _skip_deletions(self) -> None:
        """Delete nothing after an error of the source's, as rsync does."""
        limit = self._session.limit
        if self._deletions.after_errors or not limit.left():
            return
        if limit.allows() and not self._deletions.quiet:
            sys.stdout.write("IO error encountered -- skipping file deletion\n")
            sys.stdout.flush()
        limit.refuse("not all could be read, and there is no --ignore-errors")
        self._session.note_withheld()

    def _try_words(self, rsync: Rsync) -> None:
        try:
            rsync.try_words(self._session.options.trial)
        except (ConnectionFailed, RsyncFailed) as refusal:
            if self._session.result.withheld:
                raise  # rsync would delete what is withheld
            raise NotForUs(str(refusal), spool=True) from None

    def _report_deletions(self, trees: TreePair, transfer: Transfer) -> None:
        failed = self._session.result.folders.unreadable or (self._deletions.last and transfer.account.failed)
        if failed:
            self._skip_deletions()
        if trees.replica.writer:
            logs = not self._session.options.dry_run
            self._deletions.report(transfer.deleted_entries(), transfer.left_standing(), logs=logs)
