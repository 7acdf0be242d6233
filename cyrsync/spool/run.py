"""One run of the walk engine, from two addresses to a result: open both sides, plan, guard, execute."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from cyrsync.ends.tree import Tree, owner_file_of, refuse_promoted
from cyrsync.ends.tree_pair import TreePair
from cyrsync.errors import GuardError
from cyrsync.spool import unproven
from cyrsync.spool.execution import execute
from cyrsync.spool.manner import Manner
from cyrsync.spool.planning import Planned, for_users, plan
from cyrsync.sync import direction, known_roots, mounts, ownership
from cyrsync.sync.result import RunResult
from cyrsync.sync.session import Session


def run(session: Session) -> RunResult:
    """Bring the replica up to date with the source; errors that end it are in the result."""
    manner = Manner(guard=partial(_guard, session), try_words=lambda rsync: rsync.try_words(session.options.trial))

    def attempt() -> None:
        with opened(session, partial(hold, session)) as trees:
            walk(session, trees, manner)

    return session.execute(attempt)


@contextmanager
def opened(session: Session, hold: Callable[[Tree], bool]) -> Iterator[TreePair]:
    """Open both sides, and see that the one may be written to by the other; a dry run does not `hold` it."""
    session.limit.begin()
    options, result = session.options, session.result
    far = (options.rsh, options.connection, session.directory, None if options.dry_run else hold, options.patience)
    with TreePair(session.source, session.replica, *far) as trees:
        _check_direction(session, trees)
        name = known_roots.name_of(session.replica, session.replica.path)
        known_roots.check(options.state, name, trees.replica_status, anew=options.full)
        result.roots[name] = os.fsdecode(trees.replica_status.root)
        if options.one_file_system:
            mounts.check(session.source, trees.source, trees.source_status.root)
            mounts.check(session.replica, trees.replica, trees.replica_status.root)
        yield trees


def hold(session: Session, tree: Tree) -> bool:
    """Have the replica alone, if there is one; return whether anything can be locked there."""
    host, overwrite = session.replica.host, session.options.overwrite
    ownership.hold(tree, [session.replica.path], host, session.deadline, overwrite=overwrite)
    return tree.writer is not None


def walk(session: Session, trees: TreePair, manner: Manner) -> set[int]:
    """Plan, guard and execute; return the codes that rsync ended with."""
    doubtful = unproven.folders(trees, session.options.state, session.key, session.result.warnings)
    with session.phases.phase("scan"):
        planned = plan(session, trees, doubtful=None if session.options.full else doubtful)
    manner.guard(planned)
    codes = set[int]()
    if manner.verbatim or not session.options.dry_run:
        with session.phases.phase("transfer"):
            codes = execute(session, trees, planned, manner, doubtful=doubtful)
    if session.full:
        raise session.full
    session.result.exit = session.result.exit_code()
    return codes


def _check_direction(session: Session, trees: TreePair) -> None:
    """Refuse to write where there may be mail that the source has not."""
    status = trees.replica_status
    owner_file = owner_file_of(status)
    if not session.options.from_replica:
        direction.refuse_replica(trees.source_status)
    if not session.options.overwrite:
        if owner_file:
            refuse_promoted(owner_file, status)
        session.result.warnings += direction.refuse_cyrus(trees.replica, [status.root])


def _guard(session: Session, planned: Planned) -> None:
    """Refuse a source that is no spool; withhold deletions that are too many."""
    if not planned.cyrus_folders:
        raise GuardError(
            f"{session.source.text}: no Cyrus folder in it{for_users(session.options.part.users)}: "
            "is this the spool, and is its partition mounted?"
        )
    session.limit.decide()
    session.note_withheld()
