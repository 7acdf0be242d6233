"""`cyrsync history`: what a tree holds, and what was removed and can be restored."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer

from cyrsync.cli import signals
from cyrsync.cli.operands import ConfigFile
from cyrsync.cli.output import complain_by_reason, console, progress
from cyrsync.cli.restore import AsOf, Mailbox, Tree_, TreeConf, User, open_as_of
from cyrsync.errors import Exit, UsageError

if TYPE_CHECKING:
    from cyrsync.history.findings import FoundMailbox, FoundMessage
    from cyrsync.history.versions import FoundVersion


def history_command(
    tree: Tree_,
    mailbox: Mailbox = None,
    _config: ConfigFile = None,
    user: User = None,
    message: Annotated[
        str | None,
        typer.Option("--message", metavar="TEXT", help="Find messages by Message-ID, subject or sender."),
    ] = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="Only what was removed and can be restored.")] = False,
    as_of: AsOf = None,
    conf: TreeConf = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Show what can be restored from TREE: its mailboxes, or the messages of MAILBOX.

    Expunged messages are shown as long as their files are there, and deleted mailboxes as long as Cyrus keeps them.
    """
    from cyrsync.history import findings
    from cyrsync.history.choose import Request
    from cyrsync.report import mail

    if mailbox is not None and user is not None:
        raise UsageError("give either MAILBOX or --user")
    opened = open_as_of(tree, conf, as_of)
    request = Request(mailbox, user)
    errors: list[str] = []
    boxes: Iterable[FoundMailbox] = ()
    past: Iterable[FoundVersion] = ()
    found: Iterable[FoundMessage] = ()
    try:
        with progress(as_json) as reporter:
            told = errors.append, reporter
            meant = findings.meant(replace(opened, reporter=reporter), request, errors.append)
            if message is None and not deleted and (mailbox is not None or user is not None):
                past = findings.versions_of(meant, errors.append)
            if message is not None or mailbox is not None:
                found = findings.messages(meant, *told, text=message, only_removed=deleted)
            else:
                boxes = findings.mailboxes(meant, *told, only_deleted=deleted)
                found = findings.messages(meant, *told, only_expunged=True) if deleted else ()
            if as_json:
                with signals.pipe_may_break():
                    every: Iterable[FoundMailbox | FoundVersion | FoundMessage] = chain(boxes, past, found)
                    for one in every:
                        print(json.dumps(one.to_json()))
            else:
                # All of it, before the display of progress is gone and the tables are printed.
                boxes, past, found = list(boxes), list(past), list(found)
        if not as_json:
            mail.render_findings([*boxes], [*past], [*found], console(a_line_each=True), of_one=mailbox is not None)
    finally:
        complain_by_reason(dict.fromkeys((*opened.warnings, *errors)))
    if errors:
        raise typer.Exit(Exit.PARTIAL)
