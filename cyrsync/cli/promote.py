"""`cyrsync promote`: make a server of a replica."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from typing import Annotated

import typer

from cyrsync.cli import signals
from cyrsync.cli.options import Conf, read_conf
from cyrsync.cli.output import complain_of_all, console, progress
from cyrsync.cyrus.server import CONF
from cyrsync.errors import UsageError


def promote_command(
    tree: Annotated[str | None, typer.Argument(metavar="[TREE]", help="A replica of one partition, here.")] = None,
    conf: Conf = None,
    run: Annotated[bool, typer.Option("--run", help="Also run the commands that need no decision.")] = False,
    content: Annotated[bool, typer.Option("--content", help="Read every message; compare size and SHA-1.")] = False,
    wait: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long to wait until another run has ended.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show all folders with a problem.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print only warnings and errors.")] = False,
) -> None:
    """Make a server of a replica. Run this on the standby when the master is dead, or stopped for good.

    The replica is marked, so that no cyrsync writes to it again, cleaned of leftovers, and verified.
    Its age is printed, and the commands that are left until Cyrus runs on it.
    -C names the standby's own imapd.conf.
    """
    from cyrsync.report import promotion  # what few runs need is not loaded by all
    from cyrsync.standby import promote
    from cyrsync.standby.promotion import Promotion
    from cyrsync.verify.result import AuditResult

    if tree is not None and (conf or run):
        raise UsageError("give either TREE, for one partition, or -C IMAPD_CONF, for a whole server")
    conf = None if tree is not None else conf or CONF
    began = datetime.now(timezone.utc).isoformat(timespec="seconds")
    audit = AuditResult(tree=tree or conf or "", replica=None, content=content, started=began)
    result = Promotion(conf, tree, audit)
    options = promote.Options(run=run, content=content, wait=wait)
    try:
        with progress(quiet or as_json) as reporter:
            if tree is not None:
                promote.promote_tree(tree, result, options, reporter.scan)
            else:
                promote.promote_server(read_conf(conf), result, options, reporter.scan)
    except promote.UnfitError as error:
        complain_of_all(error.reasons)
        raise
    complain_of_all((*result.warnings, *result.errors))
    if as_json:
        with signals.pipe_may_break():
            print(json.dumps(result.to_json()))
    elif not quiet:
        promotion.show(result, console(a_line_each=True), verbose)
        sys.stdout.flush()
    raise typer.Exit(result.exit)
