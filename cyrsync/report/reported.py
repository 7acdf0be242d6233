"""Reads what `status --json` has printed on any machine: nothing of it is believed before it was checked."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

from cyrsync.cyrus.mailbox import regular_file
from cyrsync.errors import UnusableError, error_text
from cyrsync.report.known import Known, Run, Running
from cyrsync.rolling.plain import BOUNDS, Counts
from cyrsync.text import path_text, printable

_T = TypeVar("_T")
#: Bytes of a file: a thousand runs of a thousand pairs are less.
_LARGEST = 1 << 28
#: No count is higher; times are within what every time zone can show.
_HIGHEST = 1 << 63
_YEARS = range(1970, 9999)
_REQUIRED = object()


class _WrongKey(Exception):
    """A key that is missing, or has another kind of value than it must have."""


def read(path: Path) -> Iterator[Known]:
    """Yield what is known of each pair: from a file, or from all files `*.json` of a directory, by name.

    Raise UnusableError that names file, line and key, for what is no output of `status --json`.
    """
    try:
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        texts = [(file, regular_file.read(os.fsencode(file), _LARGEST, follow=True)) for file in files]
    except OSError as error:
        raise UnusableError(error_text(error)) from None
    for file, text in texts:
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield _known(line, f"{path_text(os.fsencode(file))}: line {number}")


def _known(line: bytes, where: str) -> Known:
    try:
        found = json.loads(line)
        return _of_object(found)
    except _WrongKey as error:
        raise UnusableError(f"{where}: {error}: no line of `cyrsync status --json`") from None
    except (ValueError, RecursionError):  # it is no UTF-8, no JSON, or tables in tables without an end
        raise UnusableError(f"{where}: no line of `cyrsync status --json`") from None


def _of_object(found: Any) -> Known:
    keys = _Keys(found)
    source, destination, host = keys.text("source"), keys.text("destination"), keys.text("host")
    if "plain_rsync" in found:
        since = keys.time("since")
        plain = keys.text("plain_rsync")
        return Known(source, destination, host, reported=since, plain_rsync=plain, plain_since=since)
    return Known(
        *(source, destination, host),
        reported=keys.time("reported"),
        engine=keys.text("engine"),
        partitions=tuple(map(_text, keys.several("partitions"))),
        last_success=keys.or_none("last_success", _time),
        last_attempt=keys.or_none("last_attempt", _time),
        seconds=keys.or_none("seconds", _number),
        exit=keys.or_none("exit", _whole),
        withheld=keys.whole("withheld"),
        skipped=keys.whole("skipped"),
        last_error=keys.or_none("last_error", _text),
        last_error_at=keys.or_none("last_error_at", _time),
        running=tuple(map(_running, keys.several("running"))),
        watcher=keys.or_none("watcher", _watcher),
        runs=tuple(map(_run, keys.several("runs"))),
    )


def _run(found: Any) -> Run:
    keys = _Keys(found)
    return Run(
        started=keys.time("started"),
        seconds=keys.number("seconds"),
        exit=keys.whole("exit"),
        part=tuple(map(_text, keys.several("part"))),
        messages=keys.whole("messages"),
        bytes_sent=keys.whole("bytes_sent"),
        deleted=keys.whole("deleted"),
        withheld=keys.whole("withheld"),
        failed=keys.whole("failed"),
    )


def _running(found: Any) -> Running:
    keys = _Keys(found)
    return Running(keys.whole("pid"), keys.or_none("since", _time), keys.flag("watching"))


def _watcher(found: Any) -> Mapping[str, Any]:
    keys = _Keys(found)
    if keys.whole("failed") and not keys.several("waiting"):
        raise ValueError("of what has failed, the first one is named")
    return {
        "pid": keys.whole("pid"),
        "channel": keys.text("channel"),
        "began": keys.moment("began"),
        "written": keys.moment("written"),
        "connected": keys.flag("connected"),
        "since": keys.moment("since"),
        "blind": keys.text("blind"),
        "lag_seconds": keys.number("lag_seconds"),
        "pending": keys.whole("pending"),
        "failed": keys.whole("failed"),
        "waiting": [_late(one) for one in keys.several("waiting")],
        "last_pass": keys.moment("last_pass"),
        "last_pass_exit": keys.whole("last_pass_exit"),
        "counts": _counts(found.get("counts")),
    }


def _counts(found: Any) -> Mapping[str, Any]:
    keys = _Keys(found)
    names = [field.name for field in fields(Counts) if field.name not in ("delays", "delay_sum")]
    delays = [_whole(one) for one in keys.several("delays")]
    if len(delays) != len(BOUNDS) + 1:
        raise ValueError
    return {**{name: keys.whole(name) for name in names}, "delays": delays, "delay_sum": keys.number("delay_sum")}


def _late(found: Any) -> Mapping[str, Any]:
    keys = _Keys(found)
    texts = {"name": keys.text("name"), "reason": keys.text("reason")}
    return {**texts, "since": keys.moment("since"), "tries": keys.whole("tries")}


class _Keys:
    """The keys of an object, each asked for as what it has to be."""

    def __init__(self, found: Any) -> None:
        if not isinstance(found, dict):
            raise ValueError("no object")
        self._found = found

    def text(self, key: str) -> str:
        return self._checked(key, _text)

    def whole(self, key: str) -> int:
        return self._checked(key, _whole)

    def number(self, key: str) -> float:
        return self._checked(key, _number)

    def time(self, key: str) -> datetime:
        return self._checked(key, _time)

    def moment(self, key: str) -> float:
        return self._checked(key, _moment)

    def flag(self, key: str) -> bool:
        return self._checked(key, _flag)

    def several(self, key: str) -> list[Any]:
        return self._checked(key, _list)

    def or_none(self, key: str, check: Callable[[Any], _T]) -> _T | None:
        return self._checked(key, lambda value: None if value is None else check(value))

    def _checked(self, key: str, check: Callable[[Any], _T]) -> _T:
        try:
            return check(self._found.get(key, _REQUIRED))
        except (ValueError, OverflowError):
            raise _WrongKey(key) from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return printable(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _HIGHEST:
        raise ValueError
    return value


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < _HIGHEST:
        raise ValueError  # as NaN does
    return float(value)


def _moment(value: Any) -> float:
    number = _number(value)
    if number >= datetime(_YEARS.stop, 1, 1, tzinfo=timezone.utc).timestamp():
        raise ValueError
    return number


def _time(value: Any) -> datetime:
    when = datetime.fromisoformat(_text(value))
    if when.tzinfo is None or when.year not in _YEARS or not math.isfinite(when.timestamp()):
        raise ValueError
    return when
