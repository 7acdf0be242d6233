"""Lines that are handed over to plain rsync whole: to a replica it writes as every other writer does, or not at all.

What it would write to is held, is refused where it was promoted, and keeps its owner file.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from cyrsync import process
from cyrsync.ends import address
from cyrsync.ends.address import Address, identity
from cyrsync.ends.child_tree import ChildTree, ReplicaTree
from cyrsync.ends.connections import Connections
from cyrsync.ends.tree import owner_file_of, refuse_promoted
from cyrsync.errors import ConnectionFailed, Exit, UnusableError, UsageError
from cyrsync.far import owner_file
from cyrsync.rsync.options import RsyncLine, Settings
from cyrsync.state.lock import state_path
from cyrsync.sync import direction, known_roots
from cyrsync.sync.ownership import WalkOwnership, hold

#: For rsync: the owner file is neither deleted nor sent.
_FILTERS = tuple(f"--filter={kind} {os.fsdecode(owner_file.NAME)}" for kind in "HP")


def plain_rsync(words: Sequence[str], *, owned: bool) -> int:
    """Run rsync with our input and output, and return its code; `owned`: one of both ends has an owner file."""
    rsync = process.program("rsync")
    filters = _FILTERS if owned else ()
    return process.attached([rsync, *filters, *words], process.environment_of(rsync, os.environ))


def hand_over(
    words: Sequence[str],
    line: RsyncLine,
    settings: Settings,
    become_rsync: Callable[[], None],
    report: Callable[[], None],
    *,
    has_agent: bool = True,
) -> int:
    """Run plain rsync, and return its code; `become_rsync` where no replica of ours is concerned. First `report`.

    Nothing is asked of a far end that has no agent.

    Raise RefusedError for a replica that was promoted, and for what a Cyrus is using; LockedError for a replica that is
    being written to.
    """
    places = [] if settings.dry_run else [one for one in _destinations(line) if one.local or has_agent]
    with ExitStack() as stack:
        # Of places that lie in each other, two who look would keep one another from them.
        tree = _tree(places, settings, stack) if places else None
        owned = [held for held in (_held(place, tree) for place in places if tree) if held]
        report()
        if not owned:
            become_rsync()
        for ownership in owned:
            ownership.begin()
        code = plain_rsync(words, owned=True)
        if code == Exit.DONE:
            for ownership in owned:
                ownership.end(compared=False)
        return code


def _destinations(line: RsyncLine) -> Iterator[Address]:
    """Yield where the line may write what it reads: in its last operand, or below it by the name of a source."""
    try:
        *sources, destination = (address.parse(operand) for operand in line.operands)
    except (UsageError, ValueError):
        return  # rsync will say what is wrong with them
    if destination.daemon or not sources:
        return
    top = destination.path.rstrip(b"/")
    names = [name for one in sources for name in (one.path.rpartition(b"/")[2], one.path.strip(b"/")) if name]
    for path in dict.fromkeys([destination.path, *(top + b"/" + name for name in names)]):
        yield destination._replace(path=path)


def _held(place: Address, tree: ReplicaTree) -> WalkOwnership | None:
    """Hold a replica while rsync writes to it; None where there is none."""
    status = tree.resolve(place.path)
    if not status.owner_file:
        if place.local and status.root != os.path.abspath(place.path):
            name = known_roots.name_of(place, place.path)
            # rsync itself judges whose links it follows.
            known_roots.check(state_path(), name, status._replace(others_link=b""), anew=False)
        if place.local:
            direction.refuse_cyrus_here(status.root)
        return None
    hold(tree, [place.path], place.host, time.monotonic(), overwrite=False)
    status = tree.resolve(place.path)
    found = owner_file_of(status)
    if found is None:
        return None
    refuse_promoted(found, status)
    direction.refuse_cyrus(tree, [status.root])
    return WalkOwnership(tree.writer, status)


def _tree(places: Sequence[Address], settings: Settings, stack: ExitStack) -> ReplicaTree | None:
    """Return who can look at replicas of one host; at a far end only if we have kept one: a login may ask for more."""
    place = places[0]
    if place.local:
        tree: ReplicaTree = ChildTree()
        stack.callback(tree.close)
        return tree
    state = state_path()
    if not (state / "runs.sqlite").exists():
        return None
    from cyrsync.state import history  # SQLite is not loaded for nothing

    with suppress(UnusableError, ConnectionFailed):
        if not any(history.pairs(state, identity(one)) for one in places):
            return None
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="cyrsync-"))
        connections = Connections(place, settings.rsh, settings.connection, Path(directory))
        stack.callback(connections.close)
        opened = connections.open(place, is_replica=True)
        return opened if isinstance(opened, ReplicaTree) else None
    return None
