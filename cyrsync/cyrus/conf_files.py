"""The files beside the partitions that a server needs to go on elsewhere: which they are, and where they lie.

What each version keeps where, and what of it another server must have, was gathered from lib/imapoptions,
imap/mboxname.c, imap/quota_db.c and the start of a fresh server from such copies. Left out are what only this machine
has (proc, sockets, locks, log-in caches), what makes the other one do something (msg/shutdown, sync logs), and what
it would believe though it was never told (statuscache.db).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from cyrsync.cyrus.config import Config

#: Databases by their names in imapd.conf, and files of the configdirectory; `mboxlist` goes by itself, last of all.
_DATABASES = ("annotation", "userdeny", "zoneinfo")
_FILES = (b"caldav_alarm.sqlite3", b"fetchnews.db", b"newsrc.db", b"msg/motd")
_SHARED = b"shared."
#: What a database leaves beside itself while it is written, and what goes with a search index that is made anew.
_SCRATCH = (b".NEW", b".lock", b"-journal", b"-wal", b"-shm", b".xapianactive")


class ConfFile(NamedTuple):
    """One file: the root it is sent from, its path below that, and how it looks."""

    root: bytes
    path: bytes
    status: os.stat_result

    @property
    def whole_path(self) -> bytes:
        """Where it is."""
        return os.path.join(self.root, self.path)


class ConfFiles:
    """The files of one server."""

    def __init__(self, config: Config) -> None:
        home = config.configdirectory
        self.mailbox_list = config.database("mboxlist")[1]
        names = [config.database(name)[1] for name in _DATABASES]
        if config.database("quota")[0] != "quotalegacy":
            names.append(config.database("quota")[1])
        self._home = home
        self._files = [*names, *(os.path.join(home, name) for name in _FILES)]
        trees = [home + b"/quota", home + b"/domain", config.userpath + b"/user", config.userpath + b"/domain"]
        trees += [config.sievedir, home + b"/zoneinfo"]
        self._trees = list(dict.fromkeys(trees))
        #: A tree that a link leads to has a root of its own: the replica may have a directory there.
        links = [tree for tree in self._trees if os.path.islink(tree)]
        self._roots = [*links, config.sievedir, config.userpath, home]

    def roots(self) -> tuple[bytes, ...]:
        """Return the directories that files are sent from: those that are there."""
        found = [self._split(tree)[0] for tree in self._trees if os.path.isdir(tree)]
        found += [self._split(name)[0] for name in [self.mailbox_list, *self._files] if os.path.exists(name)]
        return tuple(dict.fromkeys(found))

    def trees(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield root and path of the directories that are taken with all that is below them."""
        for tree in self._trees:
            yield self._split(tree)

    def listed(self, unreadable: dict[bytes, OSError]) -> Iterator[ConfFile]:
        """Yield the files there are but mailboxes.db; directories that cannot be read are put into `unreadable`."""
        for name in self._files:
            yield from self._file(name)
        try:
            names = [os.path.join(self._home, name) for name in os.listdir(self._home) if name.startswith(_SHARED)]
        except OSError as error:
            names, unreadable[self._home] = [], error
        for name in sorted(names):
            yield from self._file(name)
        for tree in self._trees:
            yield from _below(*self._split(tree), unreadable)

    def file(self, name: bytes) -> ConfFile | None:
        """Return one file by its whole path, None if it is not there."""
        return next(self._file(name), None)

    def _file(self, name: bytes) -> Iterator[ConfFile]:
        try:
            status = os.stat(name)
        except (FileNotFoundError, NotADirectoryError):
            return
        if stat.S_ISREG(status.st_mode) and not is_scratch(os.path.basename(name)):
            yield ConfFile(*self._split(name), status)

    def _split(self, name: bytes) -> tuple[bytes, bytes]:
        """Return the root that a name is below of, and its path from there."""
        for root in self._roots:
            if name == root:
                return root, b""
            if name.startswith(root + b"/"):
                return root, name[len(root) + 1 :]
        return os.path.split(name)


def is_scratch(name: bytes) -> bool:
    """Tell whether a file is nobody else's business."""
    return name.startswith(b".") or name.endswith(_SCRATCH)


def _below(root: bytes, path: bytes, unreadable: dict[bytes, OSError]) -> Iterator[ConfFile]:
    """Yield the files and links below a directory; one that is not there at all is no error for the topmost."""
    pending = [path]
    while pending:
        directory = pending.pop()
        try:
            with os.scandir(os.path.join(root, directory)) as entries:
                found = [(entry.name, entry.is_dir(follow_symlinks=False), entry) for entry in entries]
        except OSError as error:
            if directory == path and isinstance(error, FileNotFoundError):
                continue
            unreadable[os.path.join(root, directory)] = error
            continue
        for name, is_directory, entry in found:
            if is_scratch(name):
                continue
            if is_directory:
                pending.append(os.path.join(directory, name))
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
                yield ConfFile(root, os.path.join(directory, name), status)
