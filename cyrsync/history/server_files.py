"""The files of a tree beside its mailboxes, as they are or were: mailboxes.db, and what users have of their own."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace

from cyrsync.cyrus.mailbox.user import text
from cyrsync.cyrus.server import layout
from cyrsync.cyrus.server.conf_files import ConfFiles, FileOwner
from cyrsync.cyrus.server.db.error import DbError
from cyrsync.errors import error_text
from cyrsync.history.choose import Request
from cyrsync.history.destinations import as_on_disk
from cyrsync.history.outcome import Outcome
from cyrsync.history.target import Target
from cyrsync.history.tree import Tree
from cyrsync.text import path_text

#: What they are restored below, under their paths on the server; no mailbox's directory has a dot in its name.
_TOP = b"server.files"


@dataclass(frozen=True, slots=True)
class ServerFile:
    """A file, by its path in the tree; of a symbolic link also what it says."""

    path: bytes
    link: bytes = b""


def of(tree: Tree, request: Request, outcome: Outcome) -> list[ServerFile]:
    """Return the files of the user who is asked for, or all; none where a mailbox or a message is asked for.

    What cannot be listed is an error of the `outcome`.
    """
    if request.mailbox is not None or request.message is not None:
        return []
    if tree.config is None:
        outcome.warnings.append(f"{path_text(tree.top)}: the users' files are found by its imapd.conf alone: -C FILE")
        return []
    files = ConfFiles(tree.config)
    wanted = _Wanted(tree, request.user) if request.user is not None else None
    found: dict[bytes, ServerFile] = {}
    unreadable: dict[bytes, OSError] = {}
    try:
        for one in files.listed(unreadable, wanted):
            path = one.whole_path
            found[path] = ServerFile(path, os.readlink(path) if stat.S_ISLNK(one.status.st_mode) else b"")
        kept = set(tree.past.paths()) if tree.past else set()
        for path in kept:
            if files.above(path) and (wanted is None or wanted(files.owner(path))):
                found.setdefault(path, ServerFile(path))
        if tree.past is not None:
            had = [one for path, one in found.items() if tree.past.had(path)]
            found = {one.path: replace(one, link=tree.past.link(one.path, one.link)) for one in had}
        if wanted is None and (files.mailbox_list in kept or os.path.lexists(tree.place(files.mailbox_list))):
            found[files.mailbox_list] = ServerFile(files.mailbox_list)
    except OSError as error:
        outcome.errors.append(error_text(error))
    outcome.errors += [f"{path_text(path)}: {error_text(error)}" for path, error in unreadable.items()]
    return [found[path] for path in sorted(found)]


class _Wanted:
    """Tells whether a file is a user's."""

    def __init__(self, tree: Tree, user: str) -> None:
        self._user = user
        self._uniqueids = {
            place.mailbox.uniqueid
            for place in tree.mailboxes
            if text(layout.user_of_name(place.mailbox.name, tree.deletedprefix) or b"") == user
        }

    def __call__(self, owner: FileOwner | None) -> bool:
        if owner is None:
            return False
        return owner.uniqueid in self._uniqueids if owner.uniqueid else owner.user == self._user


def write(tree: Tree, files: list[ServerFile], target: Target, outcome: Outcome) -> None:
    """Restore files; one that cannot be read costs only itself. Raise NotWritten."""
    for one in files:
        name = path_text(one.path)
        *above, last = as_on_disk((_TOP, *one.path[len(tree.top) :].strip(b"/").split(b"/")))
        if one.link and (b"/" in one.link or one.link in (b".", b"..")):
            outcome.warnings.append(f"{name}: a link that leads to another directory is left out")
            continue
        try:
            found = None if one.link else tree.contents(one.path)
        except (OSError, DbError) as error:
            reason = error.reason if isinstance(error, DbError) else error.strerror
            outcome.errors.append(f"{name}: {reason}")
            continue
        folder = target.directory(above)
        try:
            if found is None:
                target.link(folder, last, one.link)
            else:
                target.write(folder, last, [found[0]], found[1])
        finally:
            os.close(folder)
        outcome.files += 1
