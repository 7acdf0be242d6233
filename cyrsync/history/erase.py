"""Erasing a user's name from what stays of a history: kept databases, others' subscriptions, others' mailboxes.

What others have written themselves, as messages and Sieve scripts, stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.server import erasing
from cyrsync.cyrus.server.conf_files import ConfFiles
from cyrsync.cyrus.server.db import flat, reader
from cyrsync.cyrus.server.db.error import DbError
from cyrsync.errors import error_text
from cyrsync.far.store import FILES, MAILBOXES, STORE, VERSIONS
from cyrsync.far.unnamed import Removal
from cyrsync.text import path_text, printable

if TYPE_CHECKING:
    from cyrsync.history.replica_stores import ReplicaStores, Root

#: In a mailboxes.db from which somebody's records were erased: so that it is not empty, and says what it is.
_ERASED = (b"$CYRSYNC", b"records of users who were forgotten are erased")
_FILES, _MAILBOXES = FILES + b"/", MAILBOXES + b"/"
#: Returns the records that stay.
_Erase = Callable[[erasing.Pairs, erasing.Person], erasing.Pairs]


@dataclass(slots=True)
class Erased:
    """How many files were rewritten; notes that are no errors; and what may still have the name."""

    rewritten: int = 0
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def erase(stores: ReplicaStores, user: str, removed: frozenset[Removal], tell: Callable[[int], object]) -> Erased:
    """Erase a user from what stays in the stores of a replica; `removed` is what is removed anyway, the user's own."""
    erasure = _Erasure(stores, user, removed)
    for root in stores.there:
        erasure.erase(root, tell)
    return erasure.result


class _Erasure:
    def __init__(self, stores: ReplicaStores, user: str, removed: frozenset[Removal]) -> None:
        self.result = Erased()
        self._tree = stores.replica.tree.stores
        self._user = printable(user)
        self._removed = removed
        every = [mailbox for root in stores.roots for mailbox in root.listed.mailboxes]
        uniqueids = [one.directory for one in every if user in map(stores.owners.of_state, one.states)]
        self._person = stores.owners.person(user, uniqueids)
        config = stores.config
        self._files = ConfFiles(config)
        self._databases: dict[bytes, _Erase] = {
            config.database("quota")[1]: erasing.of_quotas,
            config.database("annotation")[1]: erasing.of_annotations,
            config.database("userdeny")[1]: erasing.of_denied,
        }

    def erase(self, root: Root, tell: Callable[[int], object]) -> None:
        """Erase the user from what stays in one store."""
        every = (path for path in self._paths(root) if Removal(root.path, path) not in self._removed)
        paths, unreadable = self._tree.mentioning(root.path, list(every), self._person.words, tell)
        self.result.errors += [self._left(path, reason) for path, reason in unreadable]
        for path in paths:
            whole = os.path.join(root.path, STORE, path)
            try:
                data = self._tree.kept(root.path, path)
                new = self._without(data, root, path, whole)
                if new != data:
                    self._tree.rewrite(root.path, path, new)
                    self.result.rewritten += 1
            except (OSError, DbError, ValueError) as error:
                reason = error.reason if isinstance(error, DbError) else error_text(error)
                self.result.errors.append(self._left(whole, reason))

    def _paths(self, root: Root) -> Iterator[bytes]:
        """Yield the paths in a store of states, and of versions that may name others than their owner."""
        for mailbox in root.listed.mailboxes:
            yield from (_MAILBOXES + mailbox.directory + b"/" + state.name for state in mailbox.states)
        for file in root.listed.files:
            source = os.path.join(root.source, file.path.removesuffix(VERSIONS))
            databases = (*self._databases, self._files.mailbox_list, self._files.alarms)
            if source in databases or self._files.is_subscriptions(source):
                yield from (_FILES + file.path + b"/" + name for name in file.versions)

    def _without(self, data: bytes, root: Root, path: bytes, whole: bytes) -> bytes:
        """Return what a file has without the user. Raise DbError, and ValueError if it cannot be read."""
        directory, name = os.path.split(path)
        source = os.path.join(root.source, directory[len(_FILES) :].removesuffix(VERSIONS))
        if name == kinds.HEADER:
            return erasing.of_header(data, self._person)
        if name == kinds.ANNOTATIONS:
            return self._database(data, erasing.of_annotations)
        if source == self._files.mailbox_list:
            return self._mailbox_list(data, whole)
        if source == self._files.alarms:
            raise DbError("it is no database that can be rewritten")
        return self._database(data, self._databases.get(source, erasing.of_subscriptions))

    def _mailbox_list(self, data: bytes, whole: bytes) -> bytes:
        pairs = reader.records(data, b"")
        stay, unreadable = erasing.of_mailboxes(pairs, self._person)
        if unreadable:
            keys = ", ".join(repr(key)[2:-1] for key in unreadable)
            what = f"records that cannot be read, and may name {self._user}, are erased: {keys}"
            self.result.warnings.append(f"{path_text(whole)}: {what}")
        # What Cyrus can make anew has such keys.
        return self._written(data, [pair for pair in pairs if not pair[0].startswith(b"$")], stay, _ERASED)

    def _database(self, data: bytes, erase: _Erase) -> bytes:
        if not data:
            return data  # nothing was left of it by the last user who was forgotten
        pairs = reader.records(data, b"")
        return self._written(data, pairs, erase(pairs, self._person))

    def _written(self, data: bytes, pairs: erasing.Pairs, stay: erasing.Pairs, *more: tuple[bytes, bytes]) -> bytes:
        """Return a database of the engine flat that has what stays; what there is if nothing of it is lost.

        Other engines have for long what was deleted in them: then the name is in there more often.
        """
        new = flat.written([*stay, *more])
        if stay == pairs and all(data.count(word) <= new.count(word) for word in self._person.words):
            return data
        return new

    def _left(self, path: bytes, reason: str) -> str:
        """Return what to do about something that may still name the user."""
        of_state = os.path.basename(path) in (kinds.HEADER, kinds.ANNOTATIONS)
        where = path_text(os.path.dirname(path) if of_state else path)
        return f"{where}: it may still name {self._user}: {reason}: remove it, and run `cyrsync forget` again"
