"""The set of UIDs in a user's seen database."""

from __future__ import annotations

import pytest

from cyrsync.cyrus.server.seen import ranges


@pytest.mark.parametrize(
    ("value", "uids"),
    [
        (b"1 0 0 1795398407 2:3,5", [2, 3, 5]),
        (b"1 0 0 1795398407 7", [7]),
        (b"1 0 0 1795398407 ", []),
        (b"1 0 0 1795398407", []),
        (b"1 0 0 1795398407 1,x,4:", [1]),
        (b"0 something else", []),
        (b"", []),
    ],
)
def test_sets(value: bytes, uids: list[int]) -> None:
    found = ranges([(b"other", b"1 0 0 1 9"), (b"id", value)], b"id")
    assert [uid for one in found for uid in one] == uids
