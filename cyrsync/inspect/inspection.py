"""Looking at mailboxes: those of a server by its imapd.conf, or folders by their paths."""

from __future__ import annotations

import os
from collections.abc import Iterator

from cyrsync.cyrus.mailbox import mailbox
from cyrsync.cyrus.mailbox.locks import LockTimeout
from cyrsync.cyrus.mailbox.mailbox import MailboxError
from cyrsync.cyrus.mailbox.snapshot import MetaFiles, beside
from cyrsync.cyrus.server import layout
from cyrsync.cyrus.server.config import Config
from cyrsync.cyrus.server.db.error import DbError
from cyrsync.cyrus.server.names import mailbox_of
from cyrsync.cyrus.server.server import Located, located
from cyrsync.ends.tree import resolve_here
from cyrsync.errors import UnusableError, error_text
from cyrsync.inspect.inspected import Inspected


def inspect(wanted: list[str], config: Config | None) -> Iterator[Inspected]:
    """Yield the mailboxes and folders that are asked for, in that order, or all mailboxes.

    Without a `config`, only folders can be asked for. Raise UnusableError for one that does not exist.
    """
    known = places(config) if config else []
    if not wanted:
        yield from map(_located, known)
    for name in wanted:
        matching = [place for place in known if config and _is_meant(name, place, config)]
        if not matching and not os.path.isdir(name):
            raise UnusableError(f"{name}: no such mailbox in mailboxes.db, and no such folder")
        yield from map(_located, matching) if matching else [_folder(name)]


def places(config: Config) -> list[Located]:
    """Return where each mailbox of a server lies. Raise UnusableError when mailboxes.db cannot be read."""
    try:
        return list(located(config))
    except (DbError, OSError) as error:
        raise UnusableError(f"mailboxes.db cannot be read: {error_text(error)}") from None


def _is_meant(name: str, place: Located, config: Config) -> bool:
    given = os.fsencode(name)
    inside = place.mailbox.name
    return given in (inside, layout.external(inside, config.separator), place.data, place.meta) or (
        place.mailbox.uniqueid == name
    )


def _located(place: Located) -> Inspected:
    known = place.mailbox
    deleted = layout.is_deleted(known.name)
    name = os.fsdecode(known.name)
    one = Inspected(name, known.partition, place.data, place.meta, place.archive, known.uniqueid, deleted)
    return _opened(one, place.files)


def _folder(name: str) -> Inspected:
    path = resolve_here(os.fsencode(name)).root
    one = _opened(Inspected(mailbox_of(path), None, path, path, path, "", deleted=False), beside(path))
    if one.opened and one.opened.header.name:
        one.name = os.fsdecode(one.opened.header.name)
        one.deleted = layout.is_deleted(one.opened.header.name)
    return one


def _opened(one: Inspected, files: MetaFiles) -> Inspected:
    try:
        one.opened = mailbox.read(files)
    except OSError as error:
        one.error = error.strerror or str(error)
    except (MailboxError, LockTimeout) as error:
        one.error = str(error)
    return one
