"""Pruning the stores of a replica, holding a user in them, and forgetting one: what the commands do."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from cyrsync.errors import Exit, RefusedError, UnusableError, UsageError
from cyrsync.far.held import LONGEST, file_name
from cyrsync.far.prune import Swept
from cyrsync.far.store import FILES
from cyrsync.far.unnamed import Removal
from cyrsync.history.erase import erase
from cyrsync.history.replica_stores import ReplicaStores, Root
from cyrsync.history.retention import Retention
from cyrsync.text import human_seconds, path_text, printable

#: Seconds by which two clocks may differ.
_MOST_BEHIND = 3600.0


@dataclass(slots=True)
class Pruned:
    """What was removed, or would be; `to_json` is the schema of `prune --json` and of `forget --json`."""

    destination: str
    dry_run: bool = False
    user: str | None = None  # who was forgotten
    states: int = 0  # of mailboxes, removed
    states_kept: int = 0
    files: int = 0  # versions of other files, removed
    files_kept: int = 0
    rewritten: int = 0  # files that name others, too, without who was forgotten
    messages: int = 0  # removed from the pool
    size: int = 0  # bytes of these
    messages_unnamed: int = 0  # that no state needs, within their grace
    messages_kept: int = 0
    pieces: int = 0
    held: list[str] = field(default_factory=list)
    #: Notes that are no errors: printed with the counts.
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def exit(self) -> int:
        """Return the exit code."""
        return Exit.PARTIAL if self.errors else Exit.DONE

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` prints."""
        user: dict[str, Any] = {} if self.user is None else {"user": self.user, "rewritten": self.rewritten}
        return {
            "destination": self.destination,
            **user,
            "dry_run": self.dry_run,
            "states": {"removed": self.states, "kept": self.states_kept},
            "files": {"removed": self.files, "kept": self.files_kept},
            "messages": {
                "removed": self.messages,
                "bytes": self.size,
                "unnamed": self.messages_unnamed,
                "kept": self.messages_kept,
            },
            "pieces": self.pieces,
            "held": self.held,
            "warnings": [*self.notes, *self.warnings],
            "errors": self.errors,
            "exit": self.exit,
        }

    def count(self, root: Root, removals: Iterable[Removal]) -> None:
        """Count what is removed of a root, and what stays."""
        every = [removal.path.startswith(FILES + b"/") for removal in removals]
        files = every.count(True)
        self.states += len(every) - files
        self.files += files
        self.states_kept += sum(len(mailbox.states) for mailbox in root.listed.mailboxes) - len(every) + files
        self.files_kept += sum(len(file.versions) for file in root.listed.files) - files

    def take(self, swept: Swept, problems: list[tuple[bytes, str]]) -> None:
        """Add the result of one partition."""
        self.messages += swept.messages
        self.size += swept.bytes
        self.messages_unnamed += swept.unnamed
        self.messages_kept += max(swept.pool - swept.messages, 0)
        self.pieces += swept.pieces
        self.add_errors(f"{path_text(path)}: {reason}" for path, reason in problems)

    def add_errors(self, errors: Iterable[str]) -> None:
        """Add what went wrong, each thing once."""
        self.errors += [error for error in dict.fromkeys(errors) if error not in self.errors]


def prune(
    stores: ReplicaStores,
    retention: Retention,
    result: Pruned,
    *,
    grace: int,
    now: float,
    discard_damaged: bool,
    tell: Callable[[int], object],
) -> None:
    """Remove what is not to stay, partition by partition. Raise UnusableError if a clock is wrong."""
    behind = abs(stores.replica.tree.about().time - now)
    if behind > _MOST_BEHIND:
        raise UnusableError(
            f"{stores.replica.address.text}: its clock differs from the one here by {human_seconds(behind)}: "
            "the age of what is kept is unknown"
        )
    stores.look(read=discard_damaged)
    result.notes += filter(None, [stores.lack()])
    result.add_errors(stores.problems)
    result.held = sorted(printable(os.fsdecode(user)) for user in stores.held)
    for group in stores.groups:
        removals = []
        for root in group.roots:
            found = list(stores.outdated(root, retention, now))
            if discard_damaged:
                found = list(dict.fromkeys([*found, *stores.damaged(root)]))
            result.count(root, found)
            removals += found
        roots = [root.path for root in group.roots if root.listed.there]
        if roots:
            wrong = any(root.listed.problems for root in group.roots)
            result.take(
                *stores.replica.tree.stores.prune(
                    *(roots, removals),
                    grace=grace,
                    dry_run=result.dry_run,
                    sweep=not (group.doubt or wrong),
                    tell=tell,
                )
            )


def hold(stores: ReplicaStores, user: str, by: str, since: str) -> None:
    """Exempt a user from pruning. Raise UnusableError where a store cannot be written."""
    text = json.dumps({"since": since, "by": by})
    _refuse_missing(stores)
    wrong = stores.replica.tree.stores.hold(_paths(stores.roots), _name(user), text)
    if wrong:
        raise UnusableError(wrong)


def release(stores: ReplicaStores, user: str) -> None:
    """End the hold of a user. Raise UnusableError if the user is not held."""
    _refuse_missing(stores)
    wrong, number = stores.replica.tree.stores.release(_paths(stores.roots), _name(user))
    if wrong:
        raise UnusableError(wrong)
    if not number:
        raise UnusableError(f"{printable(user)}: not held on {stores.replica.address.text}")


@dataclass(frozen=True, slots=True)
class Held:
    """A user who is held; since when and by whom, "" where that is not known."""

    user: str
    since: str
    by: str

    def to_json(self) -> dict[str, str | None]:
        """Return the object that `hold --list --json` prints."""
        return {"user": self.user, "since": self.since or None, "by": self.by or None}


def held(stores: ReplicaStores) -> list[Held]:
    """Return who is held."""
    found = []
    for user, text in sorted(stores.held.items()):
        try:
            said = json.loads(text)
            found.append(Held(os.fsdecode(user), str(said["since"]), str(said["by"])))
        except (ValueError, KeyError, TypeError):
            found.append(Held(os.fsdecode(user), "", ""))
    return found


def forget(
    stores: ReplicaStores,
    user: str,
    result: Pruned,
    *,
    by: str,
    now: str,
    with_conf: bool,
    tell: Callable[[int], object],
) -> None:
    """Erase all that the stores have of a user, and note that; `with_conf`: the replica has more than partitions.

    Raise RefusedError for one who is held.
    """
    stores.look()
    _refuse_missing(stores)
    if stores.lack():
        raise UnusableError(stores.lack())
    result.add_errors(stores.problems)
    if _name(user) in stores.held:
        raise RefusedError(f"{printable(user)}: held: `cyrsync hold --release` ends that, nothing was erased")
    found = {root.path: list(stores.of_user(root, user)) for root in stores.roots}
    for root in stores.roots:
        result.count(root, found[root.path])
        unknown = f"it is unknown whose this is: remove it, if it is {printable(user)}'s"
        result.add_errors(f"{path}: {unknown}" for path in stores.nobody_knows(root))
    erased = erase(stores, user, frozenset().union(*found.values()), tell)
    result.rewritten = erased.rewritten
    nothing = "" if erased.rewritten else stores.nothing_of(user)
    result.warnings += filter(None, [nothing, *erased.warnings])
    result.add_errors(filter(None, [stores.lack_of_files() if with_conf else "", *erased.errors]))
    there = _paths(stores.there)
    for group in stores.groups:
        roots = [root.path for root in group.roots if root.listed.there]
        if roots:
            removals = [removal for root in roots for removal in found[root]]
            wrong = any(root.listed.problems for root in group.roots)
            sweep = not (group.doubt or wrong)
            result.take(*stores.replica.tree.stores.forget(roots, removals, sweep=sweep, tell=tell))
    counts = {"states": result.states, "files": result.files, "rewritten": result.rewritten}
    counts |= {"messages": result.messages, "bytes": result.size}
    line = {"user": user, "when": now, "by": by, **counts, "complete": not result.errors}
    wrong_records = stores.replica.tree.stores.record(there, json.dumps(line))
    result.add_errors([wrong_records] if wrong_records else ())


def _refuse_missing(stores: ReplicaStores) -> None:
    """Raise UnusableError if a root is missing: then nothing can be said about all of them."""
    for group in stores.groups:
        if group.is_missing:
            raise UnusableError(group.doubt)


def _paths(roots: Iterable[Root]) -> list[bytes]:
    return [root.path for root in roots]


def _name(user: str) -> bytes:
    name = os.fsencode(user)
    if not name or b"\0" in name or b"/" in name or len(file_name(name)) > LONGEST:
        raise UsageError(f"{printable(user)}: no name of a user")
    return name
