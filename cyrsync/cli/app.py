"""The command line: `cyrsync COMMAND`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cyrsync import __version__
from cyrsync.cli import signals, streams
from cyrsync.cli.check import check_command
from cyrsync.cli.config import config_command
from cyrsync.cli.ending import ended
from cyrsync.cli.exit_codes import epilogue
from cyrsync.cli.history import history_command
from cyrsync.cli.inspect import inspect_command
from cyrsync.cli.list import list_command
from cyrsync.cli.output import complain
from cyrsync.cli.promote import promote_command
from cyrsync.cli.prune import forget_command, hold_command, prune_command
from cyrsync.cli.restore import restore_command
from cyrsync.cli.rsync import drop_in
from cyrsync.cli.run import run_command
from cyrsync.cli.status import status_command
from cyrsync.cli.sync import sync_command
from cyrsync.cli.verify import verify_command
from cyrsync.errors import Exit, error_text

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Keep a replica of a Cyrus IMAP spool: find what changed at almost no cost, and send only that.",
    epilog=epilogue(),
)
app.command("sync", epilog=epilogue("sync"))(sync_command)
app.command("run", epilog=epilogue("run"))(run_command)
app.command("config", epilog=epilogue("config"))(config_command)
app.command("list", epilog=epilogue("list"))(list_command)
app.command("inspect", epilog=epilogue("inspect"))(inspect_command)
app.command("verify", epilog=epilogue("verify"))(verify_command)
app.command("check", epilog=epilogue("check"))(check_command)
app.command("promote", epilog=epilogue("promote"))(promote_command)
app.command("history", epilog=epilogue("history"))(history_command)
app.command("restore", epilog=epilogue("restore"))(restore_command)
app.command("prune", epilog=epilogue("prune"))(prune_command)
app.command("hold", epilog=epilogue("hold"))(hold_command)
app.command("forget", epilog=epilogue("forget"))(forget_command)
app.command("status", epilog=epilogue("status"))(status_command)


@app.command("rsync", add_help_option=False)
def rsync_command() -> None:
    """Do what rsync does with the same words, in less time.

    The exit code is rsync's. What cyrsync cannot do, rsync itself does.
    """


def _print_version(wanted: bool) -> None:
    if wanted:
        from cyrsync.rsync.features import version

        print(f"cyrsync {__version__} (rsync {version()})")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the versions and exit."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line and exit."""
    signals.install()
    streams.prepare()
    code = _run()
    try:
        streams.flush()
    except OSError as error:
        if code != Exit.FILE_IO:  # else it was said
            complain(error_text(error))
        code = code or Exit.FILE_IO
    sys.exit(code)


def _run() -> int:
    """Run the command line, print the error that ends it, and return the exit code."""
    if sys.argv[1:2] == ["rsync"]:
        # Not one word of it is ours to read: typer would swallow a `--`.
        return ended(lambda: drop_in(sys.argv[2:]))
    return ended(app)
