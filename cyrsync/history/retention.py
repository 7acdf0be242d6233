"""Which kept states stay: by restic's words, as restic would have it with a snapshot of every moment. Pure.

A state holds from the time in its name until the next one begins, the newest one until it was kept. `hourly` of 48
keeps the states that held at the end of each of the last 48 hours, and so for days, weeks (from Monday), months and
years, all of UTC; `within` keeps what has held at any time since then. So as of any of these times all is as it was.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

_DURATION = r"(?=.)(?:(\d{1,4})y)?(?:(\d{1,5})m)?(?:(\d{1,6})d)?(?:(\d{1,7})h)?\Z"
_SECOND = 10**9
_HOUR, _DAY, _WEEK = 3600, 86400, 7 * 86400
#: Seconds from 1970 to the first Monday.
_MONDAY = 4 * _DAY


class Duration(NamedTuple):
    """A time as restic writes it: `2y5m7d3h`."""

    years: int = 0
    months: int = 0
    days: int = 0
    hours: int = 0

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Return what a text says. Raise ValueError."""
        match = re.match(_DURATION, text, re.ASCII)
        if not match:
            raise ValueError("give years, months, days and hours as restic does: 7d, 36h, 1y6m")
        return cls(*(int(number or 0) for number in match.groups()))

    def before(self, seconds: float) -> float:
        """Return the time so long before another, both in seconds since 1970."""
        when = time.gmtime(seconds)
        months = 12 * when.tm_year + when.tm_mon - 1 - 12 * self.years - self.months
        if months < 12:
            return float("-inf")
        day = _begin_of_month(months) + (when.tm_mday - 1) * _DAY
        return day + seconds % _DAY - self.days * _DAY - self.hours * _HOUR

    def __str__(self) -> str:
        return "".join(f"{number}{unit}" for number, unit in zip(self, "ymdh", strict=True) if number) or "0h"


_NONE = Duration()


class Retention(NamedTuple):
    """How many states are to stay: the newest ones, those of some time, and those of hours, days and so on."""

    last: int = 0
    within: Duration = _NONE
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0

    def __bool__(self) -> bool:
        return self != Retention()

    def ends(self, now: float) -> list[int]:
        """Return the ends of the hours, days and so on that count, rising, in nanoseconds since 1970."""
        found: set[int] = set()
        for number, length, first in (
            (self.hourly, _HOUR, 0),
            (self.daily, _DAY, 0),
            (self.weekly, _WEEK, _MONDAY),
        ):
            newest = int(now - first) // length * length + first
            found.update(newest - at * length for at in range(number))
        for number, months in ((self.monthly, 1), (self.yearly, 12)):
            found.update(_months_ago(now, months, number))
        return sorted(end * _SECOND for end in found)

    def begin(self, now: float) -> float:
        """Return the time from which on anything stays, in nanoseconds since 1970; the newest states stay for ever."""
        begins = [self.within.before(now) * _SECOND, *self.ends(now)[:1]]
        return min(begins) if self != Retention(last=self.last) else float("-inf")


#: What stays by default.
DEFAULT = Retention(within=Duration(days=7), hourly=48, daily=14, weekly=8, monthly=12)


def kept(times: Sequence[int], ended: int, retention: Retention, now: float) -> set[int]:
    """Return which states of one mailbox, or of one file, stay; those that began at these times, which rise.

    The newest one held until `ended`: then another one took its place, or the mailbox was deleted. It stays until what
    is retained is younger than that. Times are nanoseconds since 1970, `now` is seconds.
    """
    begin, since = retention.begin(now), retention.within.before(now) * _SECOND
    stay = set(times[len(times) - retention.last :]) if retention.last else set()
    untils = [*times[1:], max([ended, *times[-1:]])]
    if retention.within != _NONE:
        stay.update(began for began, until in zip(times, untils, strict=False) if until > since)
    for end in retention.ends(now):
        at = bisect_right(times, end) - 1
        if at >= 0 and untils[at] > end:
            stay.add(times[at])
    if times and untils[-1] > begin:
        stay.add(times[-1])
    return stay


def kept_records(
    gone: Collection[int], times: Sequence[int], stay: Collection[int], ended: int, retention: Retention, now: float
) -> set[int]:
    """Return the times in `gone` whose records (of messages that arrived and were deleted) stay.

    `times` are those of the states. A record stays with the state that began last before it, and within the time in
    which all stays.
    """
    begins = sorted({*times, *gone})
    since = retention.within.before(now) * _SECOND if retention.within != _NONE else float("inf")
    found = set()
    for began in gone:
        at = bisect_right(begins, began)
        before = bisect_right(times, began) - 1
        if (before >= 0 and times[before] in stay) or (begins[at] if at < len(begins) else ended) > since:
            found.add(began)
    return found


def _months_ago(now: float, months: int, number: int) -> Iterator[int]:
    """Yield the ends of the last months, or of so many months at a time, in seconds since 1970; none before 1970."""
    when = time.gmtime(now)
    newest = (12 * when.tm_year + when.tm_mon - 1) // months * months
    for month in range(newest, newest - number * months, -months):
        if month < 12 * 1970:
            return
        yield _begin_of_month(month)


def _begin_of_month(months: int) -> int:
    """Return when a month begins, counted from the year 0, in seconds since 1970."""
    import calendar  # what few commands need is not loaded by all

    return calendar.timegm((months // 12, months % 12 + 1, 1, 0, 0, 0))
