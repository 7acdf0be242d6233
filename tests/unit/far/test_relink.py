"""Messages of a renamed mailbox take their new place, in directories that look as those around them."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from cyrsync.far import relink as relinking
from cyrsync.far import uids
from cyrsync.far.relink import Move, relink
from cyrsync.far.remove import RENAMED
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


def test_two_that_have_taken_each_others_places(tmp_path: Path) -> None:
    for name in ("joe", "ann"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.").write_text(name)
    root = bytes(tmp_path)
    moves = [Move((root, one), (root, other), uids.of([1, 2])) for one, other in ((b"joe", b"ann"), (b"ann", b"joe"))]
    assert [list(there) for there in relink(moves)] == [[1], [1]]
    assert ((tmp_path / "joe/1.").read_text(), (tmp_path / "ann/1.").read_text()) == ("ann", "joe")


def test_what_somebody_takes_away_meanwhile_costs_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, place = bytes(tmp_path), relinking._place
    for name in ("joe", "ann"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.").write_text(name)

    def place_first(move: Move, number: int, *more: object) -> object:
        if not number:
            shutil.rmtree(tmp_path / os.fsdecode(RENAMED) / "0")
        return place(move, number, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(relinking, "_place", place_first)
    moves = [Move((root, name), (root, name + b"/Old"), uids.of([1])) for name in (b"joe", b"ann")]
    assert [list(there) for there in relink(moves)] == [[], [1]]
    assert not (tmp_path / os.fsdecode(RENAMED)).exists()
