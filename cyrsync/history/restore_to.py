"""Restoring to a directory: the selections are written there, a mailbox at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

from cyrsync.errors import UnusableError
from cyrsync.history import in_past, server_files, to_cyrus, to_files, to_maildir
from cyrsync.history.choose import Request, named, shown
from cyrsync.history.contents import Damaged
from cyrsync.history.destinations import place
from cyrsync.history.mailbox_files import Unreadable
from cyrsync.history.outcome import MailboxRestore, Outcome
from cyrsync.history.reading import read, selections
from cyrsync.history.selected import Selection
from cyrsync.history.target import NotWritten, Target
from cyrsync.history.tree import Tree
from cyrsync.sync.progress import Reporter
from cyrsync.text import human_count

#: By the words of --as.
FORMS = {"maildir": to_maildir.write, "eml": to_files.write, "cyrus": to_cyrus.write}


def found(tree: Tree, request: Request, outcome: Outcome, reporter: Reporter | None = None) -> Iterator[Selection]:
    """Return the selections; a message that several mailboxes have, from each. Raise UnusableError if there is none.

    A message that no mailbox has is looked for in the history.
    """
    try:
        every = selections(tree, request, outcome.errors.append, reporter if request.message is not None else None)
    except UnusableError as error:
        kept = in_past.of(tree)
        if kept is None:
            raise
        if request.message is None:
            raise UnusableError(in_past.hint(kept, request, str(error))) from None
        every = iter(())
    if request.message is None:
        return every
    first = next(every, None)
    if first is None and (kept := in_past.of(tree)):
        every = in_past.messages(kept, request)
        first = next(every, None)
    if first is None:
        named = request.message.hex() if isinstance(request.message, bytes) else f"UID {request.message}"
        reason = f" ({human_count(len(outcome.errors))} mailboxes cannot be read)" if outcome.errors else ""
        raise UnusableError(f"{named}: no such message{reason}")
    return chain([first], every)


def restore_to(tree: Tree, request: Request, directory: bytes, form: str, outcome: Outcome, reporter: Reporter) -> None:
    """Restore to a directory. Raise UnusableError for one that cannot be used, NotWritten where a disk is full."""
    tree = replace(tree, reporter=reporter)
    every = found(tree, request, outcome, reporter)
    top = named(tree.mailboxes, request.mailbox) if request.mailbox else None
    # Which of several incarnations of a mailbox a file is of, its own name would not tell.
    target = Target(directory, form, tree.roots(), may_go_on=form != "cyrus")
    try:
        for selection in every:
            one = outcome.begin(shown(selection.mailbox.name), selection.count, selection.since)
            where = place(selection.mailbox.name, request, top, tree.deletedprefix)
            restore = MailboxRestore(outcome, reporter)
            try:
                FORMS[form](target, selection, where, restore)
            except to_cyrus.DirectoryInUse as error:
                outcome.errors.append(f"{one.name}: {error}")
                continue
            vanished = _vanished(tree, selection.mailbox.name, restore.damaged)
            one.selected -= len(vanished)
            outcome.errors += [f"{one.name}: {error}" for error in restore.damaged if error.uid not in vanished]
            if request.message is not None and one.restored + one.present:
                break
        if form == "cyrus":
            server_files.write(tree, server_files.of(tree, request, outcome), target, outcome)
        target.settle()
    except NotWritten as error:
        rest = "" if form == "cyrus" else "; the same command restores the others"
        raise NotWritten(f"{error}: {human_count(outcome.restored)} messages are restored{rest}") from None
    finally:
        target.close()


def _vanished(tree: Tree, name: bytes, damaged: list[Damaged]) -> set[int]:
    """Return the UIDs of messages whose files were rightly removed meanwhile, by Cyrus or by a sync."""
    missing = {error.uid for error in damaged if error.missing}
    # Of several with one name, none may have a record of it.
    named_so = [one for one in tree.mailboxes if one.mailbox.name == name] if missing else []
    for here in named_so:
        try:
            now = read(tree, here, Request(every=True))
        except Unreadable:
            return set()
        missing -= {message.uid for message in now.messages()}
    return missing if named_so else set()
