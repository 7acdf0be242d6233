"""The stores below the roots of one replica, found by the source's imapd.conf, and held as a run holds them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox import header
from cyrsync.cyrus.server import layout
from cyrsync.cyrus.server.conf_files import ConfFiles
from cyrsync.cyrus.server.config import Config
from cyrsync.ends.address import Address
from cyrsync.ends.stores import Listed
from cyrsync.ends.tree import owner_file_of
from cyrsync.errors import RefusedError, UnusableError
from cyrsync.far.store import FILES, GONE, MAILBOXES, VERSIONS, time_of
from cyrsync.far.unnamed import Removal
from cyrsync.history.owners import UNKNOWN, Owners
from cyrsync.history.retention import Retention, kept, kept_records
from cyrsync.server.replica import Replica
from cyrsync.server.roots import Roots
from cyrsync.sync.options import Options
from cyrsync.sync.ownership import CUT_OFF, hold
from cyrsync.text import path_text, printable

_DATABASES = ("annotation", "mboxlist", "quota", "userdeny", "zoneinfo")
_FILES, _MAILBOXES = FILES + b"/", MAILBOXES + b"/"


@dataclass(slots=True)
class Root:
    """One root of the replica, and what its store has."""

    source: bytes  # its path on the source
    path: bytes  # on the replica's host, links resolved
    promoted: str  # since when a Cyrus of its own is at work there, "" for not
    has_owner_file: bool
    listed: Listed = field(default_factory=Listed)


@dataclass(slots=True)
class Group:
    """Roots whose messages and states belong together: those of a partition. `doubt`: why no message may be removed."""

    roots: list[Root]
    doubt: str = ""
    is_missing: bool = False  # one of the roots is not there


class ReplicaStores:
    """The stores of a replica, as long as it is held."""

    def __init__(self, replica: Replica, config: Config, groups: list[Group], problems: list[str]) -> None:
        self.replica = replica
        self.groups = groups
        self.problems = problems
        self.owners = Owners(config, self._inbox)
        self.config = config
        self._mailbox_list = config.database("mboxlist")[1]
        self._home = config.configdirectory

    @property
    def roots(self) -> list[Root]:
        """All roots that are there."""
        return [root for group in self.groups for root in group.roots]

    @property
    def there(self) -> list[Root]:
        """The roots that have a store."""
        return [root for root in self.roots if root.listed.there]

    @property
    def held(self) -> dict[bytes, bytes]:
        """Who is held in any of the stores, and since when."""
        return {user: text for root in self.roots for user, text in root.listed.held.items()}

    def look(self, *, read: bool = False, brief: bool = False) -> None:
        """See what each store has; with `read`, also which states cannot be read; `brief`, only who is held.

        Raise UnusableError where it cannot be read who is held.
        """
        for group in self.groups:
            for root in group.roots:
                root.listed = self.replica.tree.stores.look(root.path, read=read, brief=brief)
                self.problems += [f"{path_text(path)}: {reason}" for path, reason in root.listed.problems]
                if not root.listed.knows_held:
                    raise UnusableError(f"{self.problems[-1]}: who is held cannot be read")
                for mailbox in root.listed.mailboxes:
                    self.owners.learn(mailbox.states)

    def lack(self) -> str:
        """Return the note for a replica without any store, else ""."""
        if self.there or self.problems:
            return ""
        return f"{self.replica.address.text}: no history is kept there yet: `sync -C --history` begins to keep it"

    def outdated(self, root: Root, retention: Retention, now: float) -> Iterator[Removal]:
        """Yield what is not to stay below a root, except for users who are held."""
        for mailbox in root.listed.mailboxes:
            if self._is_held(self.owners.of_state(state) for state in mailbox.states):
                continue
            names = {time_of(state.name): state.name for state in mailbox.states if not state.name.endswith(GONE)}
            gone = {time_of(state.name): state.name for state in mailbox.states if state.name.endswith(GONE)}
            times = sorted(names)
            stay = kept(times, mailbox.ended, retention, now)
            records = kept_records(gone.keys(), times, stay, mailbox.ended, retention, now)
            lost = [names[one] for one in times if one not in stay] + [gone[one] for one in gone if one not in records]
            yield from (Removal(root.path, _MAILBOXES + mailbox.directory + b"/" + name) for name in lost)
        for file in root.listed.files:
            path = file.path.removesuffix(VERSIONS)
            if self._is_held([self.owners.of_file(root.source, path)]) or self._names_held(root, path):
                continue
            versions: dict[int, list[bytes]] = {}  # one that is packed may be there unpacked, too
            for version in file.versions:
                versions.setdefault(time_of(version), []).append(version)
            stay = kept(sorted(versions), file.ended, retention, now)
            lost = [name for one, some in versions.items() if one not in stay for name in some]
            yield from (Removal(root.path, _FILES + file.path + b"/" + name) for name in lost)

    def damaged(self, root: Root) -> Iterator[Removal]:
        """Yield the states of a root that cannot be read, except for users who are held."""
        wrong = set(root.listed.damaged)
        for mailbox in root.listed.mailboxes:
            if not self._is_held(self.owners.of_state(state) for state in mailbox.states):
                paths = [_MAILBOXES + mailbox.directory + b"/" + state.name for state in mailbox.states]
                yield from (Removal(root.path, path) for path in paths if path in wrong)

    def of_user(self, root: Root, user: str) -> Iterator[Removal]:
        """Yield all of a user's that a root has."""
        for mailbox in root.listed.mailboxes:
            for state in mailbox.states:
                if self.owners.of_state(state) == user:
                    yield Removal(root.path, _MAILBOXES + mailbox.directory + b"/" + state.name)
        for file in root.listed.files:
            if self.owners.of_file(root.source, file.path.removesuffix(VERSIONS)) == user:
                yield from (Removal(root.path, _FILES + file.path + b"/" + name) for name in file.versions)

    def lack_of_files(self) -> str:
        """Return the error for a replica without the files beside the partitions, as with `--no-config`, else ""."""
        if any(root.source == self._home and root.has_owner_file for root in self.roots):
            return ""
        where = path_text(self.replica.path(self._home))
        text = "no run has written there, so users' files and mailboxes.db are not looked for"
        return f"{where}: {text}: mount its disk, or say --no-config if the replica has none of them"

    def nothing_of(self, user: str) -> str:
        """Return the note for a user of whom nothing is kept, else ""."""
        if any(True for root in self.roots for _ in self.of_user(root, user)):
            return ""
        return (
            f"{printable(user)}: nothing of this user is in the history on {self.replica.address.text}: check the name"
        )

    def nobody_knows(self, root: Root) -> Iterator[str]:
        """Yield the states and files of a root whose owner is unknown."""
        for mailbox in root.listed.mailboxes:
            for state in mailbox.states:
                if self.owners.of_state(state) == UNKNOWN:
                    yield path_text(os.path.join(root.path, MAILBOXES, mailbox.directory, state.name))
        for file in root.listed.files:
            if self.owners.of_file(root.source, file.path.removesuffix(VERSIONS)) == UNKNOWN:
                yield path_text(os.path.join(root.path, FILES, file.path))

    def _is_held(self, owners: Iterable[str | None]) -> bool:
        """Tell whether any of the owners is held; one that is not known may be."""
        held = {os.fsdecode(user) for user in self.held}
        return bool(held) and any(owner == UNKNOWN or owner in held for owner in owners)

    def _names_held(self, root: Root, path: bytes) -> bool:
        """Tell whether a file is mailboxes.db, while users are held: it has the names that their mailboxes had."""
        return bool(self.held) and os.path.join(root.source, path) == self._mailbox_list

    def _inbox(self, uniqueid: bytes) -> bytes | None:
        """Return the name of the live mailbox with a uniqueid, by its header."""
        for root in self.roots:
            try:
                path = os.path.join(root.path, layout.uuid_path(uniqueid), kinds.HEADER)
                return header.read(self.replica.tree.read(path)).name
            except (OSError, ValueError):
                continue
        return None


@contextmanager
def opened(
    address: Address, config: Config, options: Options, directory: Path, *, dry_run: bool = False
) -> Iterator[ReplicaStores]:
    """Give the stores of a replica, locked except for a `dry_run`.

    Raise UnusableError if it does not exist, LockedError if a run is at work, RefusedError if it was promoted.
    """
    replica = Replica(address, options, directory)
    try:
        if not replica.agent.resolve(address.path).directory:
            raise UnusableError(f"{address.text}: no such directory: is its disk mounted?")
        problems: list[str] = []
        groups = list(_groups(replica, config, problems))
        paths = [root.path for group in groups for root in group.roots]
        if not paths:
            raise UnusableError(f"{address.text}: no sync -C has made a replica there")
        if not dry_run:
            deadline = time.monotonic() + options.wait
            hold(replica.tree, paths, address.host, deadline, overwrite=False)
            problems.clear()
            groups = list(_groups(replica, config, problems))
            _refuse_promoted(groups)
        yield ReplicaStores(replica, config, groups, problems)
    finally:
        replica.close()


def _refuse_promoted(groups: Iterable[Group]) -> None:
    """Raise RefusedError for what is no replica any more."""
    for root in (root for group in groups for root in group.roots):
        if root.promoted:
            since = f"{path_text(root.path)}: it was promoted at {root.promoted}"
            raise RefusedError(f"{since}: what it has kept as a replica stays as it is")


def _groups(replica: Replica, config: Config, problems: list[str]) -> Iterator[Group]:
    known: set[bytes] = set()
    partitions = [Roots.of(partition).all() for partition in config.partitions.values()]
    for sources in _joined(partitions):
        yield _group(replica, sources, known, problems, expected=True)
    for source in _beside(config):
        yield _group(replica, [source], known, problems, expected=False)


def _group(
    replica: Replica, sources: Sequence[bytes], known: set[bytes], problems: list[str], *, expected: bool
) -> Group:
    """Return the roots of a group that are there; those that are `expected` have an owner file, as runs write it."""
    group = Group([])
    for source in sources:
        status = replica.status(source)
        owner_file = owner_file_of(status)
        if not status.directory or (owner_file is None and expected):
            if expected:
                what = "no owner file, so no run has written there" if status.directory else "no such directory"
                group.doubt = f"{path_text(replica.path(source))}: {what}: is its disk mounted?"
                group.is_missing = True
                problems.append(group.doubt)
            continue
        if owner_file and owner_file.cut_off(status.boot) and not group.doubt:
            group.doubt = f"{path_text(status.root)}: {CUT_OFF}: the next run compares all"
            problems.append(group.doubt)
        if status.root not in known:
            known.add(status.root)
            promoted = owner_file.promoted if owner_file else ""
            group.roots.append(Root(source, status.root, promoted, owner_file is not None))
    return group


def _joined(partitions: Iterable[Sequence[bytes]]) -> list[list[bytes]]:
    """Return the roots of partitions, those of partitions that share one as one group."""
    groups: list[list[bytes]] = []
    for roots in partitions:
        shared = [group for group in groups if not set(group).isdisjoint(roots)]
        groups = [group for group in groups if group not in shared]
        groups.append(list(dict.fromkeys([*(root for group in shared for root in group), *roots])))
    return groups


def _beside(config: Config) -> list[bytes]:
    """Return the directories that files beside the partitions may be sent from."""
    files = ConfFiles(config)
    databases = [os.path.dirname(config.database(name)[1]) for name in _DATABASES]
    trees = [os.path.join(root, path).rstrip(b"/") for root, path in files.trees()]
    return list(dict.fromkeys([config.configdirectory, config.userpath, config.sievedir, *databases, *trees]))
