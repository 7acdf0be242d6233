"""`cyrsync status`: how up to date replicas are."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime, timezone
from functools import partial
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
from cyrsync.text import printable

if TYPE_CHECKING:
    from cyrsync.report.known import Known

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
    html: Annotated[
        str | None, typer.Option("--html", metavar="FILE", help="Write one page of HTML, with tables and plots.")
    ] = None,
    mail_report: Annotated[
        bool, typer.Option("--mail-report", help="Print a report to be mailed, with the problems first.")
    ] = False,
    reported: Annotated[
        list[str] | None,
        typer.Option(
            "--from", metavar="PATH", help="Show what `status --json` has printed: a file, or a directory of *.json."
        ),
    ] = None,
    state: StateDirectory = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each replica.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show all runs on record.")] = False,
) -> None:
    """Show a line for each replica: its last success, how far it is behind, what needs attention.

    With DEST, show all that is known of it.
    """
    limit = _seconds(max_age) if max_age is not None else None
    where = state_path(state)
    if bool(html) + mail_report + as_json > 1:
        raise UsageError("--html, --mail-report and --json are three forms of one report: give one of them")
    if forget:
        if reported:
            raise UsageError("--forget is for the runs of this machine, not with --from")
        _forget(where, destination)
        return
    now = datetime.now(timezone.utc)
    if reported:
        found = _reported(reported, destination)
    else:
        from cyrsync.cli import known_here  # what few runs need is not loaded by all

        found = known_here.found(where, destination, now, any_will_do=limit is None)
    if html:
        from cyrsync.report import page, whole_file

        whole_file.write(html, page.page(found, now, limit))
    else:
        with signals.pipe_may_break():
            _print(found, now, limit, as_json=as_json, as_mail=mail_report, every=verbose, one=destination is not None)
    late = [one for one in found if one.is_late(now, limit) and not one.plain_rsync]
    for one in late:
        complain(f"{one.destination}: {one.age_text(now)}")
    raise typer.Exit(Exit.UNSOUND if late else Exit.DONE)


def _forget(state: Path, destination: str | None) -> None:
    from cyrsync.cli.known_here import is_at
    from cyrsync.state import handed_over, history

    if destination is None:
        raise UsageError("--forget needs the DEST that is to be forgotten")
    handed = handed_over.forget_replica(state, partial(is_at, destination))
    if not history.forget(state, printable(identity(address.parse(destination))), printable(destination)) + handed:
        raise UnusableError(f"no run is known of {destination}")


def _reported(paths: Sequence[str], destination: str | None) -> list[Known]:
    """Return what other machines have reported, of a replica or of all. Raise UnusableError if it is none."""
    from cyrsync.report import reported

    found = [known for path in paths for known in reported.read(Path(path))]
    wanted = [one for one in found if destination is None or one.destination == printable(destination)]
    if not wanted:
        raise UnusableError(f"{', '.join(paths)}: no replica is reported" + (f" as {destination}" if found else ""))
    return sorted(wanted, key=lambda known: (known.host, known.destination, known.source))


def _print(
    found: Sequence[Known],
    now: datetime,
    limit: float | None,
    *,
    as_json: bool,
    as_mail: bool,
    every: bool,
    one: bool,
) -> None:
    """Print a line for each replica, or all that is known of the one that was asked for, or of `every` one."""
    from cyrsync.report import overview, status

    if as_json:
        for known in found:
            print(json.dumps(known.to_json(now, runs=None if every else status.FEW)))
    elif as_mail:
        for line in overview.mail_lines(found, now, limit):
            print(line)
    elif one or every or len(found) == 1:
        for number, known in enumerate(found):
            print(end="\n" * bool(number))
            status.render(known, console(), every=every, now=now, limit=limit)
    else:
        overview.render(found, console(a_line_each=True), now=now, limit=limit)


def _seconds(text: str) -> float:
    match = _AGE.match(text)
    if not match:
        raise UsageError(f"--max-age {text}: give seconds, or a number with s, m, h or d behind it")
    return float(match[1]) * _SECONDS[match[2]]
