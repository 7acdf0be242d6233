"""The owner files of a replica when it is promoted: held, read, and marked, so that no cyrsync writes to it again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone

from cyrsync.errors import LockedError, UnusableError, error_text
from cyrsync.far import owner_file
from cyrsync.far.hold import Holds
from cyrsync.far.owner_file import UNOWNED, OwnerFile
from cyrsync.sync.ownership import said_of
from cyrsync.text import path_text

_LOOK_AGAIN = 0.2  # seconds
#: Directories that are looked into for a replica: the DEST of a server has it some levels down.
_LOOKS = 2000


@dataclass(slots=True)
class OwnerFiles:
    """The owner files of the roots."""

    owner_files: dict[bytes, OwnerFile] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def owned(self) -> dict[bytes, OwnerFile]:
        """The owner files that name an owner: those of the walk name none."""
        return {root: one for root, one in self.owner_files.items() if one.source}

    @property
    def newest(self) -> OwnerFile | None:
        """The owner file of the last run of `sync -C` that wrote here."""
        return max(self.owned.values(), key=lambda one: (one.begun, one.run), default=None)

    @property
    def complete(self) -> float:
        """When the last run began that left nothing undone at any root, 0.0 for never or unknown."""
        return min((one.complete for one in self.owned.values()), default=0.0)

    @property
    def cut_off(self) -> bool:
        """Whether the last run was cut off."""
        return any(one.writing or (one.begun > 0.0 and one.ended == 0.0) for one in self.owner_files.values())


@contextmanager
def held(roots: Sequence[bytes], wait: float) -> Iterator[None]:
    """Lock the roots; wait up to so many seconds for runs to end. Raise LockedError if one is still at work."""
    deadline = time.monotonic() + wait
    with closing(Holds()) as holds:
        while busy := holds.hold(roots):
            if time.monotonic() >= deadline:
                raise LockedError(said_of(busy, None, "stop it, if it is a run's, on the master"))
            time.sleep(_LOOK_AGAIN)
        yield


def read(roots: Sequence[bytes]) -> OwnerFiles:
    """Return what the owner files say. Raise UnusableError where one cannot be read."""
    found = OwnerFiles()
    for root in roots:
        try:
            one = owner_file.read(root)
        except owner_file.NewerVersion:
            name = path_text(os.path.join(root, owner_file.NAME))
            raise UnusableError(f"{name}: written by a newer cyrsync: run that, or one that is as new") from None
        except ValueError:
            found.warnings.append(f"{path_text(root)}: its owner file is damaged, and is made again")
        except OSError as error:
            raise UnusableError(f"{path_text(os.path.join(root, owner_file.NAME))}: {error_text(error)}") from None
        else:
            if one:
                found.owner_files[root] = one
    found.warnings += _doubts(roots, found.owned)
    return found


def _doubts(roots: Sequence[bytes], owner_files: dict[bytes, OwnerFile]) -> Iterator[str]:
    if not owner_files:
        yield "there is no owner file: no sync -C has made this replica, so its source and its age are not known"
        return
    lacking = [path_text(root) for root in roots if root not in owner_files]
    if lacking:
        yield f"no owner file, so no sync -C has written there: {', '.join(lacking)}"
    said: dict[tuple[str, int], list[str]] = {}
    for root, one in owner_files.items():
        said.setdefault((one.replica, one.run), []).append(path_text(root))
    if len(said) > 1:
        groups = "; ".join(f"{', '.join(paths)} (run {run})" for (_, run), paths in sorted(said.items()))
        yield f"these are not of one replica and one run: {groups}"


def replica_below(tree: bytes) -> bytes | None:
    """Return the root of a replica that lies below a tree without an owner file; None where a short look finds none."""
    level = [tree]
    looks = 0
    while level:
        below: list[bytes] = []
        for directory in level:
            looks += 1
            with suppress(OSError), os.scandir(directory) as entries:
                for entry in entries:
                    if entry.name == owner_file.NAME and directory != tree:
                        return directory
                    if entry.is_dir(follow_symlinks=False):
                        below.append(entry.path)
            if looks == _LOOKS:
                return None
        level = below
    return None


def doubtful(found: OwnerFiles) -> list[bytes]:
    """Return the roots where names prove nothing, see `OwnerFile.cut_off`."""
    boot = owner_file.boot_id()
    return [root for root, one in found.owner_files.items() if one.cut_off(boot)]


def promote(roots: Sequence[bytes], found: OwnerFiles, *, compared: bool) -> str:
    """Mark all roots and return since when they are: the first time counts. Raise UnusableError where it fails.

    All messages will be `compared` with their indexes then, or what is doubtful stays so.
    """
    earlier = sorted(one.promoted for one in found.owner_files.values() if one.promoted)
    since = earlier[0] if earlier else datetime.now(timezone.utc).isoformat(timespec="seconds")
    doubts = [] if compared else doubtful(found)
    for root in roots:
        one = found.owner_files.get(root, UNOWNED)
        try:
            for _ in range(2):  # in both slots: should one be damaged, the other does not tell otherwise
                owner_file.write(root, one._replace(promoted=since, writing="", doubtful=root in doubts))
        except OSError as error:
            raise UnusableError(f"{path_text(root)}: it cannot be marked as promoted: {error_text(error)}") from None
    return since
