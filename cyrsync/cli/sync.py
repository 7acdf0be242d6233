"""`cyrsync sync`: bring the replica up to date with the source."""

from __future__ import annotations

import os
from enum import Enum
from typing import Annotated

import typer

from cyrsync.cli.options import (
    Conf,
    Rsh,
    RsyncPath,
    SkipDerived,
    StateDirectory,
    Users,
    policy_of,
    read_conf,
    users_of,
)
from cyrsync.cli.output import progress, show
from cyrsync.errors import UnusableError, UsageError
from cyrsync.plan.guard import MaxDelete
from cyrsync.report.progress import Reporter
from cyrsync.rsync import options as rsync_options
from cyrsync.run import Options, Run, UnreadyRun
from cyrsync.tree import address


class Engine(Enum):
    """How changes are found."""

    walk = "walk"
    index = "index"


def sync_command(
    source: Annotated[
        str,
        typer.Argument(metavar="[SRC]", help="The spool: PATH, HOST:PATH or rsync://HOST/MODULE. With -C, nothing."),
    ],
    destination: Annotated[
        str,
        typer.Argument(
            metavar="DEST", help="The replica, likewise; one of the two is here. With -C, a prefix for paths."
        ),
    ] = "",
    extra: Annotated[
        list[str] | None, typer.Argument(metavar="[-- RSYNC_OPTION...]", help="Options for every rsync.")
    ] = None,
    conf: Conf = None,
    engine: Annotated[Engine | None, typer.Option(help="How changes are found: index with -C, else walk.")] = None,
    full: Annotated[bool, typer.Option("--full", help="With -C: list the replica, and compare with that.")] = False,
    no_config: Annotated[
        bool, typer.Option("--no-config", help="With -C: the partitions alone, nothing of configdirectory.")
    ] = False,
    overwrite_replica: Annotated[
        bool,
        typer.Option("--overwrite-replica", help="Write to a replica that was promoted, or is another server's."),
    ] = False,
    state: StateDirectory = None,
    dry_run: Annotated[bool, typer.Option("-n", "--dry-run", help="Show what would be done, do nothing.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete on DEST what SRC has no more.")] = False,
    max_delete: Annotated[
        str | None,
        typer.Option(metavar="N|N%", help="Delete nothing if it were more than N files and folders, or N percent."),
    ] = None,
    rsh: Rsh = None,
    rsync_path: RsyncPath = None,
    bwlimit: Annotated[str | None, typer.Option(metavar="RATE", help="Limit the bandwidth, as rsync does.")] = None,
    compress: Annotated[bool, typer.Option("-z", "--compress", help="Compress what is sent.")] = False,
    retries: Annotated[int, typer.Option(min=0, metavar="N", help="Tries after a failed connection.")] = 3,
    wait: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long to wait for another run of this pair to end.")
    ] = 0,
    user: Users = None,
    skip_derived: SkipDerived = False,
    jobs: Annotated[
        int, typer.Option(min=1, max=64, metavar="N", help="rsync streams side by side; they share --bwlimit.")
    ] = 1,
    metrics: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write metrics for Prometheus's node exporter.")
    ] = None,
    log: Annotated[
        str | None, typer.Option(metavar="WHERE", help="Log the run: to syslog, the journal, or a file.")
    ] = None,
    on_success: Annotated[
        str | None, typer.Option(metavar="COMMAND", help="Run this after a run that exits 0.")
    ] = None,
    on_failure: Annotated[
        str | None, typer.Option(metavar="COMMAND", help="Run this after one that does not, nor with 75.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Report without a terminal too, and all.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Bring DEST up to date with the contents of SRC, or with -C instead of SRC, with a whole server.

    Messages go first, then their metadata, then what is gone goes.
    """
    if state is not None:
        os.environ["CYRSYNC_STATE"] = state
    extra = extra or []
    if conf == "":
        raise UsageError("-C needs the name of the server's imapd.conf")
    if conf is not None:
        # There is no SRC: the words are one fewer.
        source, destination, extra = conf, source, [*([destination] if destination else []), *extra]
        if extra and not extra[0].startswith("-"):
            raise UsageError("-C names the source: give DEST alone")
    elif not destination:
        raise UsageError("give SRC and DEST, or -C IMAPD_CONF and DEST")
    words = _words(extra, delete=delete, bwlimit=bwlimit, compress=compress, rsync_path=rsync_path)
    settings = rsync_options.settings(rsync_options.parse(words))
    options = Options(
        delete=delete,
        max_delete=MaxDelete.parse(max_delete) if max_delete is not None else None,
        dry_run=dry_run,
        users=users_of(user),
        policy=policy_of(settings, skip_derived=skip_derived),
        rsh=rsh or settings.rsh,
        rsync_path=settings.rsync_path,
        words=settings.passed,
        connection=settings.connection,
        retries=retries,
        wait=wait,
        jobs=jobs,
        overwrite=overwrite_replica,
    )
    with progress(quiet or as_json) as reporter:
        run = _run(conf, engine, source, destination, options, full=full, with_conf=not no_config, reporter=reporter)
        result = run.execute()
    from cyrsync.cli import aftermath  # what no other command needs is not loaded by all

    aftermath.finish(run, aftermath.Wanted(metrics, log, on_success, on_failure))
    show(result, as_json=as_json, verbose=verbose, quiet=quiet)
    raise typer.Exit(result.exit)


def _run(
    conf: str | None,
    engine: Engine | None,
    source: str,
    destination: str,
    options: Options,
    *,
    full: bool,
    with_conf: bool,
    reporter: Reporter,
) -> Run:
    if conf is not None and engine is Engine.walk:
        raise UsageError("-C takes the index engine: for the walk engine give SRC and DEST, one partition at a time")
    if conf is None and engine is Engine.index:
        raise UsageError("the index engine needs the server's imapd.conf: give -C instead of SRC")
    if conf is None:
        if full:
            raise UsageError("--full is for -C: without it every run compares with the replica itself")
        return Run(address.parse(source), address.parse(destination), options, reporter)
    from cyrsync.server.run import ServerRun  # what few runs need is not loaded by all

    if options.users:
        raise UsageError("--user and -C cannot be had together")
    where, replica = address.Address(conf, os.path.realpath(os.fsencode(conf))), address.parse(destination)
    try:
        config = read_conf(conf)
        return ServerRun(config, where, replica, options, reporter, full=full, with_conf=with_conf)
    except UnusableError as error:
        return UnreadyRun(where, replica, options, error)


def _words(extra: list[str], *, delete: bool, bwlimit: str | None, compress: bool, rsync_path: str | None) -> list[str]:
    """Return the words for rsync: -a, ours, and what followed `--`. Raise UsageError for what can't be there."""
    line = rsync_options.parse(extra)
    reason = rsync_options.unfit_extra(line)
    if reason:
        raise UsageError(f"after --: {reason}")
    if delete and rsync_options.settings(rsync_options.parse(["-a", *extra])).exclude:
        raise UsageError("after --: filters and --delete cannot be had together: use `cyrsync rsync` for that")
    words = ["-a", *extra]
    words += [f"--bwlimit={bwlimit}"] if bwlimit else []
    words += ["-z"] if compress else []
    words += [f"--rsync-path={rsync_path}"] if rsync_path else []
    return words
