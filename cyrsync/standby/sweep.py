"""One walk over all that is below a root: it removes leftovers, and notes what Cyrus may not write to."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from cyrsync.cyrus.mailbox.entry import ROOT_TRANSIENT, UPDATES
from cyrsync.far import owner_file
from cyrsync.far.descent import Descent
from cyrsync.far.folder import join
from cyrsync.far.remove import RENAMED, Removal, Remover
from cyrsync.far.store import STORE
from cyrsync.standby import leftovers
from cyrsync.standby.ownership import Identity
from cyrsync.text import path_text

#: How many of the wrong paths are named.
_FEW = 5
Choose = Callable[[bytes, list[bytes]], list[bytes]]
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(slots=True)
class Swept:
    """The result, of all roots together."""

    removed: int = 0
    foreign: int = 0
    examples: list[bytes] = field(default_factory=list)
    foreign_roots: list[bytes] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def sweep(root: bytes, choose: Choose, owner: Identity | None, other_roots: Collection[bytes], swept: Swept) -> None:
    """Sweep one root, but not other roots in it, nor its history, which Cyrus has nothing to do with.

    `choose` tells the leftovers in a directory.

    Each directory is opened by its name in the one above, however deep it lies, and no symlink is followed.
    """
    foreign = swept.foreign
    remover, descent = Remover(root, keep_times=False, wanted=lambda: True), Descent(root)
    pending = [b""]
    while pending:
        path = pending.pop()
        whole = os.path.join(root, path) if path else root
        try:
            descriptor = os.open(b".", _LIST, dir_fd=descent.open(path))
            try:
                if not path:
                    remover.remove(leftovers.at_root(descriptor))
                folders, files = _names(descriptor)
                gone = choose(path, files)
                updates = (UPDATES,) if UPDATES in folders else ()
                if gone or updates:
                    remover.remove([Removal(path, files=tuple(gone), folders=updates)])
                if owner:
                    staging = () if path else leftovers.STAGING.intersection(folders)
                    names = {*files, *staging} - {owner_file.NAME, *gone}
                    _look(whole, descriptor, [b".", *sorted(names)], owner, swept)
            finally:
                os.close(descriptor)
        except OSError as error:
            swept.errors.append(f"{path_text(whole)}: {error.strerror}")
            continue
        left_out = {*updates} if path else {*updates, *ROOT_TRANSIENT, RENAMED, STORE}
        below = [name for name in folders if name not in left_out and join(whole, name) not in other_roots]
        pending += [join(path, name) for name in reversed(below)]
    descent.close()
    swept.removed += remover.files + remover.folders
    swept.errors += [f"{path_text(join(root, path))}: {_reason(code)}" for path, code in remover.failed]
    if swept.foreign > foreign:
        swept.foreign_roots.append(root)


def _names(directory: int) -> tuple[list[bytes], list[bytes]]:
    """Return the names of the folders and of the other files in an open directory, without links to directories."""
    folders, files = [], []
    with os.scandir(directory) as entries:
        for entry in entries:
            name = os.fsencode(entry.name)
            if entry.is_dir(follow_symlinks=False):
                folders.append(name)
            elif not entry.is_dir():
                files.append(name)
    return folders, files


def _look(directory: bytes, descriptor: int, names: Iterable[bytes], owner: Identity, swept: Swept) -> None:
    """Note what Cyrus may not write to, the directory itself as `.`."""
    for name in names:
        try:
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if owner.owns(status):
            continue
        swept.foreign += 1
        if len(swept.examples) < _FEW:
            swept.examples.append(directory if name == b"." else join(directory, name))


def _reason(code: int) -> str:
    return os.strerror(code) if code else "a hidden file, which is left alone"
