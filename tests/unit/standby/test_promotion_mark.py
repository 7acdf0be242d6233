"""What owner files say together, and marking them."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from cyrsync.errors import LockedError
from cyrsync.far import owner_file
from cyrsync.far.hold import Holds
from cyrsync.far.owner_file import OwnerFile
from cyrsync.standby import promotion_mark

ONE = OwnerFile("abc", "mail1:/etc/imapd.conf", run=7, begun=1000.0, ended=1001.0, complete=1000.0)


@pytest.fixture
def roots(tmp_path: Path) -> list[bytes]:
    """Two roots, both of one replica."""
    for name in ("conf", "spool"):
        (tmp_path / name).mkdir()
        owner_file.write(os.fsencode(tmp_path / name), ONE)
    return [os.fsencode(tmp_path / name) for name in ("conf", "spool")]


def test_roots_of_one_run(roots: list[bytes]) -> None:
    found = promotion_mark.read(roots)
    assert (found.newest, found.complete, found.cut_off, found.warnings) == (ONE, 1000.0, False, [])


def test_the_oldest_root_tells_how_old_the_replica_is(roots: list[bytes]) -> None:
    later = ONE._replace(run=8, begun=2000.0, ended=0.0, complete=500.0)
    owner_file.write(roots[1], later)
    found = promotion_mark.read(roots)
    assert (found.newest, found.complete, found.cut_off) == (later, 500.0, True)
    (warning,) = found.warnings
    assert "conf (run 7)" in warning
    assert "spool (run 8)" in warning


def test_another_disk(roots: list[bytes]) -> None:
    owner_file.write(roots[1], ONE._replace(replica="other"))
    assert "not of one replica" in promotion_mark.read(roots).warnings[0]


def test_a_root_without_and_one_that_is_damaged(roots: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "conf" / ".cyrsync-replica").unlink()
    assert "no owner file, so no sync -C has written there" in promotion_mark.read(roots).warnings[0]
    (tmp_path / "conf" / ".cyrsync-replica").write_text("{")
    assert "damaged" in promotion_mark.read(roots).warnings[0]
    assert promotion_mark.read(roots).newest == ONE


def test_no_owner_file_anywhere(tmp_path: Path) -> None:
    found = promotion_mark.read([os.fsencode(tmp_path)])
    assert found.newest is None
    assert (found.complete, found.cut_off) == (0.0, False)
    assert "there is no owner file" in found.warnings[0]


def test_the_first_time_counts(roots: list[bytes]) -> None:
    since = promotion_mark.promote(roots, promotion_mark.read(roots), compared=False)
    assert {owner_file.read(root) for root in roots} == {ONE._replace(promoted=since)}
    owner_file.write(roots[0], ONE._replace(promoted="2001-01-01T00:00:00+00:00"))
    assert promotion_mark.promote(roots, promotion_mark.read(roots), compared=False) == "2001-01-01T00:00:00+00:00"


def test_a_run_of_the_walk_does_not_tell_how_old_it_is(roots: list[bytes], tmp_path: Path) -> None:
    owner_file.write(roots[1], owner_file.UNOWNED)
    found = promotion_mark.read(roots)
    assert (found.newest, found.complete, found.cut_off) == (ONE, 1000.0, False)
    assert "no owner file, so no sync -C has written there" in found.warnings[0]
    owner_file.write(roots[1], owner_file.UNOWNED._replace(writing="a boot"))
    assert promotion_mark.read(roots).cut_off


@pytest.mark.parametrize("slot", [0, 1])
def test_the_mark_is_in_both_slots(roots: list[bytes], tmp_path: Path, slot: int) -> None:
    since = promotion_mark.promote(roots, promotion_mark.read(roots), compared=False)
    place = tmp_path / "conf" / ".cyrsync-replica"
    data = bytearray(place.read_bytes())
    data[slot * len(data) // 2 + 60] ^= 1
    place.write_bytes(data)
    found = owner_file.read(roots[0])
    assert found and found.promoted == since


def test_whoever_writes_is_not_disturbed(roots: list[bytes]) -> None:
    with closing(Holds()) as holds:
        assert holds.hold(roots[1:]) is None
        where = f"{os.fsdecode(roots[1])}: process {os.getpid()} has been working on it since "
        with pytest.raises(LockedError, match=where), promotion_mark.held(roots, 0):
            pytest.fail("it is held by another")


def test_nobody_writes_meanwhile(roots: list[bytes]) -> None:
    with closing(Holds()) as holds:
        with promotion_mark.held(roots, 0):
            assert holds.hold(roots[:1])
        assert holds.hold(roots[:1]) is None
