"""How commands declare what has names to complete: jobs (`@JOB` for an operand, names, the file), and users."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cyrsync.cli import complete


def _of_job(context: typer.Context, parameter: typer.CallbackParam, value: str | None) -> str | None:
    """Return what an operand stands for: itself, or what the job says that `@JOB` names."""
    if value is None or not value.startswith("@") or context.resilient_parsing:
        return value
    from cyrsync.cli import jobs  # what few runs need is not loaded by all

    return jobs.operand(context, parameter, value)


def _tree_of_job(context: typer.Context, value: str) -> str:
    """Return the tree that is meant: the one given, or the replica of the job that `@JOB` names."""
    if not value.startswith("@") or context.resilient_parsing:
        return value
    from cyrsync.cli import jobs

    return jobs.tree(context, value)


def _replica_of_job(context: typer.Context, value: str | None) -> str | None:
    """Return the replica that is meant: the one given, or that of the job that `@JOB` names, of a whole server."""
    if value is None or not value.startswith("@") or context.resilient_parsing:
        return value
    from cyrsync.cli import jobs

    return jobs.replica(context, value)


def _checked_of_job(context: typer.Context, parameter: typer.CallbackParam, value: str | None) -> str | None:
    """Return what is to be checked: of a job that `@JOB` names, its spool, or with --history its replica."""
    if value is not None and context.params.get("history"):
        return _tree_of_job(context, value)
    return _of_job(context, parameter, value)


def _complete_at(incomplete: str) -> list[str]:
    from cyrsync.cli import jobs

    return jobs.complete_at(incomplete)


def _complete_user_or_at(context: typer.Context, incomplete: str) -> list[str]:
    return _complete_at(incomplete) or complete.users(context, incomplete)


def _complete_job(incomplete: str) -> list[str]:
    from cyrsync.cli import jobs

    return jobs.complete(incomplete)


def operand(metavar: str, help: str) -> Any:  # noqa: A002 - as typer calls it
    """Return the declaration of an operand that may be `@JOB`."""
    return typer.Argument(metavar=metavar, help=help, callback=_of_job, is_eager=True, autocompletion=_complete_at)


def tree_to_check(metavar: str, help: str) -> Any:  # noqa: A002 - as typer calls it
    """Return the declaration of what `verify` checks, which may be `@JOB`; its option --history has to be eager."""
    return typer.Argument(
        metavar=metavar, help=help, callback=_checked_of_job, is_eager=True, autocompletion=_complete_at
    )


def tree(help: str) -> Any:  # noqa: A002 - as typer calls it
    """Return the declaration of a TREE that may be `@JOB`."""
    return typer.Argument(
        metavar="TREE|@JOB", help=help, callback=_tree_of_job, is_eager=True, autocompletion=_complete_at
    )


def destination(help: str) -> Any:  # noqa: A002 - as typer calls it
    """Return the declaration of the DEST of a whole server, which may be `@JOB`."""
    return user_or_destination("DEST|@JOB", help)


def user_or_destination(metavar: str, help: str) -> Any:  # noqa: A002 - as typer calls it
    """Return the declaration of an operand in whose place the DEST of a whole server may stand, or `@JOB`."""
    names = _complete_user_or_at if metavar == "USER" else _complete_at
    return typer.Argument(metavar=metavar, help=help, callback=_replica_of_job, is_eager=True, autocompletion=names)


ConfigFile = Annotated[
    str | None,
    typer.Option(
        "--config", metavar="FILE", is_eager=True, help="The configuration file, for jobs: /etc/cyrsync.toml."
    ),
]
JobNames = Annotated[
    list[str] | None,
    typer.Argument(metavar="[JOB...]", help="Tables of the configuration file.", autocompletion=_complete_job),
]
Users = Annotated[
    list[str] | None,
    typer.Option(
        "--user",
        metavar="NAME",
        help="Only this user (repeatable); without -C, the path has to name the user.",
        autocompletion=complete.users,
    ),
]
