"""Times as people write them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.errors import UsageError
from cyrsync.history import moment

SECOND = 10**9
#: Saturday, 28 November 2026, 12:00 UTC.
NOON = 1795867200
NOW = NOON * SECOND + 5


@pytest.fixture(autouse=True, params=["UTC", "Europe/Berlin", "America/St_Johns"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def seconds(text: str) -> float:
    return time.mktime(time.strptime(text, "%Y-%m-%d %H:%M:%S"))


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("2026-11-20 10:00", "2026-11-20 10:00:00"),
        ("2026-11-20T10:00:07", "2026-11-20 10:00:07"),
        ("2026-11-20", "2026-11-20 00:00:00"),
        (" 2026-7-1  9:05 ", "2026-07-01 09:05:00"),
        ("2026-03-29 02:30", "2026-03-29 02:30:00"),
        ("yesterday 18:00", "2026-11-27 18:00:00"),
        ("Yesterday", "2026-11-27 00:00:00"),
        ("today 06:30:15", "2026-11-28 06:30:15"),
    ],
)
def test_local_times(text: str, local: str) -> None:
    """Each stands for all of its second."""
    assert moment.parse(text, NOW) == int(seconds(local)) * SECOND + SECOND - 1


def test_times_ago() -> None:
    for text, ago in (("2 hours ago", 7200), ("a minute ago", 60), ("an hour ago", 3600), ("90 seconds ago", 90)):
        assert moment.parse(text, NOW) == (NOON - ago) * SECOND + SECOND - 1
    now = datetime.fromtimestamp(NOON)
    for text, day in (
        ("1 day ago", "2026-11-27"),
        ("2 weeks ago", "2026-11-14"),
        ("9 months ago", "2026-02-28"),
        ("1 year ago", "2025-11-28"),
    ):
        assert moment.parse(text, NOW) // SECOND == seconds(f"{day} {now:%H:%M:%S}")
    assert datetime.fromtimestamp(moment.parse("1 month ago", (NOON + 15 * 86400) * SECOND) // SECOND).day == 13


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-11-20T10:00:00Z", "2026-11-20T10:00:00"),
        ("2026-11-20T10:00:00+02:00", "2026-11-20T08:00:00"),
        ("2026-11-20 10:00 -0330", "2026-11-20T13:30:00"),
    ],
)
def test_times_with_a_zone(text: str, utc: str) -> None:
    true = datetime.fromisoformat(utc).replace(tzinfo=timezone.utc).timestamp()
    assert moment.parse(text, NOW) == int(true) * SECOND + SECOND - 1


def test_now() -> None:
    assert moment.parse("now", NOW) == NOW


@pytest.mark.parametrize(
    "text",
    ["", "soon", "2026-13-01", "2026-11-20 25:00", "20.11.2026", "0 fortnights ago", "999999 years ago", "10:00"],
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match='no time: write "2026-11-20 10:00", "2026-11-20", "yesterday 18:00"'):
        moment.parse(text, NOW)


def test_what_is_to_come() -> None:
    with pytest.raises(UsageError, match=r"^2062-11-20: that is in the future"):
        moment.parse("2062-11-20", NOW)


@given(st.integers(0, NOW))
def test_what_is_shown_is_understood(when: int) -> None:
    """A version is found by the time that is shown of it, and by that of --json to the nanosecond."""
    assert moment.parse(moment.iso(when) or "", NOW) == when
    # Of an hour that a clock shows twice, the first is meant.
    assert 0 <= moment.parse(moment.shown(when), NOW) + 3600 * SECOND - when + SECOND < 3601 * 2 * SECOND


@given(st.text(max_size=30))
def test_whatever_is_written(text: str) -> None:
    with suppress(UsageError):
        assert moment.parse(text, NOW) <= NOW + SECOND
