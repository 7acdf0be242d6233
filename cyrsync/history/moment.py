"""Times as people write them: `2026-11-20 10:00`, `yesterday 18:00`, `2 hours ago`. Pure but for the local time zone.

What is without a zone is local time. A time without a fraction of a second stands for all of that second, so that what
is shown as of 10:15:02 is found by that.
"""

from __future__ import annotations

import calendar
import re
from datetime import datetime, timedelta, timezone

from cyrsync.errors import UsageError
from cyrsync.text import printable

EXAMPLES = '"2026-11-20 10:00", "2026-11-20", "yesterday 18:00", "2 hours ago", "now"'
_SECOND = 10**9
_AGO = re.compile(r"(an?|[0-9]{1,6}) (second|minute|hour|day|week|month|year)s? ago")
_CLOCK = r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?"
_ZONE = r"(z|[+-][0-9]{2}:?[0-9]{2})"
_DATE = re.compile(rf"([0-9]{{4}})-([0-9]{{1,2}})-([0-9]{{1,2}})(?:[t ]{_CLOCK} ?{_ZONE}?)?")
_DAY = re.compile(rf"(today|yesterday)(?: {_CLOCK})?")


def parse(text: str, now: int) -> int:
    """Return a time in nanoseconds since 1970, as `now` is. Raise UsageError for no time, or one in the future."""
    words = " ".join(text.lower().split())
    try:
        found = _parse(words, now)
    except (ValueError, OverflowError, OSError):
        found = None
    if found is None:
        raise UsageError(f"{printable(text)}: no time: write {EXAMPLES}")
    if found - found % _SECOND > now:
        raise UsageError(f"{printable(text)}: that is in the future ({shown(found)})")
    return found


def shown(when: int) -> str:
    """Return nanoseconds since 1970 as this machine's clock shows them, to the second: `parse` understands it."""
    try:
        return datetime.fromtimestamp(when // _SECOND).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return f"{when // _SECOND} seconds since 1970"


def iso(when: int) -> str | None:
    """Return nanoseconds since 1970 as ISO 8601 with all of them: `parse` understands it. None for no such time."""
    try:
        day = datetime.fromtimestamp(when // _SECOND, timezone.utc)
    except (OverflowError, ValueError, OSError):
        return None
    return f"{day:%Y-%m-%dT%H:%M:%S}.{when % _SECOND:09d}+00:00"


def _parse(words: str, now: int) -> int | None:
    if words == "now":
        return now
    today = datetime.fromtimestamp(now // _SECOND)
    if ago := _AGO.fullmatch(words):
        number = 1 if ago[1].startswith("a") else int(ago[1])
        return _whole(_ago(today, number, ago[2]))
    if day := _DAY.fullmatch(words):
        date = today - timedelta(days=day[1] == "yesterday")
        return _at(date, day.groups()[1:], None)
    if one := _DATE.fullmatch(words):
        date = datetime(int(one[1]), int(one[2]), int(one[3]))
        return _at(date, one.groups()[3:7], one[8])
    return None


def _at(date: datetime, clock: tuple[str | None, ...], zone: str | None) -> int:
    """Return a time of a day, its beginning where there is none. Raise ValueError."""
    hour, minute, second, fraction = clock
    time = date.replace(hour=int(hour or 0), minute=int(minute or 0), second=int(second or 0), microsecond=0)
    if zone:
        time = datetime.strptime(f"{time:%Y-%m-%d %H:%M:%S}{zone.upper()}", "%Y-%m-%d %H:%M:%S%z")
    if fraction:
        return int(time.timestamp()) * _SECOND + int(fraction.ljust(9, "0"))
    return _whole(time)


def _whole(time: datetime) -> int:
    """Return the last nanosecond of a second."""
    return int(time.timestamp()) * _SECOND + _SECOND - 1


def _ago(now: datetime, number: int, unit: str) -> datetime:
    """Return a time before now: hours and less by the clock that never jumps, days and more by the calendar."""
    if unit in ("second", "minute", "hour"):
        seconds = timedelta(**{f"{unit}s": number}).total_seconds()
        return datetime.fromtimestamp(now.timestamp() - seconds)
    if unit in ("day", "week"):
        return now - timedelta(**{f"{unit}s": number})
    months = now.year * 12 + now.month - 1 - number * (12 if unit == "year" else 1)
    year, month = divmod(months, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return now.replace(year=year, month=month + 1, day=min(now.day, last))
