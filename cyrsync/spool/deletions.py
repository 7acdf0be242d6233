"""What plans delete: for who deletes it, and by the names that rsync would print. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far.folder import join
from cyrsync.far.remove import Removal
from cyrsync.far.uids import file_names
from cyrsync.sync.folder_plan import FolderPlan, State


def removals(plans: list[FolderPlan]) -> Iterator[Removal]:
    """Yield what is to be removed: files in all folders, then folders that are gone."""
    for plan in plans:
        if plan.state is not State.GONE:
            files = tuple(name for name in plan.leftovers if name != kinds.UPDATES)
            folders = (kinds.UPDATES,) if kinds.UPDATES in plan.leftovers else ()
            yield Removal(plan.path, plan.delete_uids, (*plan.delete_files, *files), folders)
    for plan in plans:
        if plan.spares:
            yield Removal(plan.path, files=tuple(name for name in _names(plan) if name != kinds.UPDATES))
        elif plan.state is State.GONE and not plan.inside_gone:
            parent, _, name = plan.path.rpartition(b"/")
            yield Removal(parent, folders=(name,))


def paths(removed: Iterable[Removal]) -> Iterator[bytes]:
    """Yield the paths of what is removed, folders with a slash behind."""
    for removal in removed:
        for name in (*file_names(removal.uids), *removal.files):
            yield join(removal.path, name)
        for name in removal.folders:
            yield join(removal.path, name) + b"/"


def entries(plans: Iterable[FolderPlan]) -> Iterator[bytes]:
    """Yield the paths of all that these plans delete, folders with a slash behind, in the order that rsync does it.

    That is folder by folder, in each from the end of the alphabet to its beginning, and sub-folders before files.
    """
    here: dict[bytes, list[bytes]] = {}
    below: dict[bytes, list[bytes]] = {}
    for plan in plans:
        here[plan.path] = sorted(_names(plan), reverse=True)
        if plan.state is State.GONE and not plan.spares:
            below.setdefault(plan.path.rpartition(b"/")[0], []).append(plan.path)
    whole = {path for paths in below.values() for path in paths}
    tops = {*here, *below} - whole
    for path in sorted(tops, key=_rsync_key):
        yield from _deleted(path, here, below)


def _deleted(path: bytes, here: dict[bytes, list[bytes]], below: dict[bytes, list[bytes]]) -> Iterator[bytes]:
    pending = [(path, False)]
    while pending:
        folder, done = pending.pop()
        if done:
            for name in here.get(folder, ()):
                yield join(folder, name)
            if folder != path:
                yield folder + b"/"
        else:
            pending.append((folder, True))
            pending += [(one, False) for one in sorted(below.get(folder, ()), key=_rsync_key)]


def _rsync_key(path: bytes) -> bytes:
    """Return what rsync sorts directories by (flist.c, f_name_cmp)."""
    return path + b"/"


def _names(plan: FolderPlan) -> list[bytes]:
    """Return the names of the files that a plan deletes in its folder."""
    if plan.state is not State.GONE:
        return [*file_names(plan.delete_uids), *plan.delete_files, *plan.leftovers]
    there = plan.replica
    return [] if there is None else [
        *file_names(there.messages.uids), *there.messages.nonstandard,
        *there.metadata, *there.other_files, *there.leftovers,
    ]  # fmt: skip
