"""Which mailboxes and which of the users' files belong to the part of a server that a run is about.

A mailbox's name tells its owner. Of one that mailboxes.db has no more, the state remembers the name; without that the
path tells, or, where directories are named by uniqueid, the header that the replica has. A user's files belong to the
partition of his INBOX.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from cyrsync.cyrus.mailbox.user import may_hold_user, text, user_of
from cyrsync.cyrus.server import layout
from cyrsync.cyrus.server.conf_files import ConfFiles, FileOwner
from cyrsync.cyrus.server.config import Config
from cyrsync.cyrus.server.mailboxes import Mailbox
from cyrsync.errors import GuardError
from cyrsync.state.conf_table import ConfTable
from cyrsync.state.location_table import MailboxName
from cyrsync.state.store import Store
from cyrsync.sync.part import Part

_UUID = b"uuid"


class Selection:
    """The part, and the names that tell what belongs to it."""

    def __init__(self, part: Part, config: Config) -> None:
        """`part` is less than all."""
        self.part = _without_default_domain(part, config)
        #: Whether mailboxes.db is known, and has any mailbox.
        self.has_learned = False
        self._files = ConfFiles(config)
        self._deletedprefix = config.deletedprefix
        self._hashed = config.hashimapspool
        self._users: set[str] = set()
        self._inboxes: dict[str, str] = {}  # user: partition
        self._by_uniqueid: dict[str, str] = {}  # of an INBOX: user

    def learn(self, named: Iterable[MailboxName]) -> None:
        """Learn the names of all mailboxes, and of those that only the replica has."""
        self._users, self._inboxes, self._by_uniqueid = set(), {}, {}
        for one in named:
            self.has_learned |= one.is_live
            user = self.owner(one.name)
            if user is None:
                continue
            if one.is_live:
                self._users.add(user)
            if self._is_inbox(one.name):
                if one.is_live or user not in self._inboxes:
                    self._inboxes[user] = one.key.partition
                if _is_by_uniqueid(one.key.path):
                    self._by_uniqueid[text(one.key.path.rpartition(b"/")[2])] = user

    def knows(self, user: str) -> bool:
        """Tell whether mailboxes.db has a mailbox of a user, even one that waits for cyr_expire."""
        return user in self._users

    def owner(self, name: bytes) -> str | None:
        """Return whose a mailbox is, None for a shared one."""
        user = layout.user_of_name(name, self._deletedprefix)
        return None if user is None else text(user)

    def is_on_replica(self, user: str, store: Store) -> bool:
        """Tell whether the replica has anything of a user's whom mailboxes.db does not know."""
        names = {one.key: one.name for one in store.locations.names()}
        mailboxes = (self._owner_there(row.key.path, names.get(row.key)) for row in store.gone())
        files = (self._owner_of_file(self._files.owner(path)) for path in ConfTable(store.file).seen())
        return user in chain(mailboxes, files)

    def has(self, partition: str, path: bytes, name: bytes | None) -> bool:
        """Tell whether a mailbox belongs to the part, by its name where that is known, and by its path."""
        if name is None and self.part.shard:
            name = layout.name_of_legacy(path, self._hashed)
        return self.part.has(self._owner_there(path, name), partition, name)

    def has_file(self, owner: FileOwner | None) -> bool:
        """Tell whether a file beside the partitions belongs to the part."""
        user = self._owner_of_file(owner)
        return user is not None and self.part.has(user, self._inboxes.get(user, ""))

    def has_path(self, path: bytes) -> bool:
        """Tell whether a file beside the partitions belongs to the part, by its whole path."""
        return self.has_file(self._files.owner(path))

    def concerns(self, mailbox: Mailbox) -> bool:
        """Tell whether a mailbox belongs to the part, by its record in mailboxes.db."""
        return self.part.has(self.owner(mailbox.name), mailbox.partition, mailbox.name)

    def may_have(self, partition: str, path: bytes, name: bytes | None) -> bool:
        """Tell whether a directory, or one below it, may belong to the part, as far as name and path tell."""
        if name is not None or not self.part.is_by_name:
            return self.has(partition, path, name)
        owner = user_of(path)
        may_hold = self.part.may_have_of(owner) if owner is not None else _is_by_uniqueid(path) or self._may_hold(path)
        return may_hold and self.part.may_have(partition)

    def has_all_below(self, path: bytes) -> bool:
        """Tell whether all that is below a directory belongs to the part, if that itself does."""
        return self.part.has_all_below(user_of(path))

    def is_known(self, path: bytes, name: bytes | None) -> bool:
        """Tell whether name and path tell if a mailbox belongs to the part."""
        return name is not None or not self.part.is_by_name or not _is_by_uniqueid(path)

    def _may_hold(self, path: bytes) -> bool:
        """Tell whether a directory that is no user's may have something of the part below it."""
        return not self.part.users or may_hold_user(path, self.part.users)

    def _owner_there(self, path: bytes, name: bytes | None) -> str | None:
        return self.owner(name) if name is not None else user_of(path)

    def _owner_of_file(self, owner: FileOwner | None) -> str | None:
        """Return the user whose file it is, None where that is nobody's, or not known."""
        return (owner.user or self._by_uniqueid.get(owner.uniqueid)) if owner else None

    def _is_inbox(self, name: bytes) -> bool:
        local = name.rpartition(b"!")[2].split(b".")
        return len(local) == 2 or (len(local) == 4 and layout.is_deleted(name, self._deletedprefix))


def _is_by_uniqueid(path: bytes) -> bool:
    return (path + b"/").startswith(_UUID + b"/")


def _without_default_domain(part: Part, config: Config) -> Part:
    """Return the part with users as mailboxes.db has them: those of the default domain have none."""
    default = "@" + text(config.defaultdomain)
    if config.virtdomains == "off" or default == "@":
        return part
    return part._replace(users=frozenset(user.removesuffix(default) for user in part.users))


def check_users(selection: Selection, store: Store, source: str, *, delete: bool) -> None:
    """Raise GuardError for a user whom mailboxes.db does not know; but one whom the replica has may be deleted there.

    `source` is what the error calls the server.
    """
    if not selection.has_learned:
        return  # no mailbox at all: whoever guards the whole will say so
    for user in sorted(selection.part.users):
        if selection.knows(user) or (delete and selection.is_on_replica(user, store)):
            continue
        if delete:
            raise GuardError(f"{source}: neither mailboxes.db nor the replica has anything of {user}: check the name")
        advice = "check the name, or give --delete if the user was deleted"
        raise GuardError(f"{source}: mailboxes.db has no mailbox of {user}: {advice}")
