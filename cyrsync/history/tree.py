"""A tree that holds a server's mail: a replica, a snapshot or a mounted backup of one, or the server's own disks.

Each of the server's directories lies in it under its own path. What these are, the server's imapd.conf tells; without
one, TREE is looked through for mailboxes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property

from cyrsync.cyrus.mailbox import regular_file
from cyrsync.cyrus.server import config as imapd_conf
from cyrsync.cyrus.server.config import Config, ConfigError
from cyrsync.cyrus.server.db import reader
from cyrsync.cyrus.server.db.error import DbError
from cyrsync.cyrus.server.mailboxes import Mailbox as Record
from cyrsync.cyrus.server.server import Located, located
from cyrsync.errors import UnusableError, error_text
from cyrsync.history import by_directory
from cyrsync.history.rooted import is_within, rooted
from cyrsync.sync.progress import NoProgress, Reporter
from cyrsync.text import path_text

#: Where Cyrus itself looks.
CONF = b"/etc/imapd.conf"
#: Bytes of an imapd.conf.
_LARGEST = 1 << 20


@dataclass(frozen=True)
class Tree:
    """One tree, and the imapd.conf that leads through it, if there is any."""

    top: bytes  # absolute, links resolved
    config: Config | None
    warnings: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)  # directories in which there may be more mailboxes
    reporter: Reporter = field(default_factory=NoProgress)  # told while mailboxes are looked for

    @cached_property
    def mailboxes(self) -> list[Located]:
        """All mailboxes that have a directory here. Raise UnusableError where there is none."""
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
        return self.config.deletedprefix if self.config else b"DELETED"

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

    def _mailboxes(self) -> list[Located]:
        if self.config is None:
            return list(by_directory.anywhere(self.top, self.unreadable.append, self.reporter))
        database = self.config.database("mboxlist")[1]
        try:
            records = reader.read(self.place(database))
            return list(located(self.config, records, self._leads_nowhere))
        except FileNotFoundError:
            reason = "no such file"
        except (DbError, OSError) as error:
            reason = error.reason if isinstance(error, DbError) else error_text(error)
        self.warnings.append(f"{path_text(database)}: {reason}: mailboxes are looked for by their directories")
        return list(by_directory.in_partitions(self.config, self.unreadable.append, self.reporter))

    def _leads_nowhere(self, mailbox: Record) -> None:
        self.warnings.append(f"{path_text(mailbox.name)}: its record in mailboxes.db leads to no directory")


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
        raise UnusableError(f"{path_text(CONF)}: no such file: name the server's imapd.conf with -C FILE")
    return Tree(top, config)


def _config(top: bytes, conf: str | None) -> Config | None:
    if conf is not None:
        return _moved(imapd_conf.read(conf), top)
    own = rooted(top, CONF)
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
