"""Messages of a renamed mailbox take their new place, in directories that look as those around them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cyrsync.far import uids
from cyrsync.far.relink import Move, relink
from support.tools import requires_root


def test_directories_that_are_made_look_as_those_that_they_are_in(tmp_path: Path) -> None:
    """The mailbox may be gone before it is sent: then nobody else gives them their attributes."""
    requires_root()
    root, old = tmp_path / "spool", tmp_path / "spool/j/user/joe"
    old.mkdir(parents=True)
    for number in (1, 2):
        (old / f"{number}.").write_text("x")
    os.chown(root, 65534, 65533)
    root.chmod(0o750)
    new = b"q/DELETED/user/joe/5F3A1B2C"
    (there,) = relink([Move((bytes(root), b"j/user/joe"), (bytes(root), new), uids.of([1, 2]))])
    assert list(there) == [1, 2]
    path = root / os.fsdecode(new)
    while path != root:
        status = path.stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (65534, 65533, 0o750), path
        path = path.parent
    assert sorted(os.listdir(root)) == ["j", "q"]
