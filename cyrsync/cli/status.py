"""`cyrsync status`: how up to date replicas are."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cyrsync.cli import signals
from cyrsync.cli.operands import ConfigFile, operand
from cyrsync.cli.options import StateDirectory
from cyrsync.cli.output import complain, console
from cyrsync.ends import address
from cyrsync.ends.address import identity
from cyrsync.errors import Exit, UnusableError, UsageError
from cyrsync.state.lock import state_path
from cyrsync.text import human_seconds, printable

if TYPE_CHECKING:
    from cyrsync.state.history import Pair

_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)\Z", re.ASCII)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def status_command(
    destination: Annotated[str | None, operand("[DEST|@JOB]", "The replica; without it, all.")] = None,
    _config: ConfigFile = None,
    max_age: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="Exit 1 if the last success is older: seconds, or 90m, 2h, 1d."),
    ] = None,
    forget: Annotated[bool, typer.Option("--forget", help="Forget the runs to DEST.")] = False,
    state: StateDirectory = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each replica.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show all runs that are known.")] = False,
) -> None:
    """Show when replicas were last brought up to date, how far they are behind, and how the runs went."""
    from cyrsync.report import status  # what few runs need is not loaded by all
    from cyrsync.state import handed_over, history, watching

    limit = _seconds(max_age) if max_age is not None else None
    where = state_path(state)
    if forget:
        if destination is None:
            raise UsageError("--forget needs the DEST that is to be forgotten")
        handed = handed_over.forget_replica(where, printable(destination))
        if not history.forget(where, printable(identity(address.parse(destination))), printable(destination)) + handed:
            raise UnusableError(f"no run is known of {destination}")
        return
    plain = [
        one for one in handed_over.known(where) if destination is None or one.destination == printable(destination)
    ]
    found = _found(where, destination, or_none=bool(plain) and limit is None)
    now = datetime.now(timezone.utc)
    late = [pair for pair in found if limit is not None and not _is_within(status.age(pair, now), limit)]
    with signals.pipe_may_break():
        for number, pair in enumerate(found):
            watcher = watching.read(where, pair.runs[0].pair)
            if as_json:
                print(json.dumps(status.to_json(pair, now, every=verbose, watcher=watcher)))
                continue
            print(end="\n" * bool(number))
            status.render(pair, console(), every=verbose, now=now, late=pair in late, watcher=watcher)
        for one in plain:
            known = {"source": one.source, "destination": one.destination, "since": one.since}
            said = f"{one.destination}: plain rsync copies {one.source}, since {one.since}: {one.reason}"
            print(json.dumps({**known, "plain_rsync": one.reason}) if as_json else said)
    for pair in late:
        behind = status.age(pair, now)
        what = "no run has succeeded" if behind is None else f"the last success is {human_seconds(behind)} old"
        complain(f"{pair.runs[0].destination}: {what}")
    raise typer.Exit(Exit.UNSOUND if late else Exit.DONE)


def _found(state: Path, destination: str | None, *, or_none: bool) -> list[Pair]:
    """Return the replicas to show. Raise UnusableError if there is none, unless there may be none."""
    from cyrsync.state import history

    if destination is not None:
        found = history.pairs(state, printable(identity(address.parse(destination))), printable(destination))
        if not (found or or_none):
            raise UnusableError(f"no run is known of {destination}")
        return found
    known = history.pairs(state)
    # Where no run has ever succeeded, it was mistyped, or never set up: asked for by its name, it is shown.
    found = [pair for pair in known if pair.last_success]
    if not (found or or_none):
        none = "no run has succeeded yet: give DEST to see those that were tried"
        raise UnusableError(none if known else "no run is known")
    return found


def _is_within(age: float | None, limit: float) -> bool:
    return age is not None and age <= limit


def _seconds(text: str) -> float:
    match = _AGE.match(text)
    if not match:
        raise UsageError(f"--max-age {text}: give seconds, or a number with s, m, h or d behind it")
    return float(match[1]) * _SECONDS[match[2]]
