"""The command line as typer reads it, and one line for what typer refuses."""

from __future__ import annotations

import io
import os
import re
import sys
from contextlib import redirect_stdout
from typing import Any, NoReturn

import typer

from cyrsync.cli.commands import NAMES, app, load
from cyrsync.cli.output import complain, complain_of_end
from cyrsync.errors import Exit


def run() -> int | None:
    """Run the command that is asked for, and return its exit code. Raise what the command raises."""
    if os.environ.get("_CYRSYNC_COMPLETE") == "complete_bash":
        _complete_for_bash()
    try:
        return app(standalone_mode=False)  # type: ignore[no-any-return]
    except typer.Abort:
        complain("aborted")
        return 1
    except Exception as error:
        if not hasattr(error, "format_message"):  # what typer refuses has it, whether its click is its own or not
            raise
        return _refuse(error)


def _complete_for_bash() -> NoReturn:
    """Print what a word may become as one types it. To bash, `@JOB` is two words."""
    words, number = os.environ.get("COMP_WORDS", ""), int(os.environ.get("COMP_CWORD") or 0)
    parted = words.split("\n")[:number].count("@")
    os.environ.update(COMP_WORDS=words.replace("\n@\n", "\n@"), COMP_CWORD=str(number - parted))
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            app()
    finally:
        for line in printed.getvalue().splitlines():
            print(re.sub(r"[^\w@%+=:,./-]", r"\\\g<0>", line))
    sys.exit()


def _refuse(error: Any) -> int:
    """Say what is wrong with the command line, and where to read on; return the exit code."""
    if type(error).__name__ != "NoArgsIsHelpError":  # with that, the help was printed
        name = next((word for word in sys.argv[1:2] if word in NAMES), "")
        message = _behind_dashes(error) or _refusal(error, name)
        if name and any("--json" in parameter.opts for parameter in load(name).params):
            complain_of_end([message], Exit.USAGE)
        else:
            complain(message)
    return Exit.USAGE


def _refusal(error: Any, name: str) -> str:
    reason = " ".join(error.format_message().split())
    return f"{reason}{'' if reason.endswith(('.', '?')) else '.'} See: cyrsync {name}{' ' * bool(name)}-h"


def _behind_dashes(error: Any) -> str:
    """Say where to give what `sync` has no option for, but rsync has; "" for anything else."""
    option, context = getattr(error, "option_name", None), getattr(error, "ctx", None)
    if option is None or context is None or context.info_name != "sync":
        return ""
    from cyrsync.rsync.option_table import LONG, SHORT

    if not (option.startswith("--") and option[2:] in LONG) and option[1:] not in SHORT:
        return ""
    known = "that is -a already; " if option in ("-a", "--archive") else ""
    return f"sync {option}: {known}options for rsync go behind --, whole rsync lines behind `cyrsync rsync`"
