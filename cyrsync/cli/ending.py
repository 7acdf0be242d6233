"""How a command ends: with an exit code, whatever it raises, and a line that says why."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cyrsync.cli.output import complain, complain_of_end
from cyrsync.errors import ConfigurationError, CyrsyncError, Exit, WatcherStopped, error_text, hint


def ended(command: Callable[[], int | None]) -> int:
    """Run a command, print the error that ends it, and return the exit code."""
    try:
        return command() or Exit.DONE
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except WatcherStopped:
        return Exit.DONE
    except ConfigurationError as error:
        return _end(error.lines, error.code)
    except CyrsyncError as error:
        return _end([str(error)], error.code)
    except PermissionError as error:
        return _end([hint(error_text(error))], Exit.FILE_IO)
    except OSError as error:
        return _end([error_text(error)], Exit.FILE_IO)
    except Exception as error:  # noqa: BLE001 - all exceptions end here
        from cyrsync.cli import unforeseen  # what no right run needs is not loaded by all

        return _end([unforeseen.message(error)], Exit.FAULT)


def _end(messages: Sequence[str], code: int) -> int:
    try:
        complain_of_end(messages, code)
    except OSError as error:
        complain(error_text(error))
    return code
