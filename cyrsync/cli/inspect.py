"""`cyrsync inspect`: mailboxes as Cyrus's own files have them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from cyrsync.cli import complete, signals
from cyrsync.cli.options import Conf, read_conf
from cyrsync.cli.output import complain_of_all, console
from cyrsync.errors import Exit

if TYPE_CHECKING:
    from cyrsync.inspect.inspected import Inspected


def inspect_command(
    wanted: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MAILBOX|FOLDER...]",
            help="Only these; folders alone need no imapd.conf.",
            autocompletion=complete.mailboxes,
        ),
    ] = None,
    conf: Conf = None,
    messages: Annotated[bool, typer.Option("--messages", help="Show each message's record, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Show mailboxes: where they are, what their indexes say, and one in detail."""
    from cyrsync.inspect.inspection import inspect  # what few runs need is not loaded by all
    from cyrsync.report.inspection import render_all, render_one

    names = wanted or []
    folders_only = bool(names) and conf is None and all("/" in name and os.path.isdir(name) for name in names)
    bad: list[str] = []
    shown = console(a_line_each=True)
    found = _noting(inspect(names, None if folders_only else read_conf(conf)), bad)
    if as_json:
        with signals.pipe_may_break():
            for one in found:
                print(json.dumps(one.to_json(messages=messages)))
    elif messages or len(names) == 1:
        for number, one in enumerate(found):
            if number:
                shown.print()
            render_one(one, shown, messages=messages)
    else:
        render_all(found, shown)
    complain_of_all(bad)
    if bad:
        raise typer.Exit(Exit.PARTIAL)


def _noting(found: Iterator[Inspected], bad: list[str]) -> Iterator[Inspected]:
    """Yield what is found, and note which mailboxes can't be read; none is kept for it."""
    for one in found:
        if one.error:
            bad.append(f"{one.name}: {one.error}")
        yield one
