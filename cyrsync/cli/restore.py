"""`cyrsync restore`: mail out of a tree that was kept."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from contextlib import closing
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from cyrsync.cli import complete, signals
from cyrsync.cli.operands import ConfigFile
from cyrsync.cli.operands import tree as tree_operand
from cyrsync.cli.output import complain_by_reason, console, progress
from cyrsync.errors import UnusableError, UsageError

if TYPE_CHECKING:
    from cyrsync.history.choose import Request
    from cyrsync.history.imap_address import ImapAddress
    from cyrsync.history.outcome import Outcome, Told
    from cyrsync.history.selected import Selection
    from cyrsync.history.tree import Tree
    from cyrsync.sync.progress import Reporter

_GUID = re.compile(r"[0-9a-fA-F]{40}")
_UID = re.compile(r"[0-9]{1,10}")


class Form(str, Enum):
    """What a restored mailbox looks like."""

    maildir = "maildir"
    eml = "eml"
    cyrus = "cyrus"


Tree_ = Annotated[str, tree_operand("A replica, a snapshot or a mounted backup of it, or /; @JOB: the job's DEST.")]
Mailbox = Annotated[
    str | None,
    typer.Argument(
        metavar="[MAILBOX]",
        help="The mailbox: user/joe/Sent, user.joe.Sent, or its uniqueid.",
        autocompletion=complete.mailboxes_of_tree,
    ),
]
User = Annotated[
    str | None,
    typer.Option("--user", metavar="NAME", help="All mailboxes of this user.", autocompletion=complete.users),
]
TreeConf = Annotated[
    str | None,
    typer.Option("-C", "--conf", metavar="FILE", help="The server's imapd.conf (TREE/etc/imapd.conf, or this host's)."),
]

AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of", metavar="TIME", help='As it was then: "2026-11-20 10:00", "yesterday 18:00", "2 hours ago".'
    ),
]


def restore_command(
    tree: Tree_,
    mailbox: Mailbox = None,
    _config: ConfigFile = None,
    user: User = None,
    message: Annotated[
        str | None,
        typer.Option("--message", metavar="GUID", help="Only this message; with MAILBOX, a UID will do (see history)."),
    ] = None,
    as_of: AsOf = None,
    recursive: Annotated[
        bool, typer.Option("-r", "--recursive", help="Restore also the mailboxes below MAILBOX.")
    ] = False,
    only_expunged: Annotated[
        bool, typer.Option("--only-expunged", help="Only expunged messages whose files are still there.")
    ] = False,
    to: Annotated[str | None, typer.Option("--to", metavar="DIR", help="Restore to this directory.")] = None,
    form: Annotated[
        Form,
        typer.Option("--as", help="As a Maildir, as files N.eml, or as a mailbox's directory in a spool."),
    ] = Form.maildir,
    into: Annotated[
        str | None,
        typer.Option("--into", metavar="imaps://ADMIN@HOST[:PORT]", help="Restore into a running Cyrus."),
    ] = None,
    only_missing: Annotated[
        bool,
        typer.Option("--only-missing", help="With --into: only messages that no mailbox of the user has or had."),
    ] = False,
    flags: Annotated[
        bool, typer.Option("--flags", help="With --into: only flags, \\Seen among them, of messages that are there.")
    ] = False,
    password_file: Annotated[
        str | None,
        typer.Option(
            "--password-file",
            metavar="FILE",
            help="ADMIN's password, in a file (else CYRSYNC_PASSWORD, else asked).",
        ),
    ] = None,
    cafile: Annotated[
        str | None,
        typer.Option("--cafile", metavar="FILE", help="The CA certificates to trust, instead of this host's."),
    ] = None,
    conf: TreeConf = None,
    dry_run: Annotated[
        bool, typer.Option("-n", "--dry-run", help="Show what would be restored; with -v, each message.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Print a table also without a terminal.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print only warnings and errors.")] = False,
) -> None:
    """Restore mailboxes, a user, or one message from TREE. Nothing is written to TREE.

    What a user sees is restored, unless --only-expunged or --message is given.
    After an interruption, run the same command again: it restores what is missing.
    """
    from cyrsync.cli.password import password_for
    from cyrsync.history import imap_address
    from cyrsync.history.outcome import Outcome
    from cyrsync.history.restore_to import restore_to

    if to is None and into is None and not dry_run:
        raise UsageError("restore needs --to DIR or --into URL")
    if into is None and (only_missing or flags or password_file or cafile):
        raise UsageError("--only-missing, --flags, --password-file and --cafile are for --into URL")
    if flags and (only_missing or only_expunged):
        raise UsageError("--flags is for messages that are there: leave out --only-missing and --only-expunged")
    if into is not None and (to is not None or form is not Form.maildir):
        raise UsageError("--into restores into a server: leave out --to and --as")
    request = _request(mailbox, user, message, form, recursive=recursive, only_expunged=only_expunged)
    target = None if into is None else imap_address.parse(into)
    opened = open_as_of(tree, conf, as_of)
    outcome = Outcome(tree, to or (str(target) if target else ""), dry_run)
    password = "" if target is None else password_for(target, password_file)
    told = _print_messages if dry_run and verbose and not (as_json or quiet) else None
    try:
        if target is None and dry_run:
            _plan(opened, request, outcome, told)
        else:
            with progress(quiet or as_json) as reporter:
                if target is None:
                    restore_to(opened, request, os.fsencode(to or ""), form.value, outcome, reporter)
                else:
                    options = {"only_missing": only_missing, "flags": flags}
                    _into(opened, request, outcome, target, password, cafile, reporter, told, **options)
    finally:
        # What the tree gave reason to is a part of the outcome, too.
        outcome.warnings[:0] = dict.fromkeys(opened.warnings)
        complain_by_reason((*outcome.warnings, *outcome.errors), every=verbose)
    _show(outcome, as_json=as_json, shows=not quiet and (verbose or dry_run or sys.stdout.isatty()))
    raise typer.Exit(outcome.exit)


def open_as_of(tree: str, conf: str | None, as_of: str | None) -> Tree:
    """Return a tree, as it was at a time if one is given. Raise UsageError for no time, UnusableError for no tree."""
    from cyrsync.history.tree import open_tree

    if as_of is None:
        return open_tree(os.fsencode(tree), conf)
    from cyrsync.history import moment
    from cyrsync.history.as_of import tree_as_of

    when = moment.parse(as_of, time.time_ns())
    return tree_as_of(open_tree(os.fsencode(tree), conf), when)


def _request(
    mailbox: str | None, user: str | None, message: str | None, form: Form, *, recursive: bool, only_expunged: bool
) -> Request:
    """Return what is asked for. Raise UsageError where it cannot be."""
    from cyrsync.history.choose import Request

    if mailbox is not None and user is not None:
        raise UsageError("give either MAILBOX or --user")
    if recursive and mailbox is None:
        raise UsageError("-r needs a MAILBOX")
    if message is not None and (recursive or only_expunged):
        raise UsageError("--message is for one message: leave out -r and --only-expunged")
    if form is Form.cyrus and (message is not None or only_expunged):
        raise UsageError("--as cyrus restores whole mailboxes")
    every = form is Form.cyrus
    return Request(mailbox, user, message_of(message, mailbox), recursive, only_expunged, every)


def message_of(text: str | None, mailbox: str | None) -> bytes | int | None:
    """Return a GUID or a UID. Raise UsageError for what is neither."""
    if text is None:
        return None
    if _GUID.fullmatch(text):
        return bytes.fromhex(text)
    if not _UID.fullmatch(text):
        raise UsageError(f"--message: a GUID has 40 digits, 0 to 9 and a to f: {text}")
    if mailbox is None:
        raise UsageError("--message: a UID belongs to a mailbox: give MAILBOX, too")
    return int(text)


def _into(
    tree: Tree,
    request: Request,
    outcome: Outcome,
    target: ImapAddress,
    password: str,
    cafile: str | None,
    reporter: Reporter,
    told: Told | None,
    *,
    only_missing: bool,
    flags: bool,
) -> None:
    """Restore into a server."""
    from cyrsync.history.by_append import restore_by_append
    from cyrsync.history.imap_server import Connection, connect
    from cyrsync.history.owner_login import OwnerLogins
    from cyrsync.history.restore_into import restore_into
    from cyrsync.history.restore_to import found
    from cyrsync.history.set_flags import set_flags
    from cyrsync.history.sync_server import SyncServer, admits

    def log_in(owner: str = "") -> Connection:
        return connect(target, password, owner=owner, cafile=cafile)

    with log_in() as connection, closing(OwnerLogins(log_in)) as logins:
        server, meant = SyncServer(connection, log_in), found(tree, request, outcome)
        one = request.message is not None
        if not admits(connection):
            if flags or only_missing:
                raise UnusableError(f"{target}: --flags and --only-missing need Cyrus 3.0 or newer")
            restore_by_append(logins, meant, outcome, reporter, only_one=one, told=told)
        elif flags:
            set_flags(server, logins, meant, outcome, reporter)
        else:
            restore_into(server, meant, outcome, reporter, only_missing=only_missing, only_one=one, told=told)


def _plan(tree: Tree, request: Request, outcome: Outcome, told: Told | None) -> None:
    """Record what would be restored to a directory."""
    from cyrsync.history import server_files
    from cyrsync.history.choose import shown
    from cyrsync.history.restore_to import found

    for selection in found(tree, request, outcome):
        one = outcome.begin(shown(selection.mailbox.name), selection.count, selection.since)
        one.bytes = selection.size
        if told is not None:
            told(selection)
    if request.every:
        outcome.files = len(server_files.of(tree, request, outcome))


def _print_messages(selection: Selection) -> None:
    from cyrsync.report import mail

    mail.render_messages(selection, console(a_line_each=True))


def _show(outcome: Outcome, *, as_json: bool, shows: bool) -> None:
    from cyrsync.report import mail

    if as_json:
        with signals.pipe_may_break():
            print(json.dumps(outcome.to_json()))
    elif shows:
        mail.render_outcome(outcome, console(a_line_each=True))
        sys.stdout.flush()
