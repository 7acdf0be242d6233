"""What is found at the far end arrives as it was sent."""

from __future__ import annotations

import json
import os

from hypothesis import given
from hypothesis import strategies as st

from cyrsync.audit.finding import KINDS, NO_INDEX, Audited, Problem, from_record, to_record

numbers = st.integers(0, 2**40)
problems = st.builds(
    Problem,
    st.sampled_from(list(KINDS)),
    st.lists(st.integers(1, 2**32 - 1), max_size=5).map(tuple),
    st.binary(max_size=20).map(os.fsdecode),
)
audits = st.builds(
    Audited,
    path=st.binary(max_size=20),
    messages=numbers,
    files=numbers,
    bytes_read=numbers,
    problems=st.lists(problems, max_size=3).map(tuple),
)


@given(audits)
def test_round_trip(audited: Audited) -> None:
    found = from_record(json.loads(json.dumps(to_record(audited))))
    assert found == audited
    assert hash(found) == hash(audited)


def test_number() -> None:
    assert NO_INDEX.number() == 1
    assert Problem("missing", (4, 7, 9)).number() == 3
