"""`cyrsync sync`: bring the replica up to date with the source."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from typing import Annotated, NoReturn

import typer

from cyrsync.cli import signals
from cyrsync.cli.operands import Users
from cyrsync.cli.options import (
    AsJson,
    Bandwidth,
    Conf,
    DryRun,
    Full,
    Log,
    Maps,
    MostDeletions,
    OverwriteReplica,
    Partitions,
    Quiet,
    Rsh,
    RsyncPath,
    ShardOf,
    SkipDerived,
    StateDirectory,
    Timeout,
    Verbose,
    Wait,
    read_conf,
    users_of,
)
from cyrsync.cli.output import progress, show
from cyrsync.cli.settings import patience_of, policy_of
from cyrsync.ends import address
from cyrsync.errors import UnusableError, UsageError
from cyrsync.jobs.source import is_imapd_conf
from cyrsync.rsync import options as rsync_options
from cyrsync.rsync.rate import Rate
from cyrsync.server import mapping
from cyrsync.state.lock import state_path
from cyrsync.sync.guard import MaxDelete
from cyrsync.sync.options import History, Options
from cyrsync.sync.part import Part, Shard
from cyrsync.sync.progress import Reporter
from cyrsync.sync.session import Session

#: Seconds that a watcher waits for a run to end.
_FOR_EVER = 1e9
#: Seconds after which a watcher keeps the next state of a mailbox.
_SPACING = 900


def sync_command(
    source: Annotated[
        str,
        typer.Argument(metavar="[SRC]", help="The spool: PATH, HOST:PATH or rsync://HOST/MODULE. With -C, nothing."),
    ] = "",
    destination: Annotated[
        str,
        typer.Argument(
            metavar="DEST",
            help="The replica, likewise; SRC or DEST is here. With -C, a directory: the server's paths are below it.",
        ),
    ] = "",
    extra: Annotated[
        list[str] | None, typer.Argument(metavar="[-- RSYNC_OPTION...]", help="Options for every rsync.")
    ] = None,
    conf: Conf = None,
    full: Full = False,
    no_config: Annotated[
        bool, typer.Option("--no-config", help="With -C: replicate the partitions alone, without configdirectory.")
    ] = False,
    overwrite_replica: OverwriteReplica = False,
    from_replica: Annotated[
        bool, typer.Option("--from-replica", help="Send from a source that is a replica itself, and was not promoted.")
    ] = False,
    state: StateDirectory = None,
    dry_run: DryRun = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete on DEST what SRC no longer has.")] = False,
    max_delete: MostDeletions = None,
    rsh: Rsh = None,
    rsync_path: RsyncPath = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="With -C: keep running, and send each change as soon as Cyrus logs it.")
    ] = False,
    channel: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="With --watch: the channel of Cyrus's sync log to read; nobody else may read it."
        ),
    ] = "cyrsync",
    pass_every: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="With --watch: how often to look at all mailboxes.")
    ] = 600,
    history: Annotated[
        bool, typer.Option("--history", help="With -C: keep on DEST former states of mailboxes, and deleted messages.")
    ] = False,
    bwlimit: Bandwidth = None,
    compress: Annotated[bool, typer.Option("-z", "--compress", help="Compress what is sent.")] = False,
    numeric_ids: Annotated[
        bool, typer.Option("--numeric-ids", help="Send the numbers of owners, not their names.")
    ] = False,
    timeout: Timeout = None,
    retries: Annotated[
        int, typer.Option(min=0, metavar="N", help="How often to try again after a failed connection.")
    ] = 3,
    wait: Wait = 0,
    user: Users = None,
    partition: Partitions = None,
    shard: ShardOf = None,
    maps: Maps = None,
    skip_derived: SkipDerived = False,
    jobs: Annotated[
        int, typer.Option(min=1, max=64, metavar="N", help="Send by N streams at the same time; they share --bwlimit.")
    ] = 1,
    metrics: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write metrics for Prometheus's node exporter.")
    ] = None,
    log: Log = None,
    on_success: Annotated[
        str | None, typer.Option(metavar="COMMAND", help="Run COMMAND after a run that succeeded (exit 0).")
    ] = None,
    on_failure: Annotated[
        str | None,
        typer.Option(
            metavar="COMMAND",
            help="Run COMMAND after a run that failed (not after one that was skipped because of the lock).",
        ),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Bring DEST up to date with the contents of SRC, or with -C, without SRC, with a whole server.

    Messages are sent first, then their metadata. Files are deleted last.
    """
    signals.know(watches=watch)
    extra = extra or []
    if conf == "":
        raise UsageError("-C needs the name of the server's imapd.conf")
    if conf is not None:
        # There is no SRC: the words are one fewer.
        source, destination, extra = "", source, [*([destination] if destination else []), *extra]
        _see_dest_alone(conf, destination, extra)
    elif not destination:
        raise UsageError("give SRC and DEST, or -C IMAPD_CONF and DEST")
    if conf is None and address.parse(source).local and is_imapd_conf(os.path.abspath(source)):
        raise UsageError(f"{source} is no spool: a server's imapd.conf is given by -C: sync -C {source} {destination}")
    if history and conf is None:
        raise UsageError("--history is for -C: what sync SRC DEST deletes is not kept")
    if conf is None and maps:
        raise UsageError("--map is for -C: without it, give the directory of the replica as DEST")
    ours = ["--numeric-ids"] if numeric_ids else []
    words = _words([*ours, *extra], compress=compress, rsync_path=rsync_path)
    settings = rsync_options.settings(rsync_options.parse(words))
    rate = settings.bwlimit if bwlimit is None else Rate.parse(bwlimit)
    options = Options(
        delete=delete,
        max_delete=MaxDelete.parse(max_delete) if max_delete is not None else None,
        dry_run=dry_run,
        maps=mapping.parse(maps or []),
        part=_part(user, partition, shard, of_server=conf is not None),
        policy=replace(policy_of(settings, skip_derived=skip_derived), deletes=delete),
        rsh=rsh or settings.rsh,
        rsync_path=settings.rsync_path,
        compress=settings.compress,
        words=settings.passed,
        bwlimit=rate,
        trial=(*settings.passed, *(rate.words if rate else ())) if extra or rate else (),
        one_file_system=settings.one_file_system,
        connection=settings.connection,
        patience=patience_of(settings, timeout),
        retries=retries,
        wait=wait,
        jobs=jobs,
        overwrite=overwrite_replica,
        state=state_path(state),
        from_replica=from_replica,
        history=History(_SPACING if watch else 0) if history else None,
        full=full,
        with_conf=not no_config,
    )
    replica = address.parse(destination)
    if watch:
        unfit = extra or rsync_path or as_json or on_success or on_failure
        _watch(conf, replica, options, (channel, pass_every, metrics, log, verbose, quiet), unfit)
    with progress(quiet or as_json) as reporter:
        if conf is not None:
            _refuse_rsync(extra, rsync_path)
            session = _sync_server(conf, replica, options, reporter)
        else:
            session = Session(address.parse(source), replica, options, reporter)
            from cyrsync.spool.run import run  # what runs of servers do not need is not loaded by them

            run(session)
    _leave_to_watcher(session, full=full, verbose=verbose)
    from cyrsync.cli import aftermath  # what no other command needs is not loaded by all

    aftermath.finish(session, aftermath.Wanted(metrics, log, on_success, on_failure))
    show(session.result, as_json=as_json, verbose=verbose, quiet=quiet)
    raise typer.Exit(session.result.exit)


def _part(users: list[str] | None, partitions: list[str] | None, shard: str | None, *, of_server: bool) -> Part:
    """Return the part that the run is for. Raise UsageError where there is none."""
    if partitions and not of_server:
        raise UsageError("--partition is for -C: without it, give the partition's directory as SRC")
    if shard is not None and not of_server:
        raise UsageError("--shard is for -C: without it, run one job for each partition")
    number = Shard.parse(shard, os.environ) if shard is not None else None
    return Part(users_of(users), frozenset(partitions or ()), number)


def _sync_server(conf: str, replica: address.Address, options: Options, reporter: Reporter) -> Session:
    """Sync a server. If its imapd.conf cannot be understood, the run ends, and is reported like any other."""
    from cyrsync.server.run import ServerRun  # what only runs of servers need is not loaded by all

    if options.part and options.overwrite:
        raise UsageError("--overwrite-replica is for a whole replica: not with --user, --partition or --shard")
    where = address.Address(conf, os.fsencode(os.path.realpath(conf)))
    session = Session(where, replica, options, reporter, engine="index")
    try:
        config = read_conf(conf)
        for unknown in sorted(options.part.partitions - config.partitions.keys()):
            known = ", ".join(config.partitions)
            raise UsageError(f"--partition {unknown}: {conf} has no such partition; it has {known}")
        session.partitions = tuple(config.partitions)
        attempt = ServerRun(session, config).attempt
    except UnusableError as error:
        attempt = partial(_fail, error)
    session.execute(attempt)
    return session


def _watch(
    conf: str | None,
    replica: address.Address,
    options: Options,
    wanted: tuple[str, float, str | None, str | None, bool, bool],
    unfit: object,
) -> NoReturn:
    """Watch a server until told to stop; `unfit`: something is asked for that only a run does."""
    from cyrsync.cli.watch import Wanted, watch_server  # what single runs do not need is not loaded by them

    if conf is None or unfit or options.part or options.dry_run:
        left_out = "--dry-run, --json, --user, --partition, --shard, --on-success, --on-failure and options for rsync"
        raise UsageError(f"--watch is for -C and DEST, without SRC, {left_out}")
    where = address.Address(conf, os.path.realpath(os.fsencode(conf)))
    # Another run of this pair will end.
    session = Session(where, replica, replace(options, wait=options.wait or _FOR_EVER), engine="index")
    watch_server(session, partial(read_conf, conf), Wanted(*wanted))
    raise typer.Exit


def _leave_to_watcher(session: Session, *, full: bool, verbose: bool) -> None:
    """Leave the work to the watcher of this pair, if there is one."""
    if not session.watched:
        return
    from cyrsync.state import watching

    if full:
        watching.ask_for_full(session.options.state, session.key)
    if verbose:
        print(f"{session.watched}{': it is asked to compare everything' if full else ''}")
    raise typer.Exit


def _fail(error: UnusableError) -> NoReturn:
    raise error


def _refuse_rsync(extra: list[str], rsync_path: str | None) -> None:
    """Raise UsageError for options of rsync, which does not run here."""
    if extra or rsync_path is not None:
        what = "options after --" if extra else "--rsync-path"
        raise UsageError(f"{what}: -C runs no rsync: give SRC and DEST for that")


def _see_dest_alone(conf: str, destination: str, extra: list[str]) -> None:
    """Raise UsageError unless DEST is given beside -C, and no SRC."""
    if not destination:
        raise UsageError(f"give DEST, where the replica is to be: sync -C {conf} DEST")
    if extra and not extra[0].startswith("-"):
        raise UsageError("-C names the source: give DEST alone")


def _words(extra: list[str], *, compress: bool, rsync_path: str | None) -> list[str]:
    """Return the words for rsync: -a, ours, and what followed `--`. Raise UsageError for what can't be there."""
    line = rsync_options.parse(extra)
    reason = rsync_options.unfit_extra(line)
    if reason:
        raise UsageError(f"after --: {reason}")
    words = ["-a", *extra]
    words += ["-z"] if compress else []
    words += [f"--rsync-path={rsync_path}"] if rsync_path else []
    return words
