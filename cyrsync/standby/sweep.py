"""One walk over all that is below a root: it removes leftovers, and notes what Cyrus may not write to."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from cyrsync.cyrus.mailbox.entry import ROOT_TRANSIENT, UPDATES
from cyrsync.errors import error_text
from cyrsync.far import owner_file
from cyrsync.far.folder import join
from cyrsync.far.remove import RENAMED, Removal, Remover
from cyrsync.standby import leftovers
from cyrsync.standby.ownership import Identity
from cyrsync.text import path_text

#: How many of the wrong paths are named.
_FEW = 5
Choose = Callable[[bytes, list[bytes]], list[bytes]]


@dataclass(slots=True)
class Swept:
    """The result, of all roots together."""

    removed: int = 0
    foreign: int = 0
    examples: list[bytes] = field(default_factory=list)
    foreign_roots: list[bytes] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def sweep(root: bytes, choose: Choose, owner: Identity | None, other_roots: Collection[bytes], swept: Swept) -> None:
    """Sweep one root, but not other roots in it. `choose` tells the leftovers in a directory.

    Each directory is opened by its name in the one above, and no symlink is followed.
    """
    foreign = swept.foreign
    remover = Remover(root, keep_times=False, wanted=lambda: True)
    unreadable: list[OSError] = []
    for whole, folders, files, descriptor in os.fwalk(root, onerror=unreadable.append):
        path = whole[len(root) :].strip(b"/")
        if not path:
            remover.remove(leftovers.at_root(descriptor))
        gone = choose(path, files)
        updates = (UPDATES,) if UPDATES in folders else ()
        if gone or updates:
            remover.remove([Removal(path, files=tuple(gone), folders=updates)])
        if owner:
            ours = {owner_file.NAME, *gone}
            staging = () if path else leftovers.STAGING.intersection(folders)
            _look(whole, descriptor, [b".", *sorted({*files, *staging} - ours)], owner, swept)
        left_out = frozenset() if path else ROOT_TRANSIENT | {RENAMED}
        left_out |= {*updates}
        folders[:] = [name for name in folders if name not in left_out and join(whole, name) not in other_roots]
    swept.removed += remover.files + remover.folders
    swept.errors += [f"{path_text(join(root, path))}: {_reason(code)}" for path, code in remover.failed]
    swept.errors += [f"{path_text(root)}: {error_text(error)}" for error in unreadable]
    if swept.foreign > foreign:
        swept.foreign_roots.append(root)


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
