"""Mailboxes that mailboxes.db does not name: which of them are gone, and what of these can be deleted."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox import index as cyrus_index
from cyrsync.cyrus.mailbox import records, regular_file
from cyrsync.far.owner_file import is_bare
from cyrsync.far.walk import incarnation_in
from cyrsync.server.absence import is_absent
from cyrsync.server.deleting import delete
from cyrsync.server.engine import count_gone, plan_gone
from cyrsync.server.replica import Replica
from cyrsync.server.roots import Roots
from cyrsync.server.source_links import broken
from cyrsync.state.mailbox_row import Key, MailboxRow
from cyrsync.state.store import Store
from cyrsync.sync.folder_plan import FolderPlan
from cyrsync.sync.session import Session
from cyrsync.text import path_text

#: Seconds between two looks at directories that mailboxes.db does not name.
_PAUSE = 0.3


class UnnamedMailboxes(NamedTuple):
    """What the replica has of mailboxes that mailboxes.db does not name."""

    gone: list[MailboxRow]  # the source has no such mailbox
    there: list[MailboxRow]  # the source has it still
    doubtful: list[tuple[MailboxRow, str]]  # whether it has cannot be told, for a reason

    def stay(self) -> list[MailboxRow]:
        """Return the replica's rows of mailboxes that stay there."""
        return [*self.there, *(row for row, _ in self.doubtful)]

    def would_go(self) -> list[FolderPlan]:
        """Return what the replica would lose if mailboxes.db were right about those that stay."""
        return [count_gone(row, renamed=False) for row in self.stay()]


def sort_out(rows: Iterable[MailboxRow], partitions: dict[str, Roots]) -> UnnamedMailboxes:
    """Look for mailboxes on the source that mailboxes.db does not name, by what the replica has of them."""
    found = UnnamedMailboxes([], [], [])
    for row in rows:
        roots = partitions.get(row.key.partition)
        try:
            if roots is None:
                reason = f"imapd.conf has no partition {row.key.partition}: it stays on the replica"
                found.doubtful.append((row, reason))
            else:
                (found.there if _has_mailbox(roots, row) else found.gone).append(row)
        except OSError as error:
            reason = f"whether it is gone cannot be seen: {error.strerror}: it stays on the replica"
            found.doubtful.append((row, reason))
    return found


def find_not_named(
    session: Session,
    partitions: dict[str, Roots],
    not_named: Callable[[], list[MailboxRow]],
    refresh: Callable[[], object],
) -> tuple[UnnamedMailboxes, list[str]]:
    """Sort out the mailboxes that mailboxes.db does not name; warnings name those that exist nevertheless.

    Mailboxes are made, renamed and deleted at any moment: such a mailbox is looked for again, by mailboxes.db as it is
    then, and there is no warning where something has moved meanwhile.
    """
    found, warnings = sort_out(not_named(), partitions), list[str]()
    if found.there:
        before = _states(found.there, partitions)
        time.sleep(_PAUSE)
        refresh()
        found = sort_out(not_named(), partitions)
        warnings = _warnings(before.items() & _states(found.there, partitions).items())
    report_doubtful(session, found)
    return found, warnings


def report_doubtful(session: Session, found: UnnamedMailboxes) -> None:
    """Report once which mailboxes stay on the replica because their absence is not seen; without --delete, all stay."""
    lines = [f"{path_text(row.key.path)}: {reason}" for row, reason in found.doubtful if session.options.delete]
    session.result.errors += [line for line in lines if line not in session.result.errors]


def remove_gone(
    session: Session,
    partitions: dict[str, Roots],
    store: Store,
    replica: Replica,
    gone: list[MailboxRow],
    has_all_below: Callable[[bytes], bool],
) -> None:
    """Delete mailboxes on the replica that mailboxes.db has no more, and that were seen not to be on the source.

    One that has come back meanwhile stays. Where it is not known whose the replica's files are, what is on the source
    now came after it was seen that nothing is there: it is another one. Directories that others of these mailboxes were
    in are deleted with them, if the run's part `has_all_below`, by the path below a root.
    """
    for name, roots in partitions.items():
        rows, plans = [], []
        lived_in = store.locations.directories(name)
        for row in gone:
            try:
                if row.key.partition == name and not (row.uniqueid and _has_mailbox(roots, row)):
                    whole = _whole(roots, row.key.path, lived_in, has_all_below)
                    plans.append(plan_gone(row, roots, whole=whole))
                    rows.append(row)
            except OSError as error:
                reason = f"whether it is gone cannot be seen: {error.strerror}: it stays on the replica"
                session.result.errors.append(f"{path_text(row.key.path)}: {reason}")
        if not rows:
            continue
        failed: set[bytes] = set()
        for root in roots.all():
            # Where an index stays, so do the messages in another root.
            there = [plan[root] for plan in plans if not any(_is_below(path, plan[root].path) for path in failed)]
            failed |= delete(session, replica, root, there)
        store.drop(
            row.key
            for row, plan in zip(rows, plans, strict=True)
            if not any(_is_below(path, plan[roots.data].path) for path in failed)
        )


def _warnings(states: Iterable[tuple[Key, object]]) -> list[str]:
    """Return warnings of mailboxes that exist and that mailboxes.db does not name."""
    paths = sorted(key.path for key, _ in states)
    if not paths:
        return []
    which = f"{len(paths)} mailboxes whose directories are there (first {path_text(paths[0])})"
    if len(paths) == 1:
        which = f"a mailbox whose directory is there ({path_text(paths[0])})"
    return [
        f"mailboxes.db does not name {which}: is it an old mailboxes.db? Their mail stays on the replica. "
        "`cyrsync verify` lists them, `reconstruct -f` adds them to mailboxes.db"
    ]


def _states(rows: Iterable[MailboxRow], partitions: dict[str, Roots]) -> dict[Key, tuple[int, int]]:
    """Return how the directories of mailboxes look, which changes as these are deleted; none that is marked so."""
    states = {}
    for row in rows:
        directory = os.path.join(partitions[row.key.partition].homes[kinds.INDEX], row.key.path)
        with suppress(OSError):
            status = os.stat(directory)
            index = os.path.join(directory, kinds.INDEX)
            # The directory of a deleted mailbox stays while a client has it open.
            if not records.is_of_deleted(regular_file.start(index, cyrus_index.READ_SIZE)):
                states[row.key] = (status.st_ino, status.st_mtime_ns)
    return states


def _has_mailbox(roots: Roots, row: MailboxRow) -> bool:
    """Tell whether the source has this mailbox there still, though mailboxes.db does not know it: then it stays.

    Raise OSError if that cannot be seen.
    """
    header, index = (os.path.join(roots.homes[name], row.key.path, name) for name in (kinds.HEADER, kinds.INDEX))
    if broken(roots.homes[kinds.INDEX], row.key.path):
        raise OSError(errno.ENOENT, "its directory lies behind a link that leads nowhere")
    if is_absent(index):
        return False
    found = incarnation_in(header, index)
    if found is None or not row.uniqueid:
        return True  # whether that is another one is not known
    # Another one that was made meanwhile is for the next run.
    return found[:2] == (row.uniqueid, row.uidvalidity)


def _whole(roots: Roots, path: bytes, lived_in: set[bytes], has_all_below: Callable[[bytes], bool]) -> bytes | None:
    """Return the highest directory that can be deleted with a mailbox; None: others use its own, or the source has it.

    It is one of which the run's part `has_all_below`.
    """
    whole = None
    while path and path not in lived_in and has_all_below(path) and not _is_there(roots, path):
        whole, path = path, path.rpartition(b"/")[0]
    return whole


def _is_below(path: bytes, top: bytes) -> bool:
    return path == top or path.startswith(top + b"/")


def _is_there(roots: Roots, path: bytes) -> bool:
    """Tell whether the source still has a directory of a mailbox that is gone: then others may have things in it.

    A link stays where Cyrus removes the directory of a mailbox; if nothing is behind it, it stands for none.
    """
    return any(_holds(os.path.join(root, path)) for root in roots.all())


def _holds(directory: bytes) -> bool:
    return not is_absent(directory) and not (os.path.islink(directory) and is_bare(directory))
