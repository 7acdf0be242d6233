"""A tree that holds a server's mail: a replica, a snapshot or a mounted backup of one, or the server's own disks.

Each of the server's directories lies in it under its own path. What these are, the server's imapd.conf tells; without
one, TREE is looked through for mailboxes.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from cyrsync.cyrus.mailbox import entry, regular_file, snapshot
from cyrsync.cyrus.mailbox.snapshot import MetaFiles
from cyrsync.cyrus.mailbox.user import DELETED
from cyrsync.cyrus.server import CONF
from cyrsync.cyrus.server import config as imapd_conf
from cyrsync.cyrus.server.config import Config, ConfigError
from cyrsync.cyrus.server.db import reader
from cyrsync.cyrus.server.db.error import DbError
from cyrsync.cyrus.server.mailboxes import Mailbox
from cyrsync.cyrus.server.server import Located, located
from cyrsync.errors import UnusableError, error_text
from cyrsync.history import by_directory
from cyrsync.history.mailbox_files import MailboxFiles
from cyrsync.history.rooted import is_within, rooted
from cyrsync.sync.progress import NoProgress, Reporter
from cyrsync.text import path_text

#: Bytes of an imapd.conf.
_LARGEST = 1 << 20


class Past(Protocol):
    """How a tree was at some time: it replaces what is in the tree now."""

    def mailboxes(self) -> list[Located]:
        """Return the mailboxes that there were. Raise UnusableError where nothing is known of any."""

    def files(self, place: Located) -> MailboxFiles:
        """Return the files of a mailbox. Raise OSError, LockTimeout, Unreadable."""

    def database(self, path: bytes) -> list[tuple[bytes, bytes]]:
        """Return the pairs of one of Cyrus's databases. Raise OSError, DbError."""

    def paths(self) -> Iterator[bytes]:
        """Yield the paths in the tree of the files beside the mailboxes that are kept. Raise OSError."""

    def had(self, path: bytes) -> bool:
        """Tell whether there was such a file, as far as is known."""

    def link(self, path: bytes, now: bytes) -> bytes:
        """Return what a symbolic link said, b"" where it was a file; `now` is what it says now. Raise OSError."""

    def contents(self, path: bytes) -> tuple[bytes, int]:
        """Return what was in a file, and when it was changed last, in seconds since 1970. Raise OSError, DbError."""

    def unknown(self, reason: str) -> str:
        """Return why something is not found, with the time, and from when on something is known."""


@dataclass(frozen=True)
class Tree:
    """One tree, as it is or was, and the imapd.conf that leads through it, if there is any."""

    top: bytes  # absolute, links resolved
    config: Config | None
    warnings: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)  # directories in which there may be more mailboxes
    reporter: Reporter = field(default_factory=NoProgress)  # told while mailboxes are looked for
    past: Past | None = None  # None: as it is now

    @cached_property
    def mailboxes(self) -> list[Located]:
        """All mailboxes that have a directory here. Raise UnusableError where there is none."""
        if self.past is not None:
            return self.past.mailboxes()
        found = self._mailboxes()
        if not found:
            if self.unreadable:
                raise UnusableError(f"{self.unreadable[0]}: no mailboxes can be read")
            raise UnusableError(
                f"{path_text(self.top)}: no mailboxes: is its disk mounted, and is it the server's whole tree? "
                "-C FILE names the server's imapd.conf"
            )
        return found

    @property
    def deletedprefix(self) -> bytes:
        """What the names of deleted mailboxes begin with."""
        return self.config.deletedprefix if self.config else DELETED

    def roots(self) -> list[bytes]:
        """Return the directories that must not be written to."""
        if self.top != b"/" or self.config is None:
            return [self.top]
        partitions = self.config.partitions.values()
        roots = [root for one in partitions for root in (one.data, one.meta, one.archive, *one.elsewhere.values())]
        return [self.config.configdirectory, *roots]

    def place(self, path: bytes) -> bytes:
        """Return where a path that lies in the tree leads, without leaving the tree. Raise OSError."""
        return rooted(self.top, path[len(self.top) :]) if self.top != b"/" else path

    def files(self, place: Located) -> MailboxFiles:
        """Return the files of a mailbox, read under Cyrus's locks. Raise OSError, LockTimeout, Unreadable."""
        if self.past is not None:
            return self.past.files(place)
        placed = self.placed(place)
        # All that only those write who hold the same locks.
        also = os.path.join(self._directory(place, "annotations"), entry.ANNOTATIONS)
        parts, _ = snapshot.parts(placed.files, [also])
        for path in (placed.files.header_path, placed.files.index_path):
            if path not in parts:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

        def places(uid: int, _guid: bytes | None, archived: bool) -> tuple[bytes, ...]:
            return message_places(placed, uid, archived)

        metadata = {os.path.basename(path): part.data for path, part in parts.items()}
        return MailboxFiles(metadata, place.data, self.caches(place), places)

    def database(self, path: bytes) -> list[tuple[bytes, bytes]]:
        """Return the pairs of one of Cyrus's databases. Raise OSError, DbError."""
        return self.past.database(path) if self.past is not None else reader.read(self.place(path))

    def contents(self, path: bytes) -> tuple[bytes, int]:
        """Return what is in a file beside the mailboxes, and when it was changed. Raise OSError, DbError."""
        if self.past is not None:
            return self.past.contents(path)
        placed = self.place(path)
        if self.config and path == self.config.database("mboxlist")[1]:
            data, status = reader.stable(placed)
            return data, int(status.st_mtime)
        descriptor, status = regular_file.opened(placed)
        try:
            return regular_file.contents(descriptor), int(status.st_mtime)
        finally:
            os.close(descriptor)

    def placed(self, place: Located) -> Located:
        """Return a mailbox with its directories as they are in the tree. Raise OSError."""
        data, meta, archive = (self.place(path) for path in (place.data, place.meta, place.archive))
        files = MetaFiles(*[path and self._in_directory(path) for path in place.files])
        return place._replace(data=data, meta=meta, archive=archive, files=files)

    def caches(self, place: Located) -> tuple[bytes, bytes]:
        """Return where a mailbox's cache is, and that of its archived messages. Raise OSError."""
        main, archived = (self._directory(place, word) for word in ("cache", "archivecache"))
        return os.path.join(main, b"cyrus.cache"), os.path.join(archived, b"cyrus.cache")

    def _directory(self, place: Located, word: str) -> bytes:
        """Return where a kind of metadata lies, a word of metapartition_files. Raise OSError."""
        partition = self.config.partitions.get(place.mailbox.partition) if self.config else None
        if partition is None:
            return self.place(os.path.dirname(place.files.index_path))
        return self.place(os.path.join(partition.root_of(word), place.data[len(partition.data) :].lstrip(b"/")))

    def _in_directory(self, path: bytes) -> bytes:
        """Return a file's path; itself it may not be a link, which whoever opens it sees to."""
        directory, name = os.path.split(path)
        return os.path.join(self.place(directory), name)

    def _mailboxes(self) -> list[Located]:
        if self.config is None:
            return list(by_directory.anywhere(self.top, self.unreadable.append, self.reporter))
        database = self.config.database("mboxlist")[1]
        try:
            records = reader.read(self.place(database))
            return by_records(self.config, records, self.warnings, self._by_directory)
        except FileNotFoundError:
            reason = "no such file"
        except (DbError, OSError) as error:
            reason = error.reason if isinstance(error, DbError) else error_text(error)
        self.warnings.append(f"{path_text(database)}: {reason}: mailboxes are looked for by their directories")
        return list(self._by_directory(self.config))

    def _by_directory(self, config: Config) -> Iterator[Located]:
        return by_directory.in_partitions(config, self.unreadable.append, self.reporter)


def by_records(
    config: Config,
    records: list[tuple[bytes, bytes]],
    warnings: list[str],
    otherwise: Callable[[Config], Iterator[Located]],
) -> list[Located]:
    """Return the mailboxes that the records of a mailboxes.db name. Raise OSError.

    Those whose record cannot be read, or leads to no directory, are looked for `otherwise`, and `warnings` say so.
    """
    left_out: dict[bytes, str] = {}

    def wrong(mailbox: Mailbox, reason: str) -> None:
        left_out[mailbox.name] = reason

    found = list(located(config, records, wrong))
    warnings += [f"{path_text(name)}: {reason}" for name, reason in left_out.items()]
    return found + [one for one in otherwise(config) if one.mailbox.name in left_out] if left_out else found


def message_places(place: Located, uid: int, archived: bool) -> tuple[bytes, ...]:
    """Return where the file of a message may be in its mailbox's directories, in the order to look."""
    # Where the flag does not lead: a message may be moving, or archive_enabled may have been changed.
    roots = (place.archive, place.data) if archived else (place.data, place.archive)
    return tuple(dict.fromkeys(os.path.join(root, b"%d." % uid) for root in roots))


def open_tree(top: bytes, conf: str | None) -> Tree:
    """Return the tree at a directory; `conf` names its server's imapd.conf, a file of this machine.

    Without, it is the one below the tree, else that of this machine if it leads to anything in the tree. Raise
    UnusableError for no directory, or an imapd.conf that cannot be understood.
    """
    if not os.path.isdir(top):
        raise UnusableError(f"{path_text(top)}: no such directory: is its disk mounted?")
    top = os.path.realpath(top)
    try:
        config = _config(top, conf)
    except ConfigError as error:
        raise UnusableError(str(error)) from None
    if config is None and top == b"/":
        raise UnusableError(f"{CONF}: no such file: name the server's imapd.conf with -C FILE")
    return Tree(top, config)


def _config(top: bytes, conf: str | None) -> Config | None:
    if conf is not None:
        return _moved(imapd_conf.read(conf), top)
    own = rooted(top, os.fsencode(CONF))
    if os.path.isfile(own):
        return _moved(imapd_conf.read(CONF, load=lambda name: regular_file.read(rooted(top, name), _LARGEST)), top)
    if top != b"/" and os.path.isfile(CONF):
        here = _moved(imapd_conf.read(CONF), top)
        homes = [here.configdirectory, *(one.data for one in here.partitions.values())]
        return here if any(map(os.path.isdir, homes)) else None
    return None


def _moved(config: Config, top: bytes) -> Config:
    """Return the imapd.conf with its paths below the tree; those that lead there as they are stay so."""

    def place(path: bytes) -> bytes:
        try:
            moved = rooted(top, path)
        except OSError:
            return path
        real = os.path.realpath(path)
        return real if is_within(real, top) and not os.path.lexists(moved) else moved

    return imapd_conf.moved(config, place)
