"""`cyrsync verify`: check that a spool or a replica is what its indexes say."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated

import typer

from cyrsync.cli.operands import ConfigFile, operand, tree_to_check
from cyrsync.cli.options import Conf, Rsh, read_conf
from cyrsync.cli.output import progress, show_audit
from cyrsync.cyrus.server import CONF
from cyrsync.ends import address
from cyrsync.errors import UnusableError, UsageError
from cyrsync.sync.progress import Reporter

if TYPE_CHECKING:
    from cyrsync.far.finding import Audited
    from cyrsync.verify.result import AuditResult


def verify_command(
    tree: Annotated[
        str | None,
        tree_to_check(
            "[TREE|SRC|@JOB]",
            "A partition or a replica of one; @JOB: the job's SRC and DEST; with --history, its DEST.",
        ),
    ] = None,
    replica: Annotated[str | None, operand("[DEST|@JOB]", "The replica to compare SRC with.")] = None,
    _config: ConfigFile = None,
    conf: Conf = None,
    content: Annotated[bool, typer.Option("--content", help="Read every message; compare size and SHA-1.")] = False,
    history: Annotated[
        bool,
        typer.Option("--history", is_eager=True, help="Check the history in TREE, a whole server's replica."),
    ] = False,
    rsh: Rsh = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show all folders with a problem.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print only errors.")] = False,
) -> None:
    """Check that every record of an index has its message file, and that headers and indexes are whole.

    TREE is a partition or a replica of one, here or over ssh. Without it, the whole server of imapd.conf is checked.

    With SRC and DEST, a source and its replica are compared.

    With --history, the history in TREE is checked: each kept state has its messages.
    """
    from cyrsync.verify.result import AuditResult
    from cyrsync.verify.server import verify_server  # what few runs need is not loaded by all
    from cyrsync.verify.trees import audits

    if history and (tree is None or replica):
        raise UsageError("--history checks one TREE: the replica of a whole server, on this host")
    if tree and conf and not history:
        raise UsageError("give either TREE or -C: imapd.conf itself names the partitions")
    if replica and content:
        raise UsageError("--content checks one TREE: give SRC or DEST alone")
    result = AuditResult(
        tree=tree or conf or CONF,
        replica=replica,
        content=content,
        started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        history=history,
    )
    began = time.monotonic()
    with progress(quiet or as_json) as reporter:
        if history and tree:
            _take_history(result, tree, conf, reporter)
        elif tree is None:
            _take(result, verify_server(read_conf(conf), content), reporter)
        else:
            with audits(
                *(address.parse(tree), address.parse(replica) if replica else None, content, rsh, result.warnings)
            ) as found:
                _take(result, found, reporter)
    result.seconds = round(time.monotonic() - began, 3)
    if not result.mailboxes and not history:
        raise UnusableError(f"{result.tree}: no Cyrus folder in it: is this the spool, and is its partition mounted?")
    if tree and not replica and not history and result.has_no_index:
        raise UnusableError(
            f"{tree}: messages, but no cyrus.index in any folder: if metapartitions or archive partitions "
            "keep them apart, check the whole server with -C IMAPD_CONF"
        )
    show_audit(result, as_json=as_json, verbose=verbose, quiet=quiet)
    raise typer.Exit(result.exit)


def _take_history(result: AuditResult, tree: str, conf: str | None, reporter: Reporter) -> None:
    from cyrsync.history.tree import open_tree
    from cyrsync.verify.history import audit_history

    where = address.parse(tree)
    if where.host:
        raise UsageError("--history checks a replica on this host: run it there")
    opened = replace(open_tree(where.path, conf), reporter=reporter)
    _take(result, audit_history(opened, result.content), reporter)
    result.warnings += dict.fromkeys(opened.warnings)


def _take(result: AuditResult, audits: Iterator[Audited], reporter: Reporter) -> None:
    for audited in audits:
        result.add(audited)
        reporter.scan(result.mailboxes, result.files)
