"""How a command ends: with an exit code, whatever it raises, and a line that says why."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cyrsync.cli.output import complain, return_end
from cyrsync.errors import ConfigurationError, CyrsyncError, Exit, error_text


def ended(command: Callable[[], int | None]) -> int:
    """Run a command, print the error that ends it, and return the exit code."""
    try:
        return command() or Exit.DONE
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
        return _refused(end.__context__, code) if code else code
    except ConfigurationError as error:
        return _end(error.lines, error.code)
    except CyrsyncError as error:
        return _end([str(error)], error.code)
    except OSError as error:
        return _end([error_text(error)], Exit.FILE_IO)
    except Exception as error:  # noqa: BLE001 - all exceptions end here
        from cyrsync.cli import unforeseen  # what no right run needs is not loaded by all

        return unforeseen.report(error)


def _refused(error: BaseException | None, code: int) -> int:
    """After typer has said what is wrong with the words: return the exit code, and all that is said besides."""
    _hint(error)
    said = getattr(error, "format_message", None)
    return _returned([said()], code) if said else code


def _hint(error: BaseException | None) -> None:
    """After typer has said that `sync` has no such option: say where to give what is one of rsync's."""
    option, context = getattr(error, "option_name", None), getattr(error, "ctx", None)
    if option is None or context is None or context.info_name != "sync":
        return
    from cyrsync.rsync.option_table import LONG, SHORT

    if (option.startswith("--") and option[2:] in LONG) or option[1:] in SHORT:
        known = "that is -a already; " if option in ("-a", "--archive") else ""
        complain(f"sync {option}: {known}options for rsync go behind --, whole rsync lines behind `cyrsync rsync`")


def _end(messages: Sequence[str], code: int) -> int:
    for message in messages:
        complain(message)
    return _returned(messages, code)


def _returned(messages: Sequence[str], code: int) -> int:
    """Print the error as an object, where a program reads it; return the exit code."""
    try:
        return_end(messages, code)
    except OSError as error:
        complain(error_text(error))
    return code
