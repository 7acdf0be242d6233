"""A version that is replaced, killed anywhere, is the old one or the new one, and the next run replaces it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cyrsync.far import versions
from cyrsync.far.stored import StoreReader
from support.made_store import MadeStore, ago

OLD, NEW = b"user.joe\tx\n" * 1000, b"user.eve\tx\n" * 900
KILLED = 7
CALLS = ("fsync", "rename", "unlink", "write")


def found(root: Path) -> list[tuple[str, bytes]]:
    """What readers see of each version file."""
    directory = root / ".cyrsync-history" / "files" / "mailboxes.db.versions"
    names = [name for name in sorted(os.listdir(directory)) if not name.startswith(".")]
    store = StoreReader(os.fsencode(root))
    return [(name, versions.read(store, b"files/mailboxes.db.versions/" + name.encode())) for name in names]


def replace_all(root: Path) -> None:
    store = StoreReader(os.fsencode(root))
    for name, data in found(root):
        if data == OLD:
            versions.replace(store, b"files/mailboxes.db.versions/" + name.encode(), NEW)


def killed_before(number: int, work: Callable[[], None]) -> bool:
    child = os.fork()
    if child:
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert ended in (0, KILLED)
        return ended == KILLED
    calls = [0]

    def dying(kept: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **options: Any) -> Any:
            if calls[0] == number:
                os._exit(KILLED)
            calls[0] += 1
            return kept(*words, **options)

        return call

    try:
        for name in CALLS:
            setattr(os, name, dying(getattr(os, name)))
        work()
        os._exit(0)
    finally:
        os._exit(1)


@pytest.mark.parametrize("packed", ["", "gz", "pieces"])
def test_killed_anywhere(tmp_path: Path, packed: str) -> None:
    number, killed = 0, True
    while killed:
        root = tmp_path / str(number)
        MadeStore(root).version("mailboxes.db", ago(3), OLD, packed=packed)
        killed = killed_before(number, lambda root=root: replace_all(root))  # type: ignore[misc]
        assert {data for _, data in found(root)} <= {OLD, NEW}
        assert found(root)
        replace_all(root)
        ((name, data),) = found(root)
        assert (name.endswith("Z.gz"), data) == (True, NEW)
        number += 1
    assert number > 3


def test_a_list_that_leads_elsewhere_is_none(tmp_path: Path) -> None:
    path = MadeStore(tmp_path).version("mailboxes.db", ago(3), OLD, packed="pieces")
    path.write_bytes(b"../../../../etc/passwd\n")
    with pytest.raises(ValueError, match="no list of pieces"):
        found(tmp_path)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    path = MadeStore(tmp_path).version("mailboxes.db", ago(3), OLD)
    path.unlink()
    path.symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="ymbolic"):
        found(tmp_path)
