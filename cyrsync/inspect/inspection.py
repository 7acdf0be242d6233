"""Looking at mailboxes: those of a server by its imapd.conf, or folders by their paths."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from cyrsync.cyrus.mailbox import entry, mailbox
from cyrsync.cyrus.mailbox.locks import LockTimeout
from cyrsync.cyrus.mailbox.mailbox import MailboxError
from cyrsync.cyrus.mailbox.snapshot import MetaFiles, beside
from cyrsync.cyrus.mailbox.user import DELETED
from cyrsync.cyrus.server import layout
from cyrsync.cyrus.server.config import Config
from cyrsync.cyrus.server.db.error import DbError
from cyrsync.cyrus.server.mailboxes import Mailbox
from cyrsync.cyrus.server.names import mailbox_of
from cyrsync.cyrus.server.server import Located, located
from cyrsync.ends.tree import resolve_here
from cyrsync.errors import UnusableError, error_text, hint
from cyrsync.inspect.inspected import Inspected
from cyrsync.text import path_text


def inspect(wanted: list[str], config: Config | None) -> Iterator[Inspected]:
    """Yield the mailboxes and folders that are asked for, in that order, or all mailboxes.

    Without a `config`, only folders can be asked for. Raise UnusableError for one that does not exist.
    """
    known = places(config) if config else Places([], {})
    prefix = config.deletedprefix if config else DELETED
    mounted = _Mounted(config)
    if not wanted:
        yield from (mounted.checked(_located(place, prefix)) for place in known.located)
        yield from (_left_out(*one, prefix) for one in known.left_out.items())
    for name in wanted:
        matching = [place for place in known.located if config and _is_meant(name, place, config)]
        left_out = [one for one in known.left_out.items() if config and os.fsencode(name) in _names(one[0], config)]
        if not (matching or left_out or os.path.isdir(name)):
            raise UnusableError(f"{name}: no such mailbox in mailboxes.db, and no such folder")
        yield from (mounted.checked(_located(place, prefix)) for place in matching)
        yield from (_left_out(*one, prefix) for one in left_out)
        if not (matching or left_out):
            yield _folder(name, prefix)


class _Mounted:
    """Tells of a mailbox that cannot be read whether anything of its partition is there."""

    def __init__(self, config: Config | None) -> None:
        self._config = config
        self._reasons: dict[str, str] = {}  # by partition; "" where something is there

    def checked(self, one: Inspected) -> Inspected:
        """Return the mailbox, with a better reason why it cannot be read."""
        if one.error and one.partition and self._config and one.partition in self._config.partitions:
            if one.partition not in self._reasons:
                self._reasons[one.partition] = self._reason(self._config, one.partition)
            one.error = self._reasons[one.partition] or one.error
        return one

    def _reason(self, config: Config, partition: str) -> str:
        from cyrsync.server.mounted import is_empty  # what few runs need is not loaded by all
        from cyrsync.server.roots import Roots

        root = Roots.of(config.partitions[partition]).homes[entry.INDEX]
        return f"{path_text(root)}: nothing of partition {partition} is there: is it mounted?" if is_empty(root) else ""


class Places(NamedTuple):
    """Where each mailbox of a server lies, and by their names why some are left out."""

    located: list[Located]
    left_out: dict[bytes, str]


def places(config: Config) -> Places:
    """Return where each mailbox of a server lies. Raise UnusableError when mailboxes.db cannot be read."""
    left_out: dict[bytes, str] = {}

    def wrong(mailbox: Mailbox, reason: str) -> None:
        left_out[mailbox.name] = reason

    try:
        found = located(config, left_out=wrong)
        return Places(list(found), left_out)
    except (DbError, OSError) as error:
        raise UnusableError(f"mailboxes.db cannot be read: {hint(error_text(error))}") from None


def _is_meant(name: str, place: Located, config: Config) -> bool:
    given = (*_names(place.mailbox.name, config), place.data, place.meta)
    return os.fsencode(name) in given or place.mailbox.uniqueid == name


def _names(inside: bytes, config: Config) -> tuple[bytes, bytes]:
    return inside, layout.external(inside, config.separator)


def _left_out(name: bytes, reason: str, prefix: bytes) -> Inspected:
    deleted = layout.is_deleted(name, prefix)
    return Inspected(os.fsdecode(name), None, b"", b"", b"", "", deleted, error=reason)


def _located(place: Located, prefix: bytes) -> Inspected:
    known = place.mailbox
    deleted = layout.is_deleted(known.name, prefix)
    name = os.fsdecode(known.name)
    one = Inspected(name, known.partition, place.data, place.meta, place.archive, known.uniqueid, deleted)
    return _opened(one, place.files)


def _folder(name: str, prefix: bytes) -> Inspected:
    path = resolve_here(os.fsencode(name)).root
    one = _opened(Inspected(mailbox_of(path), None, path, path, path, "", deleted=False), beside(path))
    if one.opened and one.opened.header.name:
        one.name = os.fsdecode(one.opened.header.name)
        one.deleted = layout.is_deleted(one.opened.header.name, prefix)
    return one


def _opened(one: Inspected, files: MetaFiles) -> Inspected:
    try:
        one.opened = mailbox.read(files)
    except OSError as error:
        one.error = error.strerror or str(error)
    except (MailboxError, LockTimeout) as error:
        one.error = str(error)
    return one
