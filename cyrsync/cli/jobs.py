"""Jobs of the configuration file on the command line: its keys, `@JOB` in place of DEST, and names to complete."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import typer

from cyrsync.cli import commands
from cyrsync.cli.options import read_conf
from cyrsync.ends import address
from cyrsync.errors import CyrsyncError, UsageError
from cyrsync.jobs import file, place
from cyrsync.jobs.keys import Key
from cyrsync.server import mapping

if TYPE_CHECKING:
    from cyrsync.jobs.file import Job, Jobs

#: Options that would be wrong in every run but the one that they are meant for.
ONE_RUN = ("dry-run", "json", "overwrite-replica")
#: Keys that are operands on the command line.
_OPERANDS = {
    "source": "The spool: PATH, HOST:PATH or rsync://HOST/MODULE; or a server's imapd.conf.",
    "destination": "The replica, likewise; of a whole server, a directory: the server's paths are below it.",
    "extra": "Options for every rsync.",
}
#: How the key of an operand is called where it is not called as the parameter.
_NAMES = {"extra": "rsync-options"}
#: By the first word of what typer, in its various versions, calls the types.
_KINDS = {"int": "whole number", "integer": "whole number", "float": "number"}


def keys() -> dict[str, Key]:
    """Return the keys that a job can have, by name: the operands and options of `sync`, and what `prune` keeps."""
    from cyrsync.cli.retention import retention_of, usual

    declared = typer.Typer(add_completion=False)
    declared.command("prune")(retention_of)
    kept = [key._replace(default=usual(key.name)) for key in _keys(typer.main.get_command(declared), "prune")]
    found = {key.name: key for key in (*_keys(commands.load("sync"), "sync"), *kept) if key.name not in ONE_RUN}
    found.pop("help", None)
    return found


def _keys(command: Any, name: str) -> Iterator[Key]:
    context = command.context_class(command, info_name=name)
    yield from (_key(parameter, context) for parameter in command.params)


def name_of(parameter: Any) -> str:
    """Return the key of a parameter in the file."""
    if parameter.param_type_name == "argument":
        return _NAMES.get(parameter.name) or str(parameter.name)
    return str(max(parameter.opts, key=len).lstrip("-"))


def _key(parameter: Any, context: Any) -> Key:
    name, type_ = name_of(parameter), parameter.type
    several = parameter.nargs == -1 or getattr(parameter, "multiple", False)
    flag = getattr(parameter, "is_flag", False)
    kind = "flag" if flag else "texts" if several else _KINDS.get(type_.name.split()[0], "text")
    operand = parameter.param_type_name == "argument"
    metavar = "RSYNC_OPTION" if several and operand else (parameter.metavar or name.upper()).strip("[]")
    default = parameter.default

    def check(value: Any) -> None:
        if operand:
            _check_operand(parameter.name, value)
        elif parameter.callback:
            try:
                parameter.callback(context, parameter, value)
            except UsageError as error:
                # The place is named already, as it is in the file.
                raise ValueError(re.sub(rf"\A--{name}[ =]{re.escape(str(value))}: ", "", str(error))) from None

    return Key(
        name=name,
        help=_OPERANDS[parameter.name] if operand else parameter.help or "",
        kind=kind,
        metavar="" if flag else metavar,
        default=None if operand else default,
        least=getattr(type_, "min", None),
        most=getattr(type_, "max", None),
        check=check,
    )


def _check_operand(name: str, value: Any) -> None:
    """Raise ValueError for what is no place, or for one that depends on where cyrsync is started."""
    try:
        if name in ("source", "destination") and address.parse(value).local and not os.path.isabs(value):
            raise ValueError("give the whole path, from / on, or HOST:PATH")
    except UsageError as error:
        raise ValueError(str(error)) from None


def load(given: str | None) -> Jobs:
    """Return the jobs of the configuration file. Raise UnusableError where it can't be used."""
    path = place.config_path(given)
    return file.parse(path, place.read(path), keys(), ONE_RUN)


def defaults(command: Any, job: Job) -> dict[str, Any]:
    """Return what a job gives the options of a command that are not given on its command line."""
    found = {}
    for parameter in command.params:
        name = name_of(parameter)
        if parameter.param_type_name == "option" and name in job.values:
            found[parameter.name] = job.values[name]
    if "conf" in {parameter.name for parameter in command.params}:
        found["conf"] = job.conf
    return found


def for_sync(command: Any, job: Job) -> dict[str, Any]:
    """Return what a job gives `sync`, operands and all: with an imapd.conf alone, there is one fewer."""
    operands = [job.source, job.destination] if job.source else [job.destination]
    extra = list(job.values.get("rsync-options", ()))
    return {**defaults(command, job), **dict(zip(("source", "destination"), operands, strict=False)), "extra": extra}


def operand(context: typer.Context, parameter: Any, value: str) -> str:
    """Return what an operand `@JOB` stands for, and have the job give the options that the command line does not.

    With SRC and DEST to be given, a job gives both in place of the first. Raise UsageError for one that does not fit.
    """
    [job] = load(context.params.get("_config")).select([value])
    given = defaults(context.command, job)
    operands = [str(one.name) for one in context.command.params if one.param_type_name == "argument"]
    source, replica = None, job.destination
    if len(operands) == 2:
        given.pop("conf", None)
        if parameter.name == operands[0]:
            source, replica = _spool_of(job)
            given[operands[1]] = replica
    elif "conf" in given and (job.source or not job.conf):
        raise UsageError(f"{value}: the source of this job is no imapd.conf: this command is for whole servers")
    context.default_map = given
    return source or replica


def tree(context: typer.Context, value: str) -> str:
    """Return the replica of a whole server here that `@JOB` stands for. Raise UsageError for another one."""
    [job] = load(context.params.get("_config")).select([value])
    if job.source or not job.conf or not address.parse(job.destination).local:
        raise UsageError(f"{value}: this command reads the replica of a whole server: run it on the replica's host")
    if "map" in job.values:
        raise UsageError(f"{value}: the job has map: give / for TREE, and the imapd.conf of the replica with -C")
    context.default_map = {"conf": job.conf}
    return job.destination


def replica(context: typer.Context, value: str) -> str:
    """Return the replica of a whole server that `@JOB` stands for. Raise UsageError for another one."""
    [job] = load(context.params.get("_config")).select([value])
    if job.source or not job.conf:
        raise UsageError(f"{value}: the source of this job is no imapd.conf: this command is for whole servers")
    context.default_map = defaults(context.command, job)
    return job.destination


def _spool_of(job: Job) -> tuple[str, str]:
    """Return SRC and DEST of a job; for a server, of its one partition. Raise UsageError if it has several."""
    if job.source:
        return job.source, job.destination
    from cyrsync.server.roots import Roots

    roots = {root for partition in read_conf(job.conf).partitions.values() for root in Roots.of(partition).all()}
    replica = job.destination + "." * job.destination.endswith(":")
    maps = mapping.parse(job.values.get("map", ()))
    pairs = {os.fsdecode(root): _replica_of(root, replica, maps) for root in sorted(roots)}
    if len(pairs) != 1:
        each = "; ".join(map(" ".join, pairs.items()))
        raise UsageError(f"@{job.name}: the server has several directories: give SRC and DEST of one partition: {each}")
    return next(iter(pairs.items()))


def _replica_of(root: bytes, replica: str, maps: mapping.Maps) -> str:
    """Return where a directory of a server has its replica, as an operand."""
    host = replica.removesuffix(os.fsdecode(address.parse(replica).path))
    place = mapping.mapped(maps, root)
    return f"{host}{os.fsdecode(place)}" if place else f"{replica.rstrip('/')}{os.fsdecode(root)}"


def complete(incomplete: str) -> list[str]:
    """Return the names of jobs that begin so, to complete `run`; a file that is wrong has none."""
    from cyrsync.jobs import toml

    with suppress(CyrsyncError, OSError, toml.NotToml):
        tables = toml.parse(place.read(place.config_path()))
        return [name for name in file.names_in(tables) if name.startswith(incomplete)]
    return []


def complete_at(incomplete: str) -> list[str]:
    """Return what `@JOB` may become."""
    return [f"@{name}" for name in complete(incomplete.removeprefix("@"))] if incomplete.startswith("@") else []
