"""Plans of folders whose indexes differ, of a source without an agent: both indexes are asked at once. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far import uids as uid_sets
from cyrsync.far.digests import Digests, Question
from cyrsync.far.folder import NOBODY, Folder
from cyrsync.spool.compare import compare, same_metadata
from cyrsync.spool.likeness import Likeness, likeness
from cyrsync.sync.folder_plan import FolderPlan, State
from cyrsync.sync.policy import Policy


@dataclass(frozen=True, slots=True)
class Doubtful:
    """A folder whose two indexes have to be asked whether messages of one name are the same."""

    source: Folder
    plan: FolderPlan
    question: Question


def doubtful(source: Folder, plan: FolderPlan, policy: Policy) -> Doubtful | None:
    """Return what to ask about a folder, None where names and UIDs suffice, or all messages are compared anyway."""
    replica, here = plan.replica, source.incarnation
    there = replica and replica.incarnation
    if not (replica and here and there and here.same_as(there)) or plan.state not in (State.SAME, State.CHANGED):
        return None
    if kinds.INDEX not in source.metadata or same_metadata(kinds.INDEX, source, replica, policy):
        return None
    return Doubtful(source, plan, Question(plan.path, uid_sets.up_to(source.messages.uids, there.last_uid)))


def replanned(
    asked: Doubtful, ours: Mapping[bytes, Digests | None], theirs: Mapping[bytes, Digests | None], policy: Policy
) -> FolderPlan | None:
    """Return another plan by what both indexes said, None where the messages are the same."""
    plan, path = asked.plan, asked.plan.path
    if plan.replica is None or path not in ours or path not in theirs:
        return None
    found = likeness(ours[path], theirs[path])
    if found is Likeness.SAME:
        return None
    others = found is Likeness.OTHER
    replica = plan.replica._replace(incarnation=NOBODY) if others else plan.replica
    return compare(asked.source, replica, policy, doubted=not others)
