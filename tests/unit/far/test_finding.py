"""What is found at the far end arrives as it was sent."""

from __future__ import annotations

import json

from hypothesis import given

from cyrsync.far.finding import NO_INDEX, Audited, Problem, from_record, to_record
from support.frames import audits


@given(audits)
def test_round_trip(audited: Audited) -> None:
    found = from_record(json.loads(json.dumps(to_record(audited))))
    assert found == audited
    assert hash(found) == hash(audited)


def test_number() -> None:
    assert NO_INDEX.number() == 1
    assert Problem("missing", (4, 7, 9)).number() == 3
