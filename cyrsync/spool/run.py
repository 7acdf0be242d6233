"""One run of the walk engine, from two addresses to a result: open both sides, plan, guard, execute."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from cyrsync.ends.both import BothSides
from cyrsync.ends.side import Side, refuse_promoted, token_of
from cyrsync.errors import GuardError
from cyrsync.spool.execution import execute
from cyrsync.spool.manner import Manner
from cyrsync.spool.planning import Planned, for_users, plan
from cyrsync.sync import direction, known_roots, mounts, ownership
from cyrsync.sync.ownership import CUT_OFF, WalkOwnership
from cyrsync.sync.result import RunResult
from cyrsync.sync.session import Session


def run(session: Session) -> RunResult:
    """Bring the replica up to date with the source; errors that end it are in the result."""
    manner = Manner(guard=partial(_guard, session), try_words=lambda rsync: rsync.try_words(session.options.trial))

    def attempt() -> None:
        with opened(session, partial(hold, session)) as sides:
            walk(session, sides, manner)

    return session.execute(attempt)


@contextmanager
def opened(session: Session, hold: Callable[[Side], str]) -> Iterator[BothSides]:
    """Open both sides, and see that the one may be written to by the other; a dry run does not `hold` it."""
    session.limit.begin()
    options, result = session.options, session.result
    far = (options.rsh, options.connection, session.directory, None if options.dry_run else hold, options.patience)
    with BothSides(session.source, session.replica, *far) as sides:
        _check_direction(session, sides)
        name = known_roots.name_of(session.replica, session.replica.path)
        known_roots.check(options.state, name, sides.replica_status, anew=options.full)
        result.roots[name] = os.fsdecode(sides.replica_status.root)
        if options.one_file_system:
            mounts.check(session.source, sides.source, sides.source_status.root)
            mounts.check(session.replica, sides.replica, sides.replica_status.root)
        yield sides


def hold(session: Session, side: Side) -> str:
    """Have the replica alone, if there is one; return the boot of its host."""
    host, overwrite = session.replica.host, session.options.overwrite
    return ownership.hold(side, [session.replica.path], host, session.deadline, overwrite=overwrite).boot


def walk(session: Session, sides: BothSides, manner: Manner) -> set[int]:
    """Plan, guard and execute; return the codes that rsync ended with."""
    cut_off = WalkOwnership(sides.replica.writer, sides.replica_status, sides.boot).cut_off
    if cut_off:
        session.result.warnings.append(f"{session.replica.text}: {CUT_OFF}: all messages are compared")
    with session.phases.phase("scan"):
        planned = plan(session, sides, doubted=session.options.full or cut_off)
    manner.guard(planned)
    codes = set[int]()
    if manner.verbatim or not session.options.dry_run:
        with session.phases.phase("transfer"):
            codes = execute(session, sides, planned, manner, cut_off=cut_off)
    if session.full:
        raise session.full
    session.result.exit = session.result.exit_code()
    return codes


def _check_direction(session: Session, sides: BothSides) -> None:
    """Refuse to write where there may be mail that the source has not."""
    status = sides.replica_status
    token = token_of(status)
    if not session.options.from_replica:
        direction.refuse_replica(sides.source_status)
    if not session.options.overwrite:
        if token:
            refuse_promoted(token, status)
        session.result.warnings += direction.refuse_cyrus(sides.replica, [status.root])


def _guard(session: Session, planned: Planned) -> None:
    """Refuse a source that is no spool; withhold deletions that are too many."""
    if not planned.cyrus_folders:
        raise GuardError(
            f"{session.source.text}: no Cyrus folder in it{for_users(session.options.part.users)}: "
            "is this the spool, and is its partition mounted?"
        )
    session.limit.decide()
    session.note_withheld()
