"""Where a server's mailboxes lie, as mailboxes.db has it: read again only when that or imapd.conf has changed."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from cyrsync.cyrus.mailbox import regular_file
from cyrsync.cyrus.server.config import Config
from cyrsync.cyrus.server.db import reader, twom
from cyrsync.cyrus.server.db.error import DbError
from cyrsync.cyrus.server.mailboxes import Mailbox
from cyrsync.cyrus.server.server import located
from cyrsync.errors import UnusableError, error_text, hint
from cyrsync.state.mailbox_row import Key, Location
from cyrsync.state.store import Store
from cyrsync.text import path_text

#: Nanoseconds in which mailboxes.db may change again and keep its times.
_GRAIN = 2_000_000_000


class MailboxList(NamedTuple):
    """mailboxes.db as it was read under its lock."""

    data: bytes
    status: os.stat_result


def all_mailboxes(_: Mailbox) -> bool:
    """Return True: a run for the whole server concerns every mailbox."""
    return True


def refresh(
    store: Store,
    config: Config,
    *,
    anyway: bool = False,
    concerns: Callable[[Mailbox], bool] = all_mailboxes,
) -> tuple[list[str], MailboxList | None]:
    """Bring the mailboxes in the store up to date.

    With `anyway`, mailboxes.db is read though it did not change. Return what is wrong with some, which the store
    therefore has not, if they are those that it `concerns`, and the database if it was read. Raise UnusableError when
    it cannot be.
    """
    path = config.database("mboxlist")[1]
    try:
        signature = _signature(config)
        if signature and store.locations.signature() == signature and not anyway:
            return [], None
        read = MailboxList(*reader.stable(path))
        errors: list[tuple[Mailbox, str]] = []
        locations = list(_locations(config, reader.records(read.data, path), errors))
    except (DbError, OSError) as error:
        raise UnusableError(f"mailboxes.db cannot be read: {hint(error_text(error))}") from None
    store.locations.replace(locations, b"" if errors else signature)
    return [text for mailbox, text in errors if concerns(mailbox)], read


def _locations(
    config: Config,
    records: list[tuple[bytes, bytes]],
    errors: list[tuple[Mailbox, str]],
) -> Iterator[Location]:
    """Yield the locations of mailboxes; of two with the same directory, the second is reported."""
    known: dict[Key, bytes] = {}

    def wrong(mailbox: Mailbox, reason: str) -> None:
        errors.append((mailbox, f"{path_text(mailbox.name)}: {reason}"))

    for one in located(config, records, lambda mailbox, reason: wrong(mailbox, f"{reason}: left out")):
        mailbox = one.mailbox
        if not one.data:
            wrong(mailbox, f"imapd.conf has no partition {mailbox.partition}")
            continue
        path = one.data[len(config.partitions[mailbox.partition].data) + 1 :]
        files = one.files
        key = Key(mailbox.partition, path)
        if known.setdefault(key, mailbox.name) != mailbox.name:
            wrong(mailbox, f"it has the same directory as {path_text(known[key])}")
            continue
        yield Location(
            *(key, mailbox.name, mailbox.uniqueid),
            *(files.header_path, files.index_path, files.expunge_path, files.name_lock),
        )


def _signature(config: Config) -> bytes:
    """Return what changes with imapd.conf and mailboxes.db; b"" if neither size nor time would show a change."""
    path = config.database("mboxlist")[1]
    status = os.stat(path)
    if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) < _GRAIN:
        return b""
    if regular_file.start(path, len(twom.MAGIC), follow=True) == twom.MAGIC:
        return b""  # it is written through memory: the times come late
    roots = [(partition.name, partition) for partition in config.partitions.values()]
    file = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, path)
    known = (config.hashimapspool, config.fulldirhash, config.lock_directory, config.text("servername"), roots)
    return hashlib.sha256(repr((file, known)).encode("utf-8", "surrogateescape")).digest()
