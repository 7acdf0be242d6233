"""`cyrsync config`: what the configuration file says."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cyrsync.cli import signals
from cyrsync.cli.operands import ConfigFile

if TYPE_CHECKING:
    from cyrsync.jobs.file import Job


def config_command(
    config: ConfigFile = None,
    example: Annotated[
        bool, typer.Option("--example", help="Print an example: each key, what it does, and its default.")
    ] = False,
) -> None:
    """Check the configuration file, and print each job as the command that `run` runs.

    Each error is named with its line (exit 3). Nothing is run.
    """
    from cyrsync.cli import commands, jobs
    from cyrsync.jobs.example import render

    with signals.pipe_may_break():
        if example:
            print(render(jobs.keys().values()), end="")
            return
        sync = commands.load("sync")
        for job in jobs.load(config).jobs.values():
            print(f"{job.name}: {shlex.join(words(sync, job))}")


def words(command: Any, job: Job) -> list[str]:
    """Return the command line that does what a job does."""
    from cyrsync.cli.jobs import defaults

    given, found = defaults(command, job), ["cyrsync", "sync"]
    for parameter in command.params:
        value = given.get(parameter.name)
        if value is None or value is False:
            continue
        option = parameter.opts[0]
        if value is True:
            found.append(option)
        else:
            found += [word for one in (value if isinstance(value, list) else [value]) for word in (option, str(one))]
    operands = [job.source, job.destination] if job.source else [job.destination]
    extra = job.values.get("rsync-options", ())
    return [*found, *operands, *(("--", *extra) if extra else ())]
