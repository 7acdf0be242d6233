"""Mailboxes that are gone: what of them goes from the replica, and what stays for others' sake."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cyrsync.cyrus import entry as kinds
from cyrsync.report.text import path_text
from cyrsync.server.engine import plan_gone
from cyrsync.server.replica import Replica
from cyrsync.server.roots import Roots
from cyrsync.state.sent import Sent
from cyrsync.state.store import Store
from cyrsync.transfer.steps import Transfer
from cyrsync.tree.absence import is_absent
from cyrsync.tree.walk import incarnation_in

if TYPE_CHECKING:
    from cyrsync.server.run import ServerRun


def remove_gone(run: ServerRun, partitions: dict[str, Roots], store: Store, replica: Replica, gone: list[Sent]) -> None:
    """Delete mailboxes on the replica that mailboxes.db has no more, and that are not on the source."""
    for name, roots in partitions.items():
        rows, plans = [], []
        lived_in = store.directories(name)
        for sent in gone:
            try:
                if sent.key.partition == name and not _has_mailbox(roots, sent):
                    plans.append(plan_gone(sent, roots, whole=_whole(roots, sent.key.path, lived_in)))
                    rows.append(sent)
            except OSError as error:
                reason = f"whether it is gone cannot be seen: {error.strerror}: it stays on the replica"
                run.result.errors.append(f"{path_text(sent.key.path)}: {reason}")
        if not rows:
            continue
        failed: set[bytes] = set()
        for root in roots.all():
            # Where an index stays, so do the messages in another root.
            there = [plan[root] for plan in plans if not any(_is_below(path, plan[root].path) for path in failed)]
            transfer = Transfer(
                *(there, None, replica.side, replica.root(root), run.progress.transfer), may_delete=run.limit.start
            )
            failed |= run.delete(transfer)
        store.drop(
            sent.key
            for sent, plan in zip(rows, plans, strict=True)
            if not any(_is_below(path, plan[roots.data].path) for path in failed)
        )
    for sent in gone:
        if sent.key.partition not in partitions:
            reason = f"imapd.conf has no partition {sent.key.partition}: it stays on the replica"
            run.result.errors.append(f"{path_text(sent.key.path)}: {reason}")


def _has_mailbox(roots: Roots, sent: Sent) -> bool:
    """Tell whether the source has this mailbox there still, though mailboxes.db does not know it: then it stays.

    Raise OSError where that is not to be seen.
    """
    header, index = (os.path.join(roots.homes[name], sent.key.path, name) for name in (kinds.HEADER, kinds.INDEX))
    if is_absent(index):
        return False
    found = incarnation_in(header, index)
    # Another one that was made meanwhile is for the next run.
    return found is None or found[:2] == (sent.uniqueid, sent.uidvalidity)


def _whole(roots: Roots, path: bytes, lived_in: set[bytes]) -> bytes | None:
    """Return the highest directory that can go with a mailbox; None: others live in its own, or the source has it."""
    whole = None
    while path and path not in lived_in and not _is_there(roots, path):
        whole, path = path, path.rpartition(b"/")[0]
    return whole


def _is_below(path: bytes, top: bytes) -> bool:
    return path == top or path.startswith(top + b"/")


def _is_there(roots: Roots, path: bytes) -> bool:
    """Tell whether the source still has a directory of a mailbox that is gone: then others may have things in it."""
    return not all(is_absent(os.path.join(root, path)) for root in roots.all())
