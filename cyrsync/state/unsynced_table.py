"""What was written to a replica since its disks were last synced: a power cut there may lose it.

It is noted before it is written, together with its row, and forgotten when the disks are synced.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from cyrsync.state.mailbox_row import PUT, Key, MailboxRow, columns_of
from cyrsync.state.state_file import Change, StateFile

#: A mailbox, and whose files were there when the disks were last synced; or another file, which has no partition, and
#: the root it is below.
_NOTE = "INSERT OR IGNORE INTO unsynced VALUES (?, ?, ?, ?, ?)"


class UnsyncedMailbox(NamedTuple):
    """A mailbox to which something was written that may not be on the replica's disks.

    And whose files were there when these were last synced: "" and 0 where that is not known.
    """

    key: Key
    uniqueid: str = ""
    uidvalidity: int = 0


def note_mailboxes(mailboxes: Iterable[UnsyncedMailbox]) -> Change:
    """Return the change that notes mailboxes, each unless it is noted already."""
    return _NOTE, ((*one.key, b"", one.uniqueid, one.uidvalidity) for one in mailboxes)


def note_files(files: Iterable[tuple[bytes, bytes]]) -> Change:
    """Return the change that notes files beside the partitions, by path and root."""
    return _NOTE, (("", path, root, "", 0) for path, root in files)


class UnsyncedTable:
    """The table of a state for these, whether they belong to the run's part or not.

    Every method may raise StateDamaged.
    """

    def __init__(self, file: StateFile) -> None:
        self._file = file

    def mailboxes(self) -> list[UnsyncedMailbox]:
        """Return the mailboxes to which something was written."""
        query = "SELECT partition, path, uniqueid, uidvalidity FROM unsynced WHERE partition != ''"
        return [UnsyncedMailbox(Key(*row[:2]), *row[2:]) for row in self._file.query(query)]

    def is_empty(self) -> bool:
        """Tell whether all that was written is on the disks."""
        return self._file.first("SELECT 1 FROM unsynced LIMIT 1") is None

    def clear(self) -> None:
        """Note that all that was written is on the disks."""
        self._file.change(("DELETE FROM unsynced", [()]))

    def doubt(self, rows: Iterable[MailboxRow]) -> None:
        """Replace all that was known of these mailboxes by these rows.

        From then on it is unknown what the replica has of files beside the partitions.
        """
        with self._file.transaction() as db:
            db.execute("DELETE FROM main.sent WHERE (partition, path) IN (SELECT partition, path FROM unsynced)")
            db.executemany(PUT, map(columns_of, rows))
            db.execute(
                "INSERT OR REPLACE INTO main.conf SELECT path, root, X'', X'' FROM unsynced WHERE partition = ''"
            )
            db.execute("DELETE FROM unsynced")
