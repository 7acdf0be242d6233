"""`cyrsync inspect`: mailboxes as Cyrus's own files have them."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

from cyrsync.cli import signals
from cyrsync.cli.options import Conf, read_conf
from cyrsync.cli.output import console
from cyrsync.errors import UnreadableError


def inspect_command(
    wanted: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MAILBOX|FOLDER...]", help="Only these; folders alone need no imapd.conf."),
    ] = None,
    conf: Conf = None,
    messages: Annotated[bool, typer.Option("--messages", help="Show each message's record, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Show mailboxes: where they are, what their indexes say, and one in detail."""
    from cyrsync.inspection import inspect  # what few runs need is not loaded by all
    from cyrsync.report.inspection import render_all, render_one

    names = wanted or []
    folders_only = bool(names) and conf is None and all("/" in name and os.path.isdir(name) for name in names)
    found = list(inspect(names, None if folders_only else read_conf(conf)))
    if as_json:
        with signals.pipe_may_break():
            for one in found:
                print(json.dumps(one.to_json(messages=messages)))
    elif messages or len(names) == 1:
        for one in found:
            render_one(one, console(), messages=messages)
    else:
        render_all(found, console())
    bad = [f"{one.name}: {one.error}" for one in found if one.error]
    if bad:
        raise UnreadableError("; ".join(bad))
