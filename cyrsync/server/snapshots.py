"""The mailboxes that one run has read under their locks and sent, and those that could not be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from cyrsync.cyrus.mailbox.locks import LockTimeout
from cyrsync.cyrus.server.names import mailbox_text
from cyrsync.server.engine import MailboxChange, plan_mailbox
from cyrsync.server.reading import MailboxReader, UnreadableMailboxError
from cyrsync.server.roots import Roots
from cyrsync.server.run_patience import RunPatience
from cyrsync.state.mailbox_row import UNSEEN, Key, MailboxRow
from cyrsync.state.store import Store


class DirectSender(Protocol):
    """Sends mailboxes at once, while their contents are in memory."""

    def accepts(self, change: MailboxChange, reader: MailboxReader) -> bool:
        """Send a mailbox that has just been read, or decline it."""


class Snapshots:
    """Reads mailboxes under their locks, and remembers which it could not read."""

    def __init__(
        self,
        partitions: dict[str, Roots],
        patience: RunPatience,
        *,
        last_look: bool,
        left_out: frozenset[bytes] = frozenset(),
        directory: str | None = None,
    ) -> None:
        """For `last_look` see the attribute; of metadata, files that are `left_out` are neither sent nor deleted.

        What is large is copied to the `directory`.
        """
        self.unreadable: dict[Key, str] = {}  # with the reason
        self.locked: dict[Key, str] = {}  # by somebody else, for too long
        self.moving: dict[Key, str] = {}  # being made, renamed or deleted, so that the next run is to see
        self.warnings: list[str] = []
        #: Whether there is no other look: then a header that mailboxes.db does not agree with is believed.
        self.last_look = last_look
        #: Where nothing moves any more: a header that mailboxes.db does not agree with stays so.
        self.settled: set[Key] = set()
        #: Mailboxes whose metadata the replica has as it is here, with how header and index were when that was seen.
        self.same_there: Mapping[Key, bytes] = {}
        self._readers = {name: MailboxReader(roots, directory) for name, roots in partitions.items()}
        self._left_out = left_out
        self._patience = patience
        self._before: dict[Key, MailboxRow] = {}
        self._names: dict[Key, bytes] = {}  # of those that were looked at

    def text_of(self, key: Key) -> str:
        """Return how to name a mailbox: its directory, and its name if that does not tell it."""
        return mailbox_text(key.path, self._names.get(key, b""))

    def read(self, store: Store, key: Key, send: DirectSender | None = None) -> MailboxChange | None:
        """Read a mailbox and send it; return its change, None if the mailbox has to stay as it is.

        Afterwards it is being sent, unless `send` declined it.
        """
        location, row = store.locations.get(key), store.row(key)
        self._names[key] = location.name
        reader = self._readers[key.partition]
        try:
            mailbox = reader.read(location, self._patience.seconds)
        except LockTimeout as error:
            self._patience.was_in_vain()
            self.locked[key] = str(error)
            return None
        except UnreadableMailboxError as error:
            self.unreadable[key] = str(error)
            return None
        is_right = location.uniqueid in ("", mailbox.incarnation.uniqueid)
        if not (is_right or self.last_look or key in self.settled):
            self.unreadable[key] = f"the mailbox has uniqueid {mailbox.incarnation.uniqueid}, not {location.uniqueid}"
            return None
        if not mailbox.known_version and not self.warnings:
            self.warnings.append(
                f"{self.text_of(key)}: an index of an unknown version: what is in the directory is sent"
            )
        change = plan_mailbox(
            location,
            row,
            mailbox,
            reader.roots,
            before=self._before.get(key),
            left_out=self._left_out,
            has_metadata=self.same_there.get(key) == mailbox.seen != UNSEEN,
        )
        if send and send.accepts(change, reader):
            change.going = True
            self._before.setdefault(key, change.row or MailboxRow(key))
        mailbox.let_go()
        return change

    def forget(self, key: Key) -> None:
        """Forget that a mailbox could not be read: it is read again."""
        self.unreadable.pop(key, None)
        self.locked.pop(key, None)

    def unread(self) -> dict[Key, str]:
        """Return the mailboxes that are left as they were, with the reasons."""
        return {**self.moving, **self.locked, **self.unreadable}

    def left(self) -> bool:
        """Tell whether some mailboxes are left as they were."""
        return bool(self.unread())

    def before(self, row: MailboxRow) -> MailboxRow:
        """Return what the replica had of a mailbox when this run began."""
        return self._before.get(row.key, row)
