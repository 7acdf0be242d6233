"""The rules by which clocks and room are judged."""

from __future__ import annotations

import pytest

from cyrsync.far.host import Room
from cyrsync.standby.check_replica import Disk, clock_finding, room_finding
from cyrsync.standby.checked import Verdict

OK, NOTE, FAIL = Verdict


@pytest.mark.parametrize(
    ("round_trip", "ahead", "verdict"),
    [
        (0.1, 0.0, OK),
        (0.1, 2.0, OK),
        (0.1, 2.1, NOTE),
        (0.1, -2.1, NOTE),
        (5.0, 4.0, OK),  # it may have been asked at once, and have answered late
        (5.0, -4.6, NOTE),
        (0.1, 60.0, NOTE),
        (0.1, 61.0, FAIL),
        (0.1, -61.0, FAIL),
        (10.0, 64.0, NOTE),
    ],
)
def test_clocks(round_trip: float, ahead: float, verdict: Verdict) -> None:
    found = clock_finding(round_trip, ahead)
    assert found.verdict is verdict
    if verdict is not OK:
        assert ("ahead" if ahead > 0 else "behind") in found.found


@pytest.mark.parametrize(
    ("occupied", "complete", "need", "used", "free", "verdict"),
    [
        (False, False, 100, 0, 100, OK),
        (False, False, 100, 50, 99, FAIL),  # what is used is something else
        (True, False, 100, 50, 50, NOTE),
        (True, False, 100, 50, 49, FAIL),
        (True, True, 100, 95, 5, OK),
        (True, True, 100, 96, 4, NOTE),
        (True, True, 100, 94, 5, FAIL),
    ],
)
def test_room(occupied: bool, complete: bool, need: int, used: int, free: int, verdict: Verdict) -> None:
    disk = Disk(b"/srv", Room(1, free, used, 0, 0, 0, True), occupied=occupied, complete=complete)
    assert room_finding(disk, "text", need, used, free).verdict is verdict
