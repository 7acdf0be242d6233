"""What follows a run, however it ended: its record, metrics, a log, and the user's own commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from cyrsync import process
from cyrsync.ends.address import absolute
from cyrsync.errors import CyrsyncError, UnusableError, error_text
from cyrsync.state import history
from cyrsync.state.lock import CHOSEN, state_path
from cyrsync.text import printable

if TYPE_CHECKING:
    from pathlib import Path

    from cyrsync.state.history import Record
    from cyrsync.sync.result import RunResult
    from cyrsync.sync.session import Session


class HookFailed(CyrsyncError):
    """A command of the user's failed."""


class Wanted(NamedTuple):
    """What the user asked for beside the record."""

    metrics: str | None = None
    log: str | None = None
    on_success: str | None = None
    on_failure: str | None = None


def finish(session: Session, wanted: Wanted) -> None:
    """Record and report a run that is over. What fails here is a warning, and changes nothing else of the run.

    A dry run leaves no trace.
    """
    result = session.result
    if result.dry_run:
        return
    record = _record(session)
    _step(result, "not recorded", partial(_keep, session.options.state, record, result))
    if wanted.metrics:
        _step(result, "--metrics", partial(_write_metrics, session.options.state, wanted.metrics, record, result))
    if wanted.log:
        _step(result, "--log", partial(_log, wanted.log, result))
    hook = wanted.on_failure if result.exit else wanted.on_success
    # That another run is at work is neither good news nor bad: that run will tell how it ends.
    if hook and not record.skipped:
        call = partial(_call, session.options.state, hook, result)
        _step(result, "--on-failure" if result.exit else "--on-success", call)


def record(session: Session) -> None:
    """Keep the record of a watcher's run; nothing else is done with it."""
    _step(session.result, "not recorded", partial(_keep, session.options.state, _record(session), session.result))


def _step(result: RunResult, what: str, step: Callable[[], None]) -> None:
    try:
        step()
    except (OSError, CyrsyncError) as error:  # signals are among them: the run is over, so they are too late
        result.warnings.append(f"{what}: {error_text(error)}")


def _record(session: Session) -> Record:
    result = session.result
    return history.Record(
        pair=session.pair,
        replica=printable(session.replica_identity),
        source=printable(absolute(session.source)),
        destination=printable(absolute(session.replica)),
        engine=result.engine,
        partitions=printable(" ".join(session.partitions)),
        users=printable(" ".join(word.removeprefix("--user=") for word in result.part)),
        started=result.started,
        seconds=result.seconds,
        exit=int(result.exit),
        json=history.brief({**result.to_json(), "roots": result.roots}),
    )


def _keep(state: Path, record: Record, result: RunResult) -> None:
    # A run for which no file can be made there has failed at its lock, and has said so itself.
    if history.can_be_kept(state):
        warning = history.add(state, record)
        result.warnings += [warning] if warning else []


def _write_metrics(state: Path, path: str, record: Record, result: RunResult) -> None:
    from cyrsync.report import metrics, whole_file

    runs: tuple[Record, ...] = ()
    with suppress(UnusableError):  # a warning has been given
        runs = history.runs_of(state, record.pair)
    known = history.Pair(runs if record in runs else (record, *runs))
    whole_file.write(path, metrics.render(result, known))


def _log(where: str, result: RunResult) -> None:
    from cyrsync.report import log

    log.send(where, result)


def _call(state: Path, hook: str, result: RunResult) -> None:
    told = {} if state == state_path() else {CHOSEN: str(state)}
    code = process.hook(hook, json.dumps(result.to_json()) + "\n", told)
    if code:
        end = f"exit {code}" if code > 0 else f"signal {-code}"
        raise HookFailed(f"{hook}: {end}")
