"""The plan of a whole walk: both trees listed and compared, and what was counted meanwhile."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cyrsync.ends.tree_pair import TreePair
from cyrsync.errors import UnusableError, hint
from cyrsync.spool.by_index import Doubtful, replanned
from cyrsync.spool.walk_engine import UNKNOWN, WalkEngine
from cyrsync.sync.folder_plan import FolderPlan, State
from cyrsync.sync.policy import Policy
from cyrsync.sync.session import Session
from cyrsync.text import path_text

#: So many of what is all alike are named.
_FEW = 5


@dataclass(slots=True)
class Planned:
    """A whole plan, with what was counted while it was made."""

    policy: Policy  # with what is known of the replica's side
    plans: list[FolderPlan] = field(default_factory=list)
    in_the_way: bool = False
    links: list[bytes] = field(default_factory=list)  # of the source
    indexed: bool = False  # the source has an index in some folder
    cyrus_folders: int = 0  # of the source
    gone_cyrus_folders: int = 0  # of the replica alone
    all_new: bool = True  # the replica has none of the folders, nor others, and all could be read


def plan(session: Session, trees: TreePair, *, doubtful: frozenset[bytes] | None) -> Planned:
    """List both trees and compare them; once more where owners turn up whose numbers there were not asked for.

    In the folders that are `doubtful`, None for all, names prove nothing.
    """
    numbers = trees.replica.numbers(trees.names_of_owner())
    planned, names = _compare(session, trees, _policy(session, trees, numbers), doubtful=doubtful)
    unknown = {name for name in names if not _has_number(numbers, name)}
    more = trees.replica.numbers(unknown) if unknown else {}
    if more:
        session.start_over()
        session.limit.begin()
        policy = _policy(session, trees, {**numbers, **more})
        planned, _ = _compare(session, trees, policy, doubtful=doubtful)
    session.result.warnings += links_warning(trees, planned.links)
    return planned


def links_warning(trees: TreePair, links: list[bytes], what: str = "copied, only the links are") -> list[str]:
    """Return a line, if there is one to say, about mailboxes behind links of the source, and what is not done."""
    found = trees.source.links_to_mailboxes(trees.source_status.root, links) if links else []
    if not found:
        return []
    more = f" and {len(found) - _FEW} more" if len(found) > _FEW else ""
    shown = ", ".join(map(path_text, found[:_FEW]))
    return [f"mailboxes lie behind links, and are not {what}: {shown}{more}"]


def for_users(users: frozenset[str]) -> str:
    """Return what to say of the users that a run is for."""
    return f" of {', '.join(sorted(users))}" if users else ""


def _policy(session: Session, trees: TreePair, numbers: Mapping[str, int | None]) -> Policy:
    daemon = session.source.daemon or session.replica.daemon
    return replace(session.options.policy, rights=trees.replica.rights, numbers=numbers, whole_seconds=daemon)


def _compare(
    session: Session, trees: TreePair, policy: Policy, *, doubtful: frozenset[bytes] | None
) -> tuple[Planned, set[str]]:
    """Return the plan, and the names of owners that files on the replica do not have."""
    engine = WalkEngine(policy, doubtful=doubtful, under_locks=bool(trees.source.under_locks))
    planned, counts = Planned(policy), session.result
    for one in engine.plans(*trees.folders(session.options.part.users)):
        if one.state in UNKNOWN and not one.path:
            raise UnusableError(f"{session.source.text}: it cannot be read: run cyrsync as its owner, or as root")
        session.limit.listed(one.path, one)
        counts.add(one)
        planned.all_new = planned.all_new and (one.state is State.NEW or not one.path)
        if one.state is State.GONE:
            planned.gone_cyrus_folders += one.is_cyrus
        else:
            planned.cyrus_folders += one.is_cyrus
            planned.indexed = planned.indexed or one.incarnation is not None
        if one.state is State.UNSEEN and one.problem:
            counts.errors.append(_unseen(session, one))
        if one.state is State.UNREADABLE:
            reason = hint(os.strerror(one.problem))
            counts.errors.append(
                f"{path_text(one.path)}: cannot be read; nothing below it is sent or deleted: {reason}"
            )
        if one.sends() or one.deletes():
            planned.plans.append(one)
        session.progress.scan(counts.folders.seen, counts.messages.seen)
    for one in engine.spare(planned.plans):
        session.limit.count(one.path, one)
    _ask_indexes(session, trees, engine.doubtful, planned)
    planned.in_the_way = engine.in_the_way
    planned.links = engine.links
    return planned, engine.names_in_doubt


def _ask_indexes(session: Session, trees: TreePair, doubtful: list[Doubtful], planned: Planned) -> None:
    """Plan those folders again whose messages differ by what both indexes say."""
    questions = [one.question for one in doubtful]
    theirs = trees.replica.digests(trees.replica_status.root, questions) if questions else {}
    ours = trees.source.digests(trees.source_status.root, questions) if theirs else {}
    fresh = {
        one.plan.path: (one.plan, new) for one in doubtful if (new := replanned(one, ours, theirs, planned.policy))
    }
    for old, new in fresh.values():
        session.limit.replan(new.path, new)
        session.result.revise(old, new)
    planned.plans = [fresh[one.path][1] if one.path in fresh else one for one in planned.plans]


def _unseen(session: Session, one: FolderPlan) -> str:
    reason = os.strerror(one.problem)
    if not one.path:
        raise UnusableError(f"{session.replica.text}: it cannot be listed: {reason}")
    return f"{path_text(one.path)}: cannot be listed on the replica: {reason}; nothing in it is sent or deleted"


def _has_number(numbers: Mapping[str, int | None], name: str) -> bool:
    """Return whether a number is known, or that there is none; some are looked up only when asked for."""
    try:
        numbers[name]
    except KeyError:
        return False
    return True
