"""A version that is replaced, killed anywhere, is the old one or the new one, and the next run replaces it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cyrsync.far import versions
from cyrsync.far.stored import StoreReader
from support.killed import killed_before
from support.made_store import MadeStore, ago

OLD, NEW = b"user.joe\tx\n" * 1000, b"user.eve\tx\n" * 900
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


@pytest.mark.parametrize("packed", ["", "gz", "pieces"])
def test_killed_anywhere(tmp_path: Path, packed: str) -> None:
    number, killed = 0, True
    while killed:
        root = tmp_path / str(number)
        MadeStore(root).version("mailboxes.db", ago(3), OLD, packed=packed)
        killed = killed_before(number, lambda root=root: replace_all(root), CALLS)  # type: ignore[misc]
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
