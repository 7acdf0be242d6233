"""Whose a kept state is, or a version of a file: by the mailbox's name in its header, else by where it lay."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable

from cyrsync.cyrus.mailbox.user import text, user_of
from cyrsync.cyrus.server import layout
from cyrsync.cyrus.server.conf_files import ConfFiles
from cyrsync.cyrus.server.config import Config
from cyrsync.cyrus.server.erasing import Person
from cyrsync.ends.stores import KeptState

#: The owner of what belongs to an unknown user.
UNKNOWN = ""
_UUID = b"uuid/"
#: What `versions_of` makes of a name that is too long.
_HASHED = re.compile(rb"x[0-9a-f]{40}")


class Owners:
    """Tells the owners of states and files; None for nobody's, as of a shared mailbox."""

    def __init__(self, config: Config, inbox: Callable[[bytes], bytes | None]) -> None:
        """`inbox` returns the name of the mailbox that has a uniqueid on the replica, None for none."""
        self._files = ConfFiles(config)
        self._deletedprefix = config.deletedprefix
        self._hashed = config.hashimapspool
        self._defaultdomain = b"" if config.virtdomains == "off" else config.defaultdomain
        self._inbox = inbox
        self._by_uniqueid: dict[str, str] = {}

    def learn(self, states: Iterable[KeptState]) -> None:
        """Learn the uniqueids of the users' INBOXes: users' files are named by them."""
        for state in states:
            if state.mailbox and state.folder.startswith(_UUID) and state.mailbox.count(b".") == 1:
                user = self.of_name(state.mailbox)
                if user:
                    self._by_uniqueid[text(state.folder.rpartition(b"/")[2])] = user

    def of_name(self, name: bytes) -> str | None:
        """Return whose a mailbox is, by its name."""
        user = layout.user_of_name(name, self._deletedprefix)
        return None if user is None else text(user)

    def person(self, user: str, uniqueids: Iterable[bytes]) -> Person:
        """Return what a user is known by in Cyrus's records."""
        name = os.fsencode(user)
        called = {name, name + b"@" + self._defaultdomain} if self._defaultdomain and b"@" not in name else {name}
        local = name.partition(b"@")[0]
        return Person(
            lambda mailbox: self.of_name(mailbox) == user,
            frozenset(called),
            tuple({local, local.replace(b".", b"^")}),
            frozenset(uniqueids),
        )

    def of_state(self, state: KeptState) -> str | None:
        """Return whose a mailbox was in a state."""
        if state.mailbox:
            return self.of_name(state.mailbox)
        if not state.folder or state.folder.startswith(_UUID):
            return UNKNOWN
        if state.folder == b".":
            return None
        name = layout.name_of_legacy(state.folder, self._hashed)
        return user_of(state.folder) if name is None else self.of_name(name)

    def of_file(self, root: bytes, path: bytes) -> str | None:
        """Return whose a file is: by its root on the source, and its path below that."""
        owner = self._files.owner(os.path.join(root, path))
        if owner is None and _HASHED.fullmatch(os.path.basename(path)):
            return UNKNOWN
        if owner is None or owner.user:
            return owner.user if owner else None
        if owner.uniqueid not in self._by_uniqueid:
            name = self._inbox(os.fsencode(owner.uniqueid))
            self._by_uniqueid[owner.uniqueid] = (self.of_name(name) if name else None) or UNKNOWN
        return self._by_uniqueid[owner.uniqueid]


def plain_user(user: str, config: Config) -> str:
    """Return a user's name in Cyrus: users of the default domain have none."""
    default = "@" + text(config.defaultdomain)
    return user if config.virtdomains == "off" or default == "@" else user.removesuffix(default)
