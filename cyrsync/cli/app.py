"""The command line: `cyrsync COMMAND`."""

from __future__ import annotations

import gc
import sys

from cyrsync.cli import signals, streams
from cyrsync.cli.ending import ended
from cyrsync.cli.output import complain
from cyrsync.errors import Exit, InterruptedRun, error_text

#: Commands that watch if an option, or the job, says so.
_MAY_WATCH = (["sync"], ["run"])


def rsync_command() -> None:
    """Do what rsync does with the same arguments, in less time.

    The exit code is rsync's. cyrsync leaves to rsync what it cannot do itself.
    """


def main() -> None:
    """Run the command line and exit."""
    signals.install(may_watch=sys.argv[1:2] in _MAY_WATCH)
    streams.prepare()
    try:
        code = ended(_run)
        signals.let_go()
    except InterruptedRun as error:  # a signal has arrived right behind the end
        code = error.code
    try:
        streams.flush()
    except OSError as error:
        if code != Exit.FILE_IO:  # else it was said
            complain(error_text(error))
        code = code or Exit.FILE_IO
    gc.freeze()  # what is left goes with the process: nobody need look at all of it once more
    sys.exit(code)


def _run() -> int | None:
    """Run the command line, and return the exit code of what does not raise it."""
    if sys.argv[1:2] == ["rsync"]:
        # Not one word of it is ours to read: typer would swallow a `--`. So it is not loaded.
        from cyrsync.cli.rsync import drop_in

        return drop_in(sys.argv[2:])
    from cyrsync.cli.command_line import run

    return run()
