"""The folders that a run of the walk writes to: after a power cut of the replica's host, names prove nothing there.

A small file for each pair, on the disk before the run says on the replica that it is writing. It counts only as long as
the replica has the name that this run gave it (`OwnerFile.replica`): whoever else writes there gives it another one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from cyrsync.cyrus.mailbox import regular_file
from cyrsync.far import whole_file


def note(state: Path, key: str, replica: str, folders: Iterable[bytes]) -> None:
    """Note what a run of a pair is about to write to, its `replica` by that name. Raise OSError."""
    directory = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        name = os.fsencode(_path(state, key).name)
        whole_file.replace(name, b"\0".join([replica.encode(), *folders]), directory, name + b".new")
        os.fsync(directory)
    finally:
        os.close(directory)


def recall(state: Path, key: str, replica: str) -> frozenset[bytes] | None:
    """Return what the last run was writing to, None if nobody knows."""
    with suppress(OSError):
        name, *folders = regular_file.read(bytes(_path(state, key))).split(b"\0")
        return frozenset(folders) if name == replica.encode() else None
    return None


def forget(state: Path, key: str) -> None:
    """Note that all is on the replica's disks, or that the run may write to any folder. Raise OSError."""
    _path(state, key).unlink(missing_ok=True)


def _path(state: Path, key: str) -> Path:
    return state / f"{key}.writing"
