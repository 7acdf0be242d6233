"""The files beside the partitions that a server needs to go on elsewhere: which they are, and where they lie.

What each version keeps where, and what of it another server must have, was gathered from lib/imapoptions,
imap/mboxname.c, imap/quota_db.c and the start of a fresh server from such copies. Left out are what only this machine
has (proc, sockets, locks, log-in caches), what makes the other one do something (msg/shutdown, sync logs), and what
it would believe though it was never told (statuscache.db).
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from cyrsync.cyrus.mailbox.user import text
from cyrsync.cyrus.server.config import Config
from cyrsync.cyrus.server.layout import user_of_name
from cyrsync.cyrus.server.links import refuse_foreign

#: Databases by their names in imapd.conf, and files of the configdirectory; `mboxlist` is sent by itself, last of all.
_DATABASES = ("annotation", "userdeny", "zoneinfo")
_FILES = (b"fetchnews.db", b"newsrc.db", b"msg/motd")
_SHARED = b"shared."
#: Files that will get another name, and what a database leaves beside itself while it is written.
_NEW = b".NEW"
_MINUTE = 60.0  # seconds
_SCRATCH = (_NEW, b".lock", b"-journal", b"-wal", b"-shm")
#: What belongs to a search index, which is made anew: `joe.xapianactive`, or by itself in a directory of the user's.
_SEARCH = (b".xapianactive", b"/xapianactive.db")


class ConfFile(NamedTuple):
    """One file: the root it is sent from, its path below that, and how it looks."""

    root: bytes
    path: bytes
    status: os.stat_result

    @property
    def whole_path(self) -> bytes:
        """Where it is."""
        return os.path.join(self.root, self.path)


class FileOwner(NamedTuple):
    """Whose a file is, as far as its path tells: either is empty."""

    user: str = ""
    uniqueid: str = ""  # of the user's INBOX


class ConfFiles:
    """The files of one server."""

    def __init__(self, config: Config) -> None:
        home, userpath = config.configdirectory, config.userpath
        self._config = config
        self._home = home
        self.mailbox_list = config.database("mboxlist")[1]
        names = [config.database(name)[1] for name in _DATABASES]
        #: When to remind whom of what in whose calendars.
        self.alarms = config.raw("caldav_alarm_db_path") or home + b"/caldav_alarm.sqlite3"
        names.append(self.alarms)
        # Of quotalegacy's path Cyrus takes the directory.
        kind, quotas = config.database("quota")
        names += [] if kind == "quotalegacy" else [quotas]
        quota_home = os.path.dirname(quotas)
        #: Where `shared.counters` and the like may be.
        self._homes = tuple(dict.fromkeys([home, userpath]))
        self._files = tuple(dict.fromkeys([*names, *(os.path.join(home, name) for name in _FILES)]))
        trees = [quota_home + b"/quota", quota_home + b"/domain", home + b"/domain"]
        trees += [userpath + b"/user", userpath + b"/domain", config.sievedir, home + b"/zoneinfo"]
        self._trees = tuple(dict.fromkeys(trees))
        shapes = (_of_quota, _of_domain, _of_domain, _of_user, _of_domain, _of_sieve)
        #: How to read paths below them; of two that lie in each other, the inner one first.
        self._shapes = sorted(zip(trees, shapes, strict=False), key=lambda one: -len(one[0]))
        #: What is listed by itself, and not as a part of a tree that it lies in.
        self._apart = frozenset([*self._trees, *self._files, self.mailbox_list])
        #: A tree that a link leads to has a root of its own: the replica may have a directory there.
        links = [tree for tree in self._trees if os.path.islink(tree)]
        self._roots = [*links, config.sievedir, userpath, quota_home, home]

    def roots(self) -> tuple[bytes, ...]:
        """Return the directories that files are sent from: those that are there."""
        found = [self._split(tree)[0] for tree in self._trees if os.path.isdir(tree)]
        found += [self._split(name)[0] for name in [self.mailbox_list, *self._files] if os.path.exists(name)]
        return tuple(dict.fromkeys(found))

    def trees(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield root and path of the directories that are sent with all that is below them."""
        for tree in self._trees:
            yield self._split(tree)

    def named(self) -> tuple[bytes, ...]:
        """Return the whole paths of the files that have names of their own, whether they are there or not."""
        return self._files

    def may_be_link(self, name: bytes) -> bool:
        """Tell whether a file has a name of its own, where people put links to where there is room; by its whole path.

        Others lie in a tree, below directories that are no links.
        """
        directory, last = os.path.split(name)
        return name in self._files or name == self.mailbox_list or (directory in self._homes and is_shared(last))

    def is_subscriptions(self, path: bytes) -> bool:
        """Tell whether a file, by its whole path, has somebody's subscriptions, or those of shared mailboxes."""
        directory, name = os.path.split(path)
        if directory in self._homes:
            return name == _SHARED + b"sub"
        is_in_tree = any(path.startswith(tree + b"/") for tree in self._trees)
        return is_in_tree and not _is_quota(path) and (name == b"sub.db" or name.endswith(b".sub"))

    def homes(self) -> tuple[bytes, ...]:
        """Return the directories that files of no user are in, see `is_shared`."""
        return self._homes

    def owner(self, path: bytes) -> FileOwner | None:
        """Return whose a file or a directory is, with all that is below it; None for nobody's alone."""
        for tree, shape in self._shapes:
            if path.startswith(tree + b"/"):
                return shape(path[len(tree) + 1 :].split(b"/"))
        return None

    def listed(
        self, unreadable: dict[bytes, OSError], wanted: Callable[[FileOwner | None], bool] | None = None
    ) -> Iterator[ConfFile]:
        """Yield the files there are but mailboxes.db; what cannot be read is put into `unreadable`.

        With `wanted`, only the files of users whom that takes.
        """
        if wanted is None:
            yield from self._by_name(unreadable)
        for tree in self._trees:
            yield from self._below(*self._split(tree), unreadable, wanted)

    def of(self, paths: Iterable[bytes], unreadable: dict[bytes, OSError]) -> Iterator[ConfFile]:
        """Yield those files that `listed` would find, of some in trees, given by their whole paths; and nobody's."""
        yield from self._by_name(unreadable)
        is_real: dict[bytes, bool] = {}
        for path in paths:
            tree = max((tree for tree in self._trees if path.startswith(tree + b"/")), key=len, default=None)
            try:
                if tree is None or path in self._apart or is_scratch(path) or not _is_below(path, tree, is_real):
                    continue
                status = os.lstat(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                unreadable[path] = error
                continue
            if stat.S_ISREG(status.st_mode) and not _is_on_the_way(path, status):
                yield ConfFile(*self._split(path), status)

    def _by_name(self, unreadable: dict[bytes, OSError]) -> Iterator[ConfFile]:
        names = list(self._files)
        for home in self._homes:
            try:
                names += sorted(os.path.join(home, name) for name in os.listdir(home) if is_shared(name))
            except OSError as error:
                unreadable[home] = error
        for name in names:
            try:
                yield from self._file(name)
            except OSError as error:
                unreadable[name] = error

    def above(self, name: bytes) -> bytes | None:
        """Return the directory by which to tell that a file is gone: None for a file that nobody looks for now."""
        directory, last = os.path.split(name)
        if name in self._files or (directory in self._homes and is_shared(last)):
            # Of the configdirectory's own ones, some were alone where they were.
            return self._home if name.startswith(self._home + b"/") else directory
        return max((tree for tree in self._trees if name.startswith(tree + b"/")), key=len, default=None)

    def file(self, name: bytes) -> ConfFile | None:
        """Return one file by its whole path, None if it is not there, or not to be seen."""
        with suppress(OSError):
            return next(self._file(name), None)
        return None

    def refuse_foreign(self, path: bytes, opened: os.stat_result) -> None:
        """Raise OSError if a link leads to what was opened, and to what only root may read."""
        refuse_foreign(path, opened, self._config)

    def _is_refused(self, directory: bytes, unreadable: dict[bytes, OSError]) -> bool:
        """Tell whether a directory is not to be listed."""
        try:
            self.refuse_foreign(directory, os.stat(directory))
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                unreadable[directory] = error
            return True
        return False

    def _file(self, name: bytes) -> Iterator[ConfFile]:
        """Yield a file, if it is there. Raise OSError where that is not to be seen, as for a link to nowhere."""
        try:
            status = os.stat(name)
        except (FileNotFoundError, NotADirectoryError):
            if os.path.islink(name):
                raise
            return
        if stat.S_ISREG(status.st_mode) and not is_scratch(name):
            self.refuse_foreign(name, status)
            yield ConfFile(*self._split(name), status)

    def _split(self, name: bytes) -> tuple[bytes, bytes]:
        """Return the root that a name is below of, and its path from there."""
        for root in self._roots:
            if name == root:
                return root, b""
            if name.startswith(root + b"/"):
                return root, name[len(root) + 1 :]
        return os.path.split(name)

    def _below(
        self,
        root: bytes,
        path: bytes,
        unreadable: dict[bytes, OSError],
        wanted: Callable[[FileOwner | None], bool] | None,
    ) -> Iterator[ConfFile]:
        """Yield the files and links below a directory; one that is not there at all is no error for the topmost."""
        top = os.path.join(root, path) if path else root
        pending = [] if self._is_refused(top, unreadable) else [top]
        while pending:
            directory = pending.pop()
            for entry in _entries(directory, unreadable, is_top=directory == top):
                if entry.path in self._apart:
                    continue
                is_directory = entry.is_dir(follow_symlinks=False)
                if wanted:
                    owner = self.owner(entry.path)
                    if not wanted(owner) and not (is_directory and owner is None):
                        continue
                if is_directory:
                    pending.append(entry.path)
                elif not is_scratch(entry.path):
                    status = _status(entry, unreadable)
                    if status and not _is_on_the_way(entry.path, status):
                        yield ConfFile(root, entry.path[len(root) + 1 :], status)


def _is_below(path: bytes, tree: bytes, known: dict[bytes, bool]) -> bool:
    """Tell whether no link leads from a tree to a path below it; what is `known` of directories is kept there."""
    directory = os.path.dirname(path)
    if directory == tree:
        return True
    if directory not in known:
        known[directory] = _is_below(directory, tree, known) and stat.S_ISDIR(os.lstat(directory).st_mode)
    return known[directory]


def _of_user(parts: list[bytes], domain: bytes = b"") -> FileOwner | None:
    """`L/joe.sub`, or by the uniqueid of INBOX."""
    if parts[0] == b"uuid":
        return _of_uuid(parts)
    name = parts[1].rpartition(b".")[0] if len(parts) > 1 else b""
    return _of_name(b"user." + name.replace(b".", b"^"), domain) if name else None


def _of_quota(parts: list[bytes], domain: bytes = b"") -> FileOwner | None:
    """`L/user.joe.Sent`, each the name of a mailbox."""
    return _of_name(parts[1], domain) if len(parts) == 2 else None


def _of_sieve(parts: list[bytes]) -> FileOwner | None:
    """`L/joe/...` or `domain/L/example.com/L/joe/...`, or by the uniqueid of INBOX."""
    if parts[0] == b"uuid":
        return _of_uuid(parts)
    domain = b""
    if parts[0] == b"domain" and len(parts) > 3:
        domain, parts = parts[2], parts[3:]
    if len(parts) < 2 or len(parts[0]) != 1:
        return None  # `global/...`
    return _of_name(b"user." + parts[1].replace(b".", b"^"), domain)


def _of_domain(parts: list[bytes]) -> FileOwner | None:
    """`L/example.com/user/...` and `L/example.com/quota/...`."""
    shape = {b"user": _of_user, b"quota": _of_quota}.get(parts[2]) if len(parts) > 3 else None
    return shape(parts[3:], parts[1]) if shape else None


def _of_uuid(parts: list[bytes]) -> FileOwner | None:
    return FileOwner(uniqueid=text(parts[3])) if len(parts) > 3 else None


def _of_name(name: bytes, domain: bytes) -> FileOwner | None:
    user = user_of_name(domain + b"!" + name if domain else name)
    return FileOwner(user=text(user)) if user else None


def is_shared(name: bytes) -> bool:
    """Tell whether a file beside the directories of users is one of theirs who are no users."""
    return name.startswith(_SHARED)


def is_scratch(name: bytes) -> bool:
    """Tell whether a file, by its whole path, is nobody else's business."""
    if os.path.basename(name).startswith(b"."):
        return True
    return not _is_quota(name) and name.endswith((*_SCRATCH, *_SEARCH))


def _is_quota(name: bytes) -> bool:
    """Tell whether a file has the name of a mailbox, which a user may have chosen: those in quota/j have."""
    return os.path.basename(os.path.dirname(os.path.dirname(name))) == b"quota"


def _is_on_the_way(name: bytes, status: os.stat_result) -> bool:
    """Tell whether a quota is just being written: one that stays is of a mailbox that is called NEW."""
    return name.endswith(_NEW) and status.st_mtime > time.time() - _MINUTE


def _entries(directory: bytes, unreadable: dict[bytes, OSError], *, is_top: bool) -> list[os.DirEntry[bytes]]:
    """Return what may be ours in a directory; one that is not there at all is no error for the topmost."""
    try:
        with os.scandir(directory) as entries:
            return [e for e in entries if e.name[:1] != b"." and not (is_top and e.name == b"lost+found")]
    except OSError as error:
        if not (is_top and isinstance(error, FileNotFoundError)):
            unreadable[directory] = error
        return []


def _status(entry: os.DirEntry[bytes], unreadable: dict[bytes, OSError]) -> os.stat_result | None:
    """Return how a file or a link looks, None for what is neither, or not there any more."""
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        unreadable[entry.path] = error
        return None
    return status if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode) else None
