"""What `cyrsync list` prints: the same walk and comparison as a run's, for an rsync of the user's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from cyrsync.ends.address import Address, identity
from cyrsync.ends.tree_pair import TreePair
from cyrsync.errors import GuardError, UnreadableError, hint
from cyrsync.spool import lists, unproven
from cyrsync.spool.planning import for_users, links_warning
from cyrsync.spool.walk_engine import WalkEngine
from cyrsync.state.lock import run_key
from cyrsync.sync.folder_plan import State
from cyrsync.sync.options import Options
from cyrsync.text import path_text


def entries(
    source: Address, replica: Address | None, options: Options, directory: Path, warnings: list[str]
) -> Iterator[bytes]:
    """Yield the paths of what rsync is to be handed, without a replica: of everything.

    To `warnings` is added which mailboxes rsync will not reach, and why messages are listed that are there. Raise
    GuardError where there is no spool.
    Folders that can't be read raise at the end, when all else is listed.
    """
    unreadable = []
    found = False
    with TreePair(source, replica, options.rsh, options.connection, directory) as trees:
        pair = run_key(identity(source), identity(replica)) if replica else ""
        engine = WalkEngine(options.policy, doubtful=unproven.folders(trees, options.state, pair, warnings))
        for plan in engine.plans(*trees.folders(options.part.users)):
            if plan.state is State.UNREADABLE or plan.problem:
                name = path_text(plan.path) or source.text
                unreadable.append(f"{name}: cannot be read; left out: {hint(os.strerror(plan.problem))}")
            found = found or (plan.is_cyrus and plan.state is not State.GONE)
            yield from lists.message_entries(plan)
            yield from plan.entries((*plan.metadata, *plan.other_files))
        warnings += links_warning(trees, engine.links)
    if not found and not unreadable:
        raise GuardError(f"{source.text}: no Cyrus folder in it{for_users(options.part.users)}: is this the spool?")
    if unreadable:
        raise UnreadableError(unreadable)
