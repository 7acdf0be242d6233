"""`cyrsync check`: what has to be right before the first run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cyrsync.cli import signals
from cyrsync.cli.operands import ConfigFile, operand
from cyrsync.cli.options import Conf, Maps, Rsh, RsyncPath, StateDirectory
from cyrsync.cli.output import console
from cyrsync.cyrus.server import CONF
from cyrsync.ends import address
from cyrsync.rolling.channel import checked
from cyrsync.server import mapping
from cyrsync.state.lock import state_path
from cyrsync.sync.options import Options

if TYPE_CHECKING:
    from cyrsync.ends.address import Address
    from cyrsync.standby.check import Source
    from cyrsync.standby.checked import Checked, Finding


def check_command(
    destination: Annotated[str, operand("DEST|@JOB", "The DEST that `sync -C` is to have.")],
    _config: ConfigFile = None,
    conf: Conf = None,
    rsh: Rsh = None,
    rsync_path: RsyncPath = None,
    maps: Maps = None,
    channel: Annotated[
        str, typer.Option("--channel", metavar="NAME", help="Check for a sync --watch with this channel.")
    ] = "cyrsync",
    no_config: Annotated[bool, typer.Option("--no-config", help="Check for a sync with --no-config.")] = False,
    state: StateDirectory = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing: the exit code is the result.")] = False,
) -> None:
    """Check whether `sync -C` would work, before its first run: a line for each check, and what to do if one fails.

    Nothing is changed, neither here nor on DEST. Give -e, --rsync-path and --state as for `sync`.
    """
    from cyrsync.report.check import show, summed
    from cyrsync.standby.check import Source
    from cyrsync.standby.checked import Checked

    replica, channel = address.parse(destination), checked(channel)
    result, output = Checked(conf or CONF, destination), console(a_line_each=True)
    with tempfile.TemporaryDirectory(prefix="cyrsync-") as directory, signals.pipe_may_break():
        options = Options(rsh=rsh, rsync_path=rsync_path, state=state_path(state), maps=mapping.parse(maps or []))
        source = Source(result.conf, options.state, channel, with_conf=not no_config)
        found = _noted(_findings(replica, options, source, Path(directory), with_conf=not no_config), result)
        for finding in summed(found):
            if not (quiet or as_json):
                show(finding, output)
        if as_json:
            print(json.dumps(result.to_json()))
    raise typer.Exit(result.exit)


def _noted(findings: Iterator[Finding], result: Checked) -> Iterator[Finding]:
    """Yield findings, and keep them in the result: all of them, also those that are not shown."""
    for finding in findings:
        result.findings.append(finding)
        yield finding


def _findings(
    replica: Address, options: Options, source: Source, directory: Path, *, with_conf: bool
) -> Iterator[Finding]:
    from cyrsync.standby.check_log import log_findings
    from cyrsync.standby.check_replica import replica_findings
    from cyrsync.standby.check_run import run_findings
    from cyrsync.standby.checked import Verdict

    failed = False
    for finding in chain(
        source.findings(), log_findings(source), replica_findings(replica, options, source, directory)
    ):
        failed = failed or finding.verdict is Verdict.FAIL
        yield finding
    if not failed:  # else it would only be said again
        yield from run_findings(replica, options, source, directory, with_conf=with_conf)
