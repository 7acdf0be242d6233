"""What a walk has synced before it writes: what others have left there, and nobody knows of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from cyrsync.ends.child_tree import ChildTree
from cyrsync.far import owner_file
from cyrsync.far.owner_file import UNOWNED, boot_id
from cyrsync.sync.ownership import WalkOwnership


@pytest.mark.parametrize(
    ("state", "synced"), [("nothing", 0), ("files", 1), ("a run is over", 0), ("a run was killed", 1)]
)
def test_what_is_synced_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, synced: int) -> None:
    root = bytes(tmp_path)
    if state != "nothing":
        (tmp_path / "file").write_bytes(b"another's")
    if state.startswith("a run"):
        writing = boot_id() if state == "a run was killed" else ""
        owner_file.write(root, UNOWNED._replace(replica="one", writing=writing))
    syncs: list[Sequence[bytes]] = []
    tree = ChildTree()
    monkeypatch.setattr(tree, "to_disk", syncs.append)
    ownership = WalkOwnership(tree.writer, tree.resolve(root))
    assert ownership.begin() == ""
    found = owner_file.read(root)
    assert (syncs, bool(found and found.writing)) == ([[root]] * synced, True)
    assert ownership.end(compared=False)
    assert syncs == [[root]] * (synced + 1)
