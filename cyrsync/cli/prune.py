"""`cyrsync prune`, `hold` and `forget`: what stays of the history on a replica."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cyrsync.cli import complete, signals
from cyrsync.cli.operands import ConfigFile, destination, user_or_destination
from cyrsync.cli.options import AsJson, Conf, DryRun, Quiet, Rsh, Timeout, Verbose, Wait, read_conf
from cyrsync.cli.output import as_line, complain_by_reason, console, progress
from cyrsync.cli.retention import (
    Grace,
    KeepDaily,
    KeepHourly,
    KeepLast,
    KeepMonthly,
    KeepWeekly,
    KeepWithin,
    KeepYearly,
    retention_of,
)
from cyrsync.cyrus.server import CONF
from cyrsync.errors import InterruptedRun, UsageError
from cyrsync.text import printable

if TYPE_CHECKING:
    from cyrsync.cyrus.server.config import Config
    from cyrsync.history.prune import Pruned
    from cyrsync.history.replica_stores import ReplicaStores
    from cyrsync.sync.options import Options

Destination = Annotated[str, destination("The replica: the DEST of `sync -C`.")]


def prune_command(
    destination: Destination,
    _config: ConfigFile = None,
    conf: Conf = None,
    keep_last: KeepLast = None,
    keep_within: KeepWithin = None,
    keep_hourly: KeepHourly = None,
    keep_daily: KeepDaily = None,
    keep_weekly: KeepWeekly = None,
    keep_monthly: KeepMonthly = None,
    keep_yearly: KeepYearly = None,
    grace: Grace = "1d",
    discard_damaged: Annotated[
        bool, typer.Option("--discard-damaged", help="Also remove kept states that cannot be read.")
    ] = False,
    rsh: Rsh = None,
    timeout: Timeout = None,
    wait: Wait = 60,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Thin out the history on DEST that `sync -C --history` keeps, and remove messages that no kept state needs.

    Without any --keep-..., every state of the last 7 days stays,
    and the state at the end of each of the last 48 hours, 14 days, 8 weeks and 12 months.
    """
    from cyrsync.history.prune import Pruned, prune

    retention, spare = retention_of(
        *(keep_last, keep_within, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly), grace=grace
    )
    now = time.time()
    seconds = int(min(now - spare.before(now), now))
    result = Pruned(destination, dry_run)
    with (
        _opened(destination, conf, _options(rsh, timeout, wait), dry_run=dry_run) as stores,
        progress(quiet or as_json) as reporter,
    ):
        prune(
            *(stores, retention, result),
            grace=seconds,
            now=now,
            discard_damaged=discard_damaged,
            tell=lambda states: reporter.scan(states, 0),
        )
    _show(result, as_json=as_json, verbose=verbose, quiet=quiet)


def hold_command(
    user: Annotated[str | None, user_or_destination("USER", "The user whose history is to stay.")] = None,
    destination: Annotated[str | None, user_or_destination("DEST|@JOB", "The replica, as for `prune`.")] = None,
    _config: ConfigFile = None,
    conf: Conf = None,
    release: Annotated[bool, typer.Option("--release", help="End the hold.")] = False,
    as_list: Annotated[bool, typer.Option("--list", help="Show who is held on DEST, and since when.")] = False,
    rsh: Rsh = None,
    timeout: Timeout = None,
    wait: Wait = 60,
    as_json: Annotated[bool, typer.Option("--json", help="With --list: print one JSON object a line.")] = False,
) -> None:
    """Keep all that the history on DEST has of a user, until --release: `prune` and `forget` leave it alone.

    With --list, give DEST alone.
    """
    from cyrsync.history import prune

    if as_list:
        user, destination = None, destination if user is None else user
    if destination is None or (as_list and release) or not (as_list or user):
        raise UsageError("give USER and DEST, or --list and DEST")
    config = read_conf(conf or CONF)
    with _opened(destination, conf, _options(rsh, timeout, wait), dry_run=as_list, config=config) as stores:
        stores.look(brief=as_list or release)
        complain_by_reason(stores.problems)
        if user is None:
            _show_held(stores, as_json=as_json)
        elif release:
            prune.release(stores, _plain(user, config))
        else:
            prune.hold(stores, _plain(user, config), _by(), _now())
            complain_by_reason(filter(None, [stores.nothing_of(_plain(user, config))]))


def forget_command(
    user: Annotated[str, typer.Argument(metavar="USER", help="The user to erase.", autocompletion=complete.users)],
    destination: Destination,
    _config: ConfigFile = None,
    conf: Conf = None,
    no_config: Annotated[
        bool, typer.Option("--no-config", help="DEST has the partitions alone, as by sync --no-config.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    rsh: Rsh = None,
    timeout: Timeout = None,
    wait: Wait = 60,
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Erase a user from the history on DEST: all kept states of the user's mailboxes and files, and their messages.

    The replica itself stays as it is: what the server has of the user, DEST has, and the next runs keep it again.
    """
    from cyrsync.history.prune import Pruned, forget

    config = read_conf(conf or CONF)
    if not yes:
        _ask(f"Erase {printable(user)} from the history on {printable(destination)}? This cannot be undone.")
    result = Pruned(destination, user=_plain(user, config))
    with (
        _opened(destination, conf, _options(rsh, timeout, wait), config=config) as stores,
        progress(quiet or as_json) as reporter,
    ):
        forget(
            *(stores, _plain(user, config), result),
            by=_by(),
            now=_now(),
            with_conf=not no_config,
            tell=lambda states: reporter.scan(states, 0),
        )
    _show(result, as_json=as_json, verbose=verbose, quiet=quiet)


@contextmanager
def _opened(
    destination: str, conf: str | None, options: Options, *, dry_run: bool = False, config: Config | None = None
) -> Iterator[ReplicaStores]:
    import tempfile

    from cyrsync.ends import address
    from cyrsync.history.replica_stores import opened

    config = config or read_conf(conf or CONF)
    with (
        tempfile.TemporaryDirectory(prefix="cyrsync-") as directory,
        opened(address.parse(destination), config, options, Path(directory), dry_run=dry_run) as stores,
    ):
        yield stores


def _options(rsh: str | None, timeout: float | None, wait: float) -> Options:
    from cyrsync.cli.settings import patience_of
    from cyrsync.rsync import options as rsync_options
    from cyrsync.sync.options import Options

    settings = rsync_options.settings(rsync_options.parse(["-a"]))
    return Options(rsh=rsh, wait=wait, patience=patience_of(settings, timeout))


def _plain(user: str, config: Config) -> str:
    from cyrsync.history.owners import plain_user

    return plain_user(user, config)


def _by() -> str:
    """Return who asks for something: on this machine."""
    from cyrsync.far.host import user_name

    return f"{os.environ.get('SUDO_USER') or user_name(os.getuid())}@{os.uname().nodename}"


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _ask(question: str) -> None:
    """Return only if the user says yes. Raise UsageError if there is no terminal to ask on."""
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask on: give --yes")
    try:
        agreed = typer.confirm(question)
    except typer.Abort:
        agreed = False
    if not agreed:
        raise InterruptedRun("nothing was erased")


def _show(result: Pruned, *, as_json: bool, verbose: bool, quiet: bool) -> None:
    complain_by_reason((*result.warnings, *result.errors), every=verbose)
    if as_json:
        with signals.pipe_may_break():
            print(as_line(result.to_json()))
    elif not quiet and (verbose or result.dry_run or sys.stdout.isatty()):
        from cyrsync.report.pruned import lines

        with signals.pipe_may_break():
            for line in lines(result):
                print(line)
    raise typer.Exit(result.exit)


def _show_held(stores: ReplicaStores, *, as_json: bool) -> None:
    from cyrsync.history.prune import held
    from cyrsync.report.pruned import held_table

    found = held(stores)
    with signals.pipe_may_break():
        if as_json:
            for one in found:
                print(json.dumps(one.to_json()))
        elif found:
            console(a_line_each=True).print(held_table(found))
