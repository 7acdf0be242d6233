"""What a hot spare needs beside the partitions: the files of configdirectory that changed, copied and sent.

The users' files, quotas and annotations are sent after the mailboxes, and mailboxes.db last of all, as it was when the
mailboxes were looked for: a record without its directory is an error for Cyrus, a directory without a record is none.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from cyrsync.cyrus.server.conf_files import ConfFile, ConfFiles
from cyrsync.cyrus.server.config import Config
from cyrsync.cyrus.server.database_copy import Copied, CopyError
from cyrsync.cyrus.server.user_files import may_change
from cyrsync.errors import Exit, ReplicaFull, error_text, hint
from cyrsync.far import owner_file
from cyrsync.far.folder import Entry
from cyrsync.server.absence import is_absent, is_seen_absent
from cyrsync.server.conf_copier import ConfCopier, look_of, row_of
from cyrsync.server.conf_same_there import same_there
from cyrsync.server.conf_sender import ConfSender
from cyrsync.server.conf_there import files_there
from cyrsync.server.contents import CutShort
from cyrsync.server.deleting import delete
from cyrsync.server.locations import MailboxList
from cyrsync.server.replica import Replica
from cyrsync.server.run_patience import RunPatience
from cyrsync.server.selection import Selection
from cyrsync.server.sender import FULL, undressed
from cyrsync.state.conf_table import ConfRow, ConfTable
from cyrsync.state.mailbox_row import UNSEEN
from cyrsync.sync.folder_plan import FolderPlan, State
from cyrsync.sync.session import Session
from cyrsync.text import path_text

#: Errors of the disk that copies are staged on.
_OURS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(slots=True)
class ConfChanges:
    """What is to be done."""

    changed: list[ConfFile] = field(default_factory=list)
    gone: list[ConfRow] = field(default_factory=list)


class ConfRun:
    """One run's part with these files."""

    def __init__(
        self,
        session: Session,
        config: Config,
        table: ConfTable,
        patience: RunPatience,
        selection: Selection | None = None,
    ) -> None:
        """With a `selection` it is for that part, and mailboxes.db stays as it is."""
        self._session = session
        self._selection = selection
        self._config = config
        self._files = ConfFiles(config)
        self._table = table
        self._list: tuple[ConfRow, tuple[tuple[bytes, Entry], ...], Entry, bytes] | None = None  # mailboxes.db
        self._copier = ConfCopier(self._files, patience, session)

    def roots(self) -> tuple[bytes, ...]:
        """Return the source's directories that files come from."""
        return self._files.roots()

    def take_list(self, read: MailboxList | None, *, anyway: bool) -> None:
        """Keep mailboxes.db as it was read, unless the replica has the same; with `anyway`, always.

        In a run for a part it stays: the replica would name mailboxes that are not there.
        """
        if read is None or self._selection:
            return
        file = self._files.file(self._files.mailbox_list)
        if file is None:
            return
        digest = hashlib.sha1(read.data, usedforsecurity=False).digest()
        row = row_of(file._replace(status=read.status), Copied(read.status, digest))
        known = self._table.row(row.path)
        self._list = None
        if known and known.digest == row.digest and not anyway:
            self._table.put([row])
        else:
            self._list = row, self._copier.above(file), self._copier.entry(file, read.status), read.data

    @property
    def sends_list(self) -> bool:
        """Tell whether mailboxes.db is to be sent."""
        return self._list is not None

    @property
    def list_is_known(self) -> bool:
        """Tell whether mailboxes.db is as it was when it was last sent: else it must be read.

        That the mailboxes are known proves nothing: the run that read them may have ended before it sent the list.
        """
        if self._selection:
            return True
        file, known = self._files.file(self._files.mailbox_list), self._table.row(self._files.mailbox_list)
        return known is not None and file is not None and known.seen == look_of(file.status)

    def look_at(self, mailboxes: Mapping[bytes, bytes]) -> ConfChanges:
        """Find those files that changed with mailboxes; these are given with the uniqueid of the user's INBOX, or b"".

        See `user_files`. What is gone is not looked for.
        """
        found = ConfChanges()
        unreadable: dict[bytes, OSError] = {}
        paths = {path for name, uniqueid in mailboxes.items() for path in may_change(self._config, name, uniqueid)}
        for file in self._files.of(sorted(paths), unreadable):
            row = self._table.row(file.whole_path)
            self._compare(file, row.seen if row else None, found)
        self._report_unreadable(unreadable)
        return found

    def look(self) -> ConfChanges:
        """Stat the files, and find those that changed and those that are gone."""
        found = ConfChanges()
        known = self._table.seen()
        known.pop(self._files.mailbox_list, None)
        unreadable: dict[bytes, OSError] = {}
        count = self._session.result.config
        for file in self._files.listed(unreadable, self._selection.has_file if self._selection else None):
            count.seen += 1
            self._warn_of_link(file)
            self._compare(file, known.pop(file.whole_path, None), found)
        count.send = len(found.changed) + (self._list is not None)
        self._report_unreadable(unreadable)
        if known and self._session.options.delete:
            found.gone = list(self._gone(known, unreadable))
            count.delete = len(found.gone)
        return found

    def _compare(self, file: ConfFile, seen: bytes | None, found: ConfChanges) -> None:
        """Note a file that is not as it was `seen` when it was sent."""
        if seen != look_of(file.status) and not (seen == UNSEEN and self._is_as_sent(file)):
            found.changed.append(file)

    def _report_unreadable(self, unreadable: Mapping[bytes, OSError]) -> None:
        for path, error in unreadable.items():
            self._session.result.errors.append(f"{path_text(path)}: {error.strerror}: it stays as it is on the replica")

    def _warn_of_link(self, file: ConfFile) -> None:
        """Warn of a link to a directory elsewhere: the standby would have only the link."""
        if not stat.S_ISLNK(file.status.st_mode) or not os.path.isdir(file.whole_path):
            return
        warning = f"{path_text(file.whole_path)}: a link to a directory: what is in that is not sent"
        is_sent = self._files.above(os.path.realpath(file.whole_path)) is not None
        if not is_sent and warning not in self._session.result.warnings:
            self._session.result.warnings.append(warning)

    def _gone(self, known: Iterable[bytes], unreadable: Iterable[bytes]) -> Iterator[ConfRow]:
        """Yield what was sent and is seen to be absent: not what is below a directory that cannot be seen."""
        away: dict[bytes, bool] = {}
        for path in sorted(known):
            above, row = self._files.above(path), self._table.row(path)
            hidden = any(path == name or path.startswith(name + b"/") for name in unreadable)
            if row is None or above is None or hidden or not self._is_absent(path):
                continue  # nobody looked for it
            if away.setdefault(above, _is_away(above)):
                continue
            yield row
        for directory in (directory for directory, is_away in away.items() if is_away):
            reason = "what was in it is not there any more, and stays on the replica: is its disk mounted?"
            self._session.result.errors.append(f"{path_text(directory)}: {reason}")

    def _is_absent(self, path: bytes) -> bool:
        """Tell whether a file is seen to be absent, with the directories above it."""
        try:
            return is_absent(path)
        except OSError as error:
            self._session.result.errors.append(f"{path_text(path)}: {error.strerror}: it stays as it is on the replica")
            return False

    def count(self) -> int:
        """Return how many files the replica has."""
        return self._table.count()

    def send(self, found: ConfChanges, replica: Replica) -> None:
        """Send what changed, but for mailboxes.db."""
        self._session.result.config.send = int(self._list is not None)
        sender = ConfSender(self._table, replica)
        try:
            for file in sorted(found.changed, key=lambda file: (file.root, file.path)):
                self._send(file, sender)
            sender.settle()
        finally:
            self._copier.clear()
            self._report(sender)

    def send_list(self, replica: Replica) -> None:
        """Send mailboxes.db."""
        if self._list:
            sender = ConfSender(self._table, replica)
            sender.send_data(*self._list)
            sender.settle()
            self._report(sender)
            self._list = None

    def remove(self, found: ConfChanges, replica: Replica) -> None:
        """Delete on the replica what is gone."""
        rows = sorted(found.gone, key=lambda row: (row.root, row.path))
        for root, gone in groupby(rows, key=lambda row: row.root):
            some = list(gone)
            plans = _plans_gone(root, some, self._has_all_below)
            failed = delete(self._session, replica, root, plans)
            self._table.drop(row for row in some if not _within(row.path[len(root) + 1 :], failed))

    @property
    def is_complete(self) -> bool:
        """Tell whether all that the replica has is known."""
        return self._table.complete

    def same_there(self, replica: Replica) -> dict[bytes, ConfRow]:
        """Return what is known of the files that the replica has as they are here, by path."""
        rows, policy = self._table.rows(), self._session.options.policy
        return {row.path: row for row in same_there(rows, replica, policy, self._files.may_be_link)}

    def learn(self, replica: Replica, same: Mapping[bytes, ConfRow]) -> None:
        """Find out what the replica has: without a state, it is unknown what is gone.

        The rows of what is the `same` there are kept.
        """
        there = files_there(self._files, replica, self._selection)
        self._table.forget()
        self._table.put(same.get(path) or ConfRow(path, root, UNSEEN, b"") for path, root in there.files)
        sent = same.get(self._files.mailbox_list)
        if self._list and sent and sent.digest == self._list[0].digest:
            self._table.put([self._list[0]])
            self._list = None
        for path, number in there.unseen.items():
            reason = f"it cannot be listed on the replica: {os.strerror(number)}: it stays as it is there"
            self._session.result.errors.append(f"{path_text(path)}: {reason}")
        if not there.unseen and not self._selection:
            self._table.mark_complete()

    def _has_all_below(self, directory: bytes) -> bool:
        """Tell whether a directory that is gone can be deleted with all that is in it."""
        return self._selection is None or self._selection.has_file(self._files.owner(directory))

    def _send(self, file: ConfFile, sender: ConfSender) -> None:
        """Copy one file and send it, unless it has gone, or cannot be copied."""
        staging = self._copier.staging(file)
        try:
            above = self._copier.above(file)
            copied = self._copier.copy(file)
        except (CopyError, OSError) as error:
            if isinstance(error, FileNotFoundError) and staging.directory.exists():
                return  # the next run finds it gone
            if isinstance(error, OSError) and error.errno in _OURS:
                raise
            self._session.result.errors.append(f"{path_text(file.whole_path)}: {error_text(error)}")
            return
        row = row_of(file, copied)
        known = self._table.row(row.path)
        if known and known.digest == row.digest:
            self._table.put([row])
            return
        self._session.result.config.send += 1
        try:
            sender.send_copy(row, above, self._copier.entry(file, copied.status), staging.copy_path())
        except CutShort:
            reason = f"its copy {path_text(staging.copy_path())} was cut off while it was sent: what cleans up there?"
            self._session.result.errors.append(f"{path_text(file.whole_path)}: {reason}")

    def _report(self, sender: ConfSender) -> None:
        """Report the results of the files that were sent."""
        result = self._session.result
        result.files.planned += sender.files + len(sender.failed)
        result.files.sent += sender.files
        result.files.failed += len(sender.failed)
        result.bytes_sent += sender.bytes_sent
        result.errors += [error for error in map(undressed, sender.undressed) if error not in result.errors]
        for number, path in sender.failed:
            reason = hint(os.strerror(number))
            if number in FULL:
                self._session.full = ReplicaFull(f"not all could be written: {path_text(path)}: {reason}", Exit.FILE_IO)
            else:
                result.errors.append(f"{path_text(path)}: {reason}")

    def _is_as_sent(self, file: ConfFile) -> bool:
        """Compare a file that may have changed unseen with what was sent."""
        try:
            copied = self._copier.copy(file)
        except (CopyError, OSError):
            return False
        finally:
            self._copier.staging(file).clear()
        row, known = row_of(file, copied), self._table.row(file.whole_path)
        if known and known.digest == row.digest:
            self._table.put([row])
            return True
        return False


def _is_away(directory: bytes) -> bool:
    """Tell whether a directory is not there, or nothing is in it: as when its disk is not mounted."""
    try:
        return not os.path.isdir(directory) or owner_file.is_bare(directory)
    except OSError:
        return False


def _plans_gone(root: bytes, rows: list[ConfRow], has_all_below: Callable[[bytes], bool]) -> list[FolderPlan]:
    """Return plans that delete files that are gone, with the highest directory of each that is gone, too.

    Such a directory is one of which the run's part `has_all_below`, by its whole path.
    """
    plans: dict[bytes, FolderPlan] = {}
    for row in rows:
        folder, name = os.path.split(row.path[len(root) + 1 :])
        whole = b""
        while folder and has_all_below(top := os.path.join(root, folder)) and is_seen_absent(top):
            whole, folder = folder, os.path.dirname(folder)
        if whole:
            plans[whole] = FolderPlan(whole, State.GONE)
        else:
            plan = plans.setdefault(folder, FolderPlan(folder, State.CHANGED))
            plan.delete_files = (*plan.delete_files, name)
    return list(plans.values())


def _within(path: bytes, failed: set[bytes]) -> bool:
    """Tell whether a path, or a directory it is in, is among those that failed."""
    while path not in failed:
        if not path:
            return False
        path = os.path.dirname(path)
    return True
