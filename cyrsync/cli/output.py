"""Where a command's words go: reports to standard output, complaints to standard error, a line each."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from cyrsync.cli import signals
from cyrsync.errors import Exit
from cyrsync.text import Reasons, printable, summed

if TYPE_CHECKING:
    from rich.console import Console

    from cyrsync.sync.progress import Reporter
    from cyrsync.sync.result import RunResult
    from cyrsync.verify.result import AuditResult

#: Columns of what a program will read.
_WIDE = 100_000
#: What Python sets LC_CTYPE to where the locale is C (PEP 538).
_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")


#: The job of the configuration file that is at work, "" for none.
_job = ""


@contextmanager
def about(job: str) -> Iterator[None]:
    """Have all that is printed meanwhile name the job that it is about."""
    global _job
    _job = job
    try:
        yield
    finally:
        _job = ""


def complain(message: str) -> None:
    """Print one line on standard error; where that fails, nobody can be told."""
    with suppress(OSError):
        print(f"cyrsync: {_job}{': ' if _job else ''}{printable(message)}", file=sys.stderr)


def as_line(result: dict[str, Any]) -> str:
    """Return an object as a line of JSON, with the job that it is about."""
    return json.dumps({"job": _job, **result} if _job else result)


def complain_of_all(messages: Iterable[str], *, every: bool = False) -> None:
    """Print each message, those of one reason summed up, unless `every` one is wanted."""
    for message in messages if every else summed(messages):
        complain(message)


def complain_of_run(result: RunResult, *, verbose: bool) -> None:
    """Print errors and warnings of a run, with `verbose` each one; nothing else prints them.

    That another run holds the lock is printed only if somebody watches.
    """
    watched = verbose or sys.stderr.isatty() or sys.stdout.isatty()
    errors = result.errors if watched or result.exit != Exit.LOCKED else ()
    complain_of_all((*result.warnings, *errors), every=verbose)


def complain_by_reason(messages: Iterable[str], *, every: bool = False) -> None:
    """Print each message, those that end in the same reason summed up, unless `every` one is wanted."""
    reasons = Reasons()
    for message in messages:
        if reasons.is_shown(message.rpartition(": ")[2]) or every:
            complain(message)
    if not every:
        for more, reason in reasons.more():
            complain(f"{more}: {reason}")


def progress(quiet: bool) -> Reporter:
    """Return a progress display if somebody watches."""
    from cyrsync.report.progress import progress_for  # what few commands need is not loaded by all

    return progress_for(sys.stderr.isatty() and not quiet)


def show(result: RunResult, *, as_json: bool, verbose: bool, quiet: bool) -> None:
    """Print what came of a run. Nobody watching and nothing to complain of: nothing."""
    complain_of_run(result, verbose=verbose)
    if as_json:
        with signals.pipe_may_break():
            print(as_line(result.to_json()))
        return
    if quiet or not (verbose or result.dry_run or sys.stdout.isatty()):
        return
    if not result.folders.seen:
        return
    from cyrsync.report import summary

    if _job:
        print(f"[{_job}]")
    render = summary.render_dry_run if result.dry_run else summary.render_run
    render(result, console(), verbose)


def show_audit(result: AuditResult, *, as_json: bool, verbose: bool, quiet: bool) -> None:
    """Print what came of an audit. Nobody watching, and all is sound: nothing."""
    from cyrsync.report import audit

    complain_of_all(result.warnings)
    if as_json:
        with signals.pipe_may_break():
            print(as_line(result.to_json()))
    elif quiet:
        return
    elif verbose or sys.stdout.isatty():
        audit.render(result, console(), verbose)
    else:
        for line in audit.lines(result):
            complain(line)


def complain_of_end(messages: Sequence[str], code: int) -> None:
    """Print the error that ends a command; where a program reads its output, as an object there, too."""
    for message in messages:
        complain(message)
    words = sys.argv[1:]
    if "--json" in words[: words.index("--") if "--" in words else None]:
        print(as_line({"errors": list(messages), "exit": int(code)}))


def _is_plain_locale() -> bool:
    """Tell whether the user's locale is ASCII, as cron's is, which has none: Python prints UTF-8 nevertheless."""
    kinds = os.environ.get("LC_CTYPE", "")
    if sys.flags.utf8_mode and kinds in _COERCED:
        kinds = ""  # Python has set it itself
    return (os.environ.get("LC_ALL") or kinds or os.environ.get("LANG") or "C") in ("C", "POSIX")


def console(*, a_line_each: bool = False) -> Console:
    """Return where tables go; with `a_line_each`, no row of them is folded where nobody watches."""
    from rich.console import Console

    class Output(Console):
        @property
        def encoding(self) -> str:
            return "ascii" if _is_plain_locale() else super().encoding

        def on_broken_pipe(self) -> None:
            signals.die_of_broken_pipe()

    return Output(width=_WIDE if a_line_each and not sys.stdout.isatty() else None)
