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

_CODES = {
    "0": "done; files that vanished meanwhile are no failure",
    "1": "check, verify or promote found something wrong; status: older than --max-age",
    "2": "usage",
    "3": "source, destination or configuration file unusable",
    "4": "the replica was promoted, is another server's, or has a Cyrus at work on it; the source is a replica; the "
    "login was refused; or forget: the user is held",
    "10, 12, 30, 35, 255": "the connection failed, after the retries",
    "11": "file I/O: a full disk, say",
    "20": "interrupted",
    "23": "some files or folders failed, each named",
    "25": "deletions withheld",
    "70": "a fault of cyrsync itself; a file with its traceback is named",
    "75": "another run holds the lock",
    "others": "rsync's own",
}
EXIT_CODES = "Exit codes:\n" + "\n".join(f"{code}: {meaning}" for code, meaning in _CODES.items())

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Keep a replica of a Cyrus IMAP spool: find out what changed for almost nothing, let rsync move it.",
    epilog=EXIT_CODES,
)
app.command("sync", epilog=EXIT_CODES)(sync_command)
app.command("run", epilog=EXIT_CODES)(run_command)
app.command("config", epilog=EXIT_CODES)(config_command)
app.command("list", epilog=EXIT_CODES)(list_command)
app.command("inspect", epilog=EXIT_CODES)(inspect_command)
app.command("verify", epilog=EXIT_CODES)(verify_command)
app.command("check", epilog=EXIT_CODES)(check_command)
app.command("promote", epilog=EXIT_CODES)(promote_command)
app.command("history", epilog=EXIT_CODES)(history_command)
app.command("restore", epilog=EXIT_CODES)(restore_command)
app.command("prune", epilog=EXIT_CODES)(prune_command)
app.command("hold", epilog=EXIT_CODES)(hold_command)
app.command("forget", epilog=EXIT_CODES)(forget_command)
app.command("status", epilog=EXIT_CODES)(status_command)


@app.command("rsync", add_help_option=False)
def rsync_command() -> None:
    """Stand in for rsync: give it the words of your rsync command line.

    Its exit status is rsync's. What the line asks for that cyrsync does not do, rsync itself does.
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
