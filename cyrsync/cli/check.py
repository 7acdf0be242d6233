"""`cyrsync check`: what has to be right before the first run."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from cyrsync.cli import signals
from cyrsync.cli.options import CONF, Conf, Rsh, RsyncPath, StateDirectory
from cyrsync.cli.output import console
from cyrsync.run import Options
from cyrsync.tree import address


def check_command(
    destination: Annotated[str, typer.Argument(metavar="DEST", help="The prefix that `sync -C` is to be given.")],
    conf: Conf = None,
    rsh: Rsh = None,
    rsync_path: RsyncPath = None,
    no_config: Annotated[bool, typer.Option("--no-config", help="As `sync` is to be given it.")] = False,
    state: StateDirectory = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing: the exit code tells.")] = False,
) -> None:
    """See whether `sync -C` would work, before it is first run: a line for each check, with what to do if it fails.

    Nothing is changed, neither here nor on DEST. Give -e, --rsync-path and --state as for `sync`.
    """
    from cyrsync.report.check import Checked, show  # what few runs need is not loaded by all
    from cyrsync.spare.check import Source
    from cyrsync.spare.check_replica import replica_findings

    if state is not None:
        os.environ["CYRSYNC_STATE"] = state
    replica = address.parse(destination)
    result, output = Checked(conf or CONF, destination), console(a_line_each=True)
    source = Source(result.conf, with_conf=not no_config)
    with tempfile.TemporaryDirectory(prefix="cyrsync-") as directory, signals.pipe_may_break():
        options = Options(rsh=rsh, rsync_path=rsync_path)
        for findings in (source.findings(), replica_findings(replica, options, source, Path(directory))):
            for finding in findings:
                result.findings.append(finding)
                if not (quiet or as_json):
                    show(finding, output)
        if as_json:
            print(json.dumps(result.to_json()))
    raise typer.Exit(result.exit)
