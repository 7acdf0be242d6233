"""Where a server's mailboxes lie, as mailboxes.db has it: read again only when that or imapd.conf has changed."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator

from cyrsync.cyrus.config import Config
from cyrsync.cyrus.db import twom
from cyrsync.cyrus.db.error import DbError
from cyrsync.cyrus.server import located
from cyrsync.errors import UnusableError, error_text
from cyrsync.state.store import Key, Place, Store

#: Nanoseconds in which mailboxes.db may change again and keep its times.
_GRAIN = 2_000_000_000


def refresh(store: Store, config: Config) -> list[str]:
    """See that the store has the mailboxes of now. Return what is wrong with some, which it therefore has not.

    Raise UnusableError when mailboxes.db cannot be read.
    """
    try:
        signature = _signature(config)
        if signature and store.places_signature() == signature:
            return []
        errors: list[str] = []
        places = list(_places(config, errors))
    except (DbError, OSError) as error:
        raise UnusableError(f"mailboxes.db cannot be read: {error_text(error)}") from None
    store.set_places(places, b"" if errors else signature)
    return errors


def _places(config: Config, errors: list[str]) -> Iterator[Place]:
    """Yield where mailboxes lie; of two that would have one directory the second is told of."""
    known: dict[Key, bytes] = {}
    for one in located(config):
        mailbox = one.mailbox
        if not one.data:
            errors.append(f"{os.fsdecode(mailbox.name)}: imapd.conf has no partition {mailbox.partition}")
            continue
        path = one.data[len(config.partitions[mailbox.partition].data) + 1 :]
        files = one.files
        key = Key(mailbox.partition, path)
        if known.setdefault(key, mailbox.name) != mailbox.name:
            errors.append(f"{os.fsdecode(mailbox.name)}: it has the same directory as {os.fsdecode(known[key])}")
            continue
        yield Place(
            *(key, mailbox.name, mailbox.uniqueid),
            *(files.header_path, files.index_path, files.expunge_path, files.name_lock),
        )


def _signature(config: Config) -> bytes:
    """Return what changes with imapd.conf and mailboxes.db; b"" where neither size nor time would tell."""
    path = config.database("mboxlist")[1]
    status = os.stat(path)
    if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) < _GRAIN:
        return b""
    with open(path, "rb") as database:
        if database.read(len(twom.MAGIC)) == twom.MAGIC:
            return b""  # it is written through memory: the times come late
    roots = [(partition.name, partition) for partition in config.partitions.values()]
    file = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, path)
    known = (config.hashimapspool, config.fulldirhash, config.lock_directory, config.text("servername"), roots)
    return hashlib.sha256(repr((file, known)).encode("utf-8", "surrogateescape")).digest()
