"""A server's mailboxes, and where each of them lies: its imapd.conf and its mailboxes.db together."""

import os
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.cyrus.mailbox.snapshot import MetaFiles
from cyrsync.cyrus.server import layout, mailboxes
from cyrsync.cyrus.server.db import reader
from cyrsync.cyrus.server.db.error import DbError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cyrsync.cyrus.server.config import Config
    from cyrsync.cyrus.server.mailboxes import Mailbox

#: Before 3.0 another part of a name with a dot in it went into the letter of `fulldirhash`; which server made a
#: directory its imapd.conf does not tell, so the other rule is tried where the first leads nowhere.
_OTHER_RULE = (2, 4)


class Located(NamedTuple):
    """A mailbox with its directories: absolute paths, b"" where imapd.conf has no such partition."""

    mailbox: "Mailbox"
    data: bytes
    meta: bytes
    archive: bytes
    files: MetaFiles


def located(
    config: "Config",
    records: "list[tuple[bytes, bytes]] | None" = None,
    left_out: "Callable[[Mailbox, str], None] | None" = None,
) -> "Iterator[Located]":
    """Yield every mailbox that has a directory on this server, as mailboxes.db knows them now, or by its `records`.

    One whose record cannot be read, or leads to no directory, is given to `left_out`, with the reason; of one that
    cannot be read only the name is known. Raise OSError or DbError where mailboxes.db cannot be read, without
    `left_out` also for such a record.
    """

    def wrong(mailbox: "Mailbox", reason: str) -> None:
        if left_out is None:
            raise DbError(f"{repr(mailbox.name)[2:-1]}: {reason}")  # in one line, whatever is in it
        left_out(mailbox, reason)

    servername = config.text("servername")
    if records is None:
        records = reader.read(config.database("mboxlist")[1])
    for mailbox in mailboxes.read(records, lambda one: wrong(one, "its record in mailboxes.db cannot be read")):
        if mailboxes.live(mailbox, servername):
            try:
                # What is no text can be no partition's name, and no part of a path that Cyrus has made.
                (mailbox.partition + mailbox.uniqueid).encode("utf-8")
                one = _locate(config, mailbox)
            except ValueError:
                wrong(mailbox, "no directory can be told from its record in mailboxes.db")
            else:
                yield one


def _locate(config: "Config", mailbox: "Mailbox") -> Located:
    partition = config.partitions.get(mailbox.partition)
    if partition is None:
        return Located(mailbox, b"", b"", b"", MetaFiles(b"", b"", b""))
    path = _path(config, mailbox, partition.data)
    header, index = (
        os.path.join(partition.root_of(word), path, b"cyrus." + word.encode()) for word in ("header", "index")
    )
    files = MetaFiles(
        header, index, os.path.join(os.path.dirname(index), b"cyrus.expunge"), _name_lock(config, mailbox)
    )
    data, meta, archive = (os.path.join(root, path) for root in (partition.data, partition.meta, partition.archive))
    return Located(mailbox, data, meta, archive, files)


def _path(config: "Config", mailbox: "Mailbox", root: bytes) -> bytes:
    """Return the mailbox's path below the root of its partition."""
    path = layout.mailbox_path(config, mailbox.name, mailbox.uniqueid.encode(), mailbox.legacy)
    if mailbox.legacy and config.fulldirhash and not os.path.isdir(os.path.join(root, path)):
        other = layout.legacy_path(mailbox.name, config.hashimapspool, config.fulldirhash, _OTHER_RULE)
        if os.path.isdir(os.path.join(root, other)):
            return other
    return path


def _name_lock(config: "Config", mailbox: "Mailbox") -> bytes:
    name = mailbox.name if mailbox.legacy else mailbox.uniqueid.encode()
    path = layout.lock_file(name, config.hashimapspool, config.fulldirhash, config.version)
    return os.path.join(config.lock_directory, path)
