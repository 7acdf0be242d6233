"""Names of mailboxes and users to complete a command line with, where they are found quickly."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from cyrsync.errors import CyrsyncError
from cyrsync.text import printable

if TYPE_CHECKING:
    from cyrsync.cyrus.server.mailboxes import Mailbox

#: Bytes of a mailboxes.db that is read while somebody waits: some 50,000 mailboxes, a second.
_LARGEST = 8 << 20
#: With one of these in a name, zsh takes what typer makes of the name for commands, and runs them.
_QUOTES = re.compile(r"[\\\"']")


def mailboxes(context: typer.Context, incomplete: str) -> list[str]:
    """Return the mailboxes that begin so, as `inspect` shows them."""
    return _offered((os.fsdecode(mailbox.name) for mailbox in _known(context)), incomplete)


def mailboxes_of_tree(context: typer.Context, incomplete: str) -> list[str]:
    """Return the mailboxes of TREE that begin so, as `history` shows them."""
    from cyrsync.history.choose import shown

    return _offered((shown(mailbox.name) for mailbox in _known(context)), incomplete)


def users(context: typer.Context, incomplete: str) -> list[str]:
    """Return the users that begin so."""
    from cyrsync.cyrus.server.layout import user_of_name

    names = {os.fsdecode(user_of_name(mailbox.name) or b"") for mailbox in _known(context)}
    return sorted(_offered(names, incomplete))


def _offered(names: Iterable[str], incomplete: str) -> list[str]:
    """Return the names that begin so, and that are not dangerous to a shell: anybody may have chosen them."""
    begin = [name for name in names if name and name.startswith(incomplete)]
    return [name for name in begin if not _QUOTES.search(name) and printable(name) == name]


def _known(context: typer.Context) -> list[Mailbox]:
    """Return the mailboxes of the tree, or the server, that the line names so far; none where reading takes long."""
    from cyrsync.cli import jobs
    from cyrsync.cyrus.server import mailboxes
    from cyrsync.cyrus.server.db.error import DbError
    from cyrsync.history.tree import open_tree

    tree, conf = "/", context.params.get("conf")
    if any(one.name == "tree" for one in context.command.params):
        # Before the value of an option, no operand has been read.
        tree = context.params.get("tree") or next(iter(context.args), "")
    with suppress(CyrsyncError, DbError, OSError):
        if tree.startswith("@"):
            [job] = jobs.load(context.params.get("_config")).select([tree])
            tree, conf = job.destination, job.conf
        opened = open_tree(os.fsencode(tree), conf)
        if opened.config:
            database = opened.config.database("mboxlist")[1]
            if os.stat(opened.place(database)).st_size <= _LARGEST:
                unread: list[Mailbox] = []
                return [*mailboxes.read(opened.database(database), unread.append), *unread]
    return []
