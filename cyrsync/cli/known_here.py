"""What `status` shows of this machine: past runs, the lines that plain rsync does, and who is at work now."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from cyrsync.ends import address
from cyrsync.ends.address import absolute, identity
from cyrsync.errors import UnusableError
from cyrsync.report.known import Known, of_pair, running_of
from cyrsync.state import handed_over, history, running, watching
from cyrsync.state.history import Pair
from cyrsync.state.running import Holder
from cyrsync.text import printable


def found(state: Path, destination: str | None, now: datetime, *, any_will_do: bool) -> list[Known]:
    """Return what is known of one replica, or of all. Raise UnusableError where that is nothing.

    With `any_will_do`, a line that plain rsync does is enough, though the age of its replica is unknown.
    """
    host = printable(os.uname().nodename)
    holders = running.holders(state)
    plain = [one for one in handed_over.known(state) if destination is None or is_at(destination, one.destination)]
    pairs = _pairs(state, destination)
    first = list(_first_copies(holders, pairs, destination, host, now))
    if destination is None:
        # Where no run has ever succeeded, it was mistyped, or never set up: asked for by its name, it is shown.
        shown = [pair for pair in pairs if pair.last_success or any(one.pair == _key(pair) for one in holders)]
    else:
        shown = pairs
    if not shown and not first and not (plain and any_will_do):
        raise UnusableError(_nothing(destination, bool(pairs)))
    return [
        *(_known(state, pair, holders, host, now) for pair in shown),
        *first,
        *(_plain(one, host, now) for one in plain),
    ]


def is_at(destination: str, recorded: str) -> bool:
    """Tell whether a destination, as it is given here, is the one that was recorded."""
    return printable(absolute(address.parse(destination))).rstrip("/") == recorded.rstrip("/")


def _pairs(state: Path, destination: str | None) -> list[Pair]:
    if destination is None:
        return history.pairs(state)
    return history.pairs(state, printable(identity(address.parse(destination))), printable(destination))


def _key(pair: Pair) -> str:
    return pair.runs[0].pair


def _nothing(destination: str | None, tried: bool) -> str:
    if destination is not None:
        return f"no run is known of {destination}"
    return "no run has succeeded yet: give DEST to see those that were tried" if tried else "no run is known"


def _known(state: Path, pair: Pair, holders: list[Holder], host: str, now: datetime) -> Known:
    at_work = [one for one in holders if one.pair == _key(pair)]
    return of_pair(pair, now, host=host, watcher=watching.read(state, _key(pair)), holders=at_work)


def _first_copies(
    holders: list[Holder], pairs: list[Pair], destination: str | None, host: str, now: datetime
) -> Iterator[Known]:
    """Yield what is at work for the first time: nothing is on record of it."""
    recorded = {_key(pair) for pair in pairs}
    new = {one.pair: one for one in holders if one.destination and one.pair not in recorded}
    for key, one in new.items():
        if destination is None or is_at(destination, one.destination):
            at_work = running_of([other for other in holders if other.pair == key])
            yield Known(one.source, one.destination, host, reported=now, running=at_work)


def _plain(one: handed_over.HandedOver, host: str, now: datetime) -> Known:
    since = datetime.fromisoformat(one.since)
    return Known(one.source, one.destination, host, now, plain_rsync=one.reason, plain_since=since)
