"""Which kept states stay."""

from __future__ import annotations

import calendar
from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.history.retention import DEFAULT, Duration, Retention, kept, kept_records

SECOND = 10**9
HOUR, DAY = 3600 * SECOND, 86400 * SECOND
NOW = calendar.timegm((2026, 11, 28, 10, 30, 0))  # a Saturday
NOW_NS = NOW * SECOND


def ago(days: float = 0, hours: float = 0) -> int:
    return NOW_NS - int(days * DAY) - int(hours * HOUR)


def as_of(times: list[int], when: int) -> int | None:
    """The state that is shown as of a time: the one with the greatest beginning that is not later."""
    at = bisect_right(times, when) - 1
    return times[at] if at >= 0 else None


numbers = st.integers(0, 6)
durations = st.builds(Duration, st.integers(0, 1), st.integers(0, 3), st.integers(0, 9), st.integers(0, 30))
retentions = st.builds(Retention, st.integers(0, 4), durations, numbers, numbers, numbers, numbers, numbers)
#: Near to each other, far from each other, and at the ends of hours, days and months themselves.
moments = st.one_of(
    st.integers(0, 3 * 366 * DAY).map(lambda age: NOW_NS - age),
    st.integers(0, 3 * DAY).map(lambda age: NOW_NS - age),
    st.integers(0, 3 * 366 * 24).map(lambda hours: NOW_NS - 30 * 60 * SECOND - hours * HOUR),
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[int], int]:
    times = sorted(draw(st.sets(moments, min_size=1, max_size=40)))
    return times, max(draw(moments), times[-1] + 1)


@given(histories(), retentions, st.integers(0, 3 * 366 * DAY))
def test_what_is_retained_is_shown_as_it_was(history: tuple[list[int], int], retention: Retention, age: int) -> None:
    times, ended = history
    stay = sorted(kept(times, ended, retention, NOW))
    when = NOW_NS - age
    sampled = retention.ends(NOW)
    if retention.within != Duration() and when >= retention.within.before(NOW) * SECOND:
        sampled.append(when)
    for moment in sampled:
        if moment < ended:
            assert as_of(stay, moment) == as_of(times, moment)


@given(histories(), retentions)
def test_nothing_stays_that_no_rule_wants(history: tuple[list[int], int], retention: Retention) -> None:
    times, ended = history
    untils = [*times[1:], ended]
    newest = set(times[len(times) - retention.last :]) if retention.last else set()
    since = retention.within.before(NOW) * SECOND
    for began in kept(times, ended, retention, NOW):
        until = untils[times.index(began)]
        sampled = any(began <= end < until for end in retention.ends(NOW))
        lately = retention.within != Duration() and until > since
        is_last = began == times[-1] and until > retention.begin(NOW)
        assert began in newest or sampled or lately or is_last


@given(histories(), retentions)
def test_a_second_time_nothing_more_goes(history: tuple[list[int], int], retention: Retention) -> None:
    times, ended = history
    stay = sorted(kept(times, ended, retention, NOW))
    assert sorted(kept(stay, ended, retention, NOW)) == stay


def test_a_state_that_held_for_a_year_until_just_now_stays_for_long() -> None:
    times = [ago(days=400)]
    assert kept(times, ago(hours=1), DEFAULT, NOW) == set(times)
    assert kept(times, ago(days=300), Retention(monthly=12), NOW) == set(times)


def test_the_last_state_of_a_deleted_mailbox_goes_when_all_that_is_retained_is_younger() -> None:
    times = [ago(days=30, hours=2)]
    retention = Retention(daily=14)
    assert kept(times, ago(days=13), retention, NOW) == set(times)
    assert kept(times, ago(days=15), retention, NOW) == set()
    # Though it lived for an hour between two days' ends.
    assert kept([ago(days=3, hours=0.2)], ago(days=3, hours=0.1), retention, NOW) == {ago(days=3, hours=0.2)}


def test_the_newest_ones_alone_stay_for_ever() -> None:
    times = [ago(days=4000), ago(days=3000), ago(days=2000)]
    assert kept(times, ago(days=1999), Retention(last=2), NOW) == set(times[1:])


def test_of_a_mailbox_without_states_none_stays() -> None:
    assert kept([], 0, DEFAULT, NOW) == set()


def test_of_an_hour_the_state_at_its_end_stays() -> None:
    day = ago(days=20, hours=10.5)  # midnight
    times = [day + at * HOUR // 4 for at in range(12)]
    assert kept(times, NOW_NS, Retention(daily=30), NOW) == {times[0], times[-1]}
    assert kept(times, NOW_NS, Retention(hourly=24 * 21), NOW) == {times[0], times[4], times[8], times[11]}


def test_weeks_begin_on_monday() -> None:
    ends = Retention(weekly=2).ends(NOW)
    assert ends == [calendar.timegm((2026, 11, day, 0, 0, 0)) * SECOND for day in (16, 23)]


def test_months_and_years() -> None:
    months = [(2026, 9), (2026, 10), (2026, 11)]
    expected = [calendar.timegm((year, month, 1, 0, 0, 0)) * SECOND for year, month in months]
    assert Retention(monthly=3).ends(NOW) == expected
    years = [calendar.timegm((year, 1, 1, 0, 0, 0)) * SECOND for year in (2025, 2026)]
    assert Retention(yearly=2).ends(NOW) == years


def test_what_came_and_went_stays_with_the_state_before_it() -> None:
    times = [ago(days=20), ago(days=10)]
    gone = [ago(days=21), ago(days=15), ago(days=9), ago(days=1)]
    stay = {times[1]}
    assert kept_records(gone, times, stay, ago(), Retention(daily=30), NOW) == {gone[2], gone[3]}
    assert kept_records(gone, times, set(), ago(), Retention(within=Duration(days=7)), NOW) == {gone[2], gone[3]}
    assert kept_records(gone, [], set(), ago(days=8), Retention(within=Duration(days=7)), NOW) == {gone[2]}


@pytest.mark.parametrize(
    ("text", "duration"),
    [("7d", Duration(days=7)), ("2y5m7d3h", Duration(2, 5, 7, 3)), ("36h", Duration(hours=36)), ("0d", Duration())],
)
def test_durations_as_restic_writes_them(text: str, duration: Duration) -> None:
    assert Duration.parse(text) == duration


@pytest.mark.parametrize("text", ["", "7", "d", "7d2m", "-1d", "1w", "7 d", "1.5h", "99999y"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="restic"):
        Duration.parse(text)


def test_durations_go_by_the_calendar() -> None:
    now = calendar.timegm((2026, 3, 31, 12, 0, 0))
    assert Duration(months=1).before(now) == calendar.timegm((2026, 3, 3, 12, 0, 0))  # as restic has it: February 31
    assert Duration(years=1, hours=1).before(now) == calendar.timegm((2025, 3, 31, 11, 0, 0))
    assert Duration(years=9999).before(now) == float("-inf")
