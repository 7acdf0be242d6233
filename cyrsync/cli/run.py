"""`cyrsync run`: run jobs of the configuration file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from cyrsync.cli import signals
from cyrsync.cli.operands import ConfigFile, JobNames
from cyrsync.cli.options import AsJson, DryRun, Full, OverwriteReplica, Quiet, Verbose, Wait
from cyrsync.errors import CONNECTION_CODES, ConfigurationError, Exit, UsageError

if TYPE_CHECKING:
    from cyrsync.jobs.file import Job

#: Exit codes of jobs, the gravest first; rsync's own are between those of the connection and the deletions withheld.
_BEFORE = (
    Exit.INTERRUPTED,
    Exit.FAULT,
    Exit.REFUSED,
    Exit.UNUSABLE,
    Exit.USAGE,
    Exit.FILE_IO,
    *sorted(CONNECTION_CODES),
)
_AFTER = (Exit.WITHHELD, Exit.PARTIAL, Exit.LOCKED, Exit.DONE)


def run_command(
    names: JobNames = None,
    config: ConfigFile = None,
    dry_run: DryRun = False,
    full: Full = False,
    wait: Wait = 0,
    overwrite_replica: OverwriteReplica = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Run jobs of the configuration file, one after the other: those named, or all.

    Each job runs as `sync` with the options of its table. If one fails, the others run nevertheless.
    A job with `watch` keeps running if it is the only one named; among others, it runs once.
    Options that are given here apply to this run. The exit code is the gravest of the jobs.
    """
    from cyrsync.cli import commands, jobs  # what other commands do not need is not loaded by all

    if overwrite_replica and not names:
        raise UsageError("--overwrite-replica: name the job whose replica is to be overwritten")
    found = jobs.load(config)
    selected = found.select(names or ())
    if not selected:
        raise ConfigurationError([f"{found.path} has no job: give it a table, [NAME], with source and destination"])
    here = {
        "dry_run": dry_run,
        "full": full,
        "wait": wait,
        "overwrite_replica": overwrite_replica,
        "as_json": as_json,
        "verbose": verbose,
        "quiet": quiet,
    }
    given = {name: value for name, value in here.items() if value}
    sync = commands.load("sync")
    if len(names or ()) != 1:
        given["watch"] = False  # one that goes on for ever would keep the others from running
    codes = []
    for job in selected:
        codes.append(_run(sync, job, found.path, jobs.for_sync(sync, job) | given))
        if signals.interrupted():
            raise typer.Exit(Exit.INTERRUPTED)
    raise typer.Exit(gravest(codes))


def _run(command: Any, job: Job, path: str, given: dict[str, Any]) -> int:
    """Run a job as by `sync`, and return its exit code."""
    from cyrsync.cli.ending import ended
    from cyrsync.cli.output import about

    def sync() -> int:
        try:
            command.invoke(command.make_context("sync", [], default_map=given))
        except typer.Exit as end:
            return end.exit_code
        except UsageError as error:  # it is the file that asks for what cannot be
            raise ConfigurationError([f"{path}: [{job.name}]: {error}"]) from None
        return Exit.DONE

    with about(job.name):
        return ended(sync)


def gravest(codes: list[int]) -> int:
    """Return the gravest of several exit codes."""
    order = {int(code): place for place, code in enumerate(_BEFORE)}
    order.update({int(code): len(order) + 1 + place for place, code in enumerate(_AFTER)})
    return min(codes, key=lambda code: order.get(code, len(_BEFORE)))
