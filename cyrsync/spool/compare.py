"""Two listings of one folder in, what is to be done out. Pure: no file is looked at here."""

from __future__ import annotations

import errno
import stat
from array import array
from collections.abc import Iterator
from dataclasses import replace

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far import uids as uid_sets
from cyrsync.far.folder import Entry, Folder, ids_of, join, owner_names
from cyrsync.far.message_files import MessageFiles
from cyrsync.rsync.filters import Rules
from cyrsync.sync.folder_plan import FolderPlan, State
from cyrsync.sync.policy import Policy


def compare(source: Folder, replica: Folder | None, policy: Policy, *, doubted: bool = False) -> FolderPlan:
    """Return the plan for a folder that the source has.

    With `doubted`, names prove nothing: rsync compares every message that both sides have. It does so, too, where the
    folder's own owner or mode or those of its metadata differ: nobody looks at those of messages.
    """
    if source.problem:
        vanished = source.problem in (errno.ENOENT, errno.ENOTDIR)
        if vanished:
            return FolderPlan(source.path, State.VANISHED)
        return FolderPlan(source.path, State.UNREADABLE, problem=source.problem)
    source, replica = without(source, policy.rules), replica and without(replica, policy.rules)
    if replica is not None and not doubted:
        doubted = _is_ahead(replica, source) or bool(with_other_attributes(source, replica, policy))
    plan = FolderPlan(
        source.path,
        _state(source, replica, doubted=doubted),
        doubted=doubted,
        is_cyrus=source.is_cyrus(),
        messages_seen=len(source.messages),
        replica_messages=len(replica.messages) if replica else 0,
        replica=replica,
        source=None if replica else source,
        incarnation=source.incarnation,
    )
    if plan.state is State.SAME and replica and _same_messages(source, replica):
        plan.messages_present = plan.messages_seen
    else:
        _plan_messages(plan, source, replica, policy)
    if replica is None or replica.problem:
        plan.touch = True
    else:
        plan.touch = not _same_directory(source.attributes, replica.attributes, policy)
        _plan_deletions(plan, source, replica, policy)
    _plan_others(plan, source, replica or Folder(source.path), policy)
    if plan.state is State.SAME and (plan.sends() or plan.deletes()):
        plan.state = State.CHANGED
    return plan


def without(folder: Folder, rules: Rules) -> Folder:
    """Return the folder without what the user leaves out: as if it were on neither side."""
    if not rules:
        return folder

    def seen(name: bytes, *, directory: bool = False) -> bool:
        return not rules.excludes(join(folder.path, name), directory=directory)

    return folder._replace(
        metadata={name: found for name, found in folder.metadata.items() if seen(name)},
        other_files={name: found for name, found in folder.other_files.items() if seen(name)},
        folders=tuple([name for name in folder.folders if seen(name, directory=True)]),
        leftovers=tuple([name for name in folder.leftovers if seen(name, directory=name == kinds.UPDATES)]),
    )


def gone(replica: Folder) -> FolderPlan:
    """Return the plan for a folder that only the replica has."""
    return FolderPlan(
        replica.path,
        State.GONE,
        is_cyrus=replica.is_cyrus(),
        messages_delete=len(replica.messages),
        others_delete=len(replica.metadata) + len(replica.other_files),
        replica_messages=len(replica.messages),
        replica=replica,
    )


def unchanged(source: Entry | None, replica: Entry | None, policy: Policy) -> bool:
    """Return whether rsync would find nothing to do for a file: its quick check, to the nanosecond, and attributes."""
    if source is None or replica is None or not policy.own_quick_check:
        return False
    kind = stat.S_IFMT(source.mode)
    if kind != stat.S_IFMT(replica.mode) or source.extra != replica.extra:
        return False
    same_time = _same_time(source, replica, policy)
    if kind == stat.S_IFREG and (source.size != replica.size or not (same_time or policy.size_only)):
        return False
    if policy.preserve.times and not same_time:
        return False
    return _same_attributes(source, replica, policy)


def same_metadata(name: bytes, source: Folder, replica: Folder, policy: Policy) -> bool:
    """Return whether rsync would find nothing to do for a metadata file, also if listings do not show that it would."""
    if _differs_unseen(name, source, replica, policy):
        return False
    return unchanged(source.metadata.get(name), replica.metadata.get(name), policy)


def _differs_unseen(name: bytes, source: Folder, replica: Folder, policy: Policy) -> bool:
    """Return whether a file differs though its size and second are the same: rsync itself would not see that."""
    return not policy.size_only and (name in source.differing or name in replica.differing)


def _state(source: Folder, replica: Folder | None, *, doubted: bool) -> State:
    if replica is None:
        return State.NEW
    if source.incarnation and replica.incarnation:
        if not source.incarnation.same_as(replica.incarnation):
            return State.RECREATED
        if not doubted:
            return State.SAME
    elif source.incarnation and _was_begun_anew(replica):
        return State.RECREATED
    return State.COMPARED if source.messages or replica.problem else State.SAME


def _is_ahead(replica: Folder, source: Folder) -> bool:
    """Return whether the replica's index has higher UIDs: the source has given these, or will give them, again."""
    ours, theirs = source.incarnation, replica.incarnation
    return bool(ours and theirs and ours.same_as(theirs) and theirs.last_uid > ours.last_uid)


def _was_begun_anew(replica: Folder) -> bool:
    """Return whether a run that put another mailbox here died before its end: it first removed the old index."""
    found = replica.metadata.get(kinds.INDEX)
    has_index = kinds.INDEX in replica.metadata and not (found is not None and found.size == 0)
    return has_index != (kinds.HEADER in replica.metadata)


def _same_messages(source: Folder, replica: Folder) -> bool:
    """Return whether both have the same messages, and indexes up to the same UID: then there is nothing to compare."""
    return source.incarnation == replica.incarnation and source.messages == replica.messages


def _plan_messages(plan: FolderPlan, source: Folder, replica: Folder | None, policy: Policy) -> None:
    nonstandard = source.messages.nonstandard
    last_uid = source.incarnation.last_uid if source.incarnation else uid_sets.MAX_UID
    committed, waiting = uid_sets.up_to(source.messages.uids, last_uid), uid_sets.above(source.messages.uids, last_uid)
    plan.messages_waiting = len(waiting)
    if plan.state is not State.SAME or replica is None:
        plan.messages_send = len(committed) + len(nonstandard)
        may_go_whole = not policy.one_by_one and _may_go_whole(source, plan.messages_waiting)
        plan.whole = may_go_whole and bool(plan.messages_send)
        plan.uids, plan.nonstandard = committed, nonstandard
        return
    plan.messages_waiting = len(uid_sets.difference(waiting, replica.messages.uids))
    plan.uids = _missing_or_unproven(committed, replica)
    plan.nonstandard = tuple(name for name in nonstandard if name not in replica.messages.nonstandard)
    plan.messages_send = len(plan.uids) + len(plan.nonstandard)
    plan.messages_present = plan.messages_seen - plan.messages_waiting - plan.messages_send


def _missing_or_unproven(committed: array[int], replica: Folder) -> array[int]:
    """Return what the replica lacks, and what lies there beyond its own index.

    The latter was sent by a run that died before the index: rsync's check settles whether it is the
    message that has the UID now.
    """
    if not replica.incarnation:
        return committed
    proven_to = replica.incarnation.last_uid
    missing = uid_sets.difference(uid_sets.up_to(committed, proven_to), replica.messages.uids)
    return missing + uid_sets.above(committed, proven_to)


def _may_go_whole(source: Folder, waiting: int) -> bool:
    """Return whether one list entry can stand for all messages: none has to wait, and no filter hides the folder."""
    name = source.path.rpartition(b"/")[2]
    return bool(source.path) and not waiting and not name.startswith(kinds.METADATA_PREFIX)


def _plan_others(plan: FolderPlan, source: Folder, replica: Folder, policy: Policy) -> None:
    metadata = _wanted(source.metadata, policy)
    plan.metadata_seen = len(metadata)
    # Neither size nor time distinguishes the metadata of two mailboxes.
    all_of_it = plan.state is State.RECREATED
    moves_messages = plan.messages_send or (policy.deletes and plan.messages_delete)
    plan.by_size = policy.size_only and not (all_of_it or (plan.state is State.SAME and moves_messages))
    exact = replace(policy, size_only=False) if policy.size_only and not plan.by_size else policy
    differing = sorted(name for name in metadata if all_of_it or not same_metadata(name, source, replica, exact))
    plan.unseen = policy.own_quick_check and any(_differs_unseen(name, source, replica, exact) for name in differing)
    plan.metadata = tuple(name for name in differing if name in kinds.SNAPSHOT)
    plan.derived = tuple(name for name in differing if name not in kinds.SNAPSHOT)
    plan.under_index = (
        plan.state is State.COMPARED and kinds.INDEX in source.metadata and kinds.INDEX in replica.metadata
    )
    if plan.under_index:
        plan.restored = tuple(sorted(kinds.SNAPSHOT.intersection(metadata).difference(plan.metadata)))
    plan.metadata_bytes = sum(found.size for name in plan.metadata if (found := source.metadata[name]))
    other_files = [name for name, found in source.other_files.items() if _can_be_sent(found, policy)]
    plan.other_files_seen = len(other_files)
    plan.other_files = tuple(
        sorted(n for n in other_files if not unchanged(source.other_files[n], replica.other_files.get(n), policy))
    )
    if plan.by_size:
        plan.derived, plan.other_files = (
            (),
            tuple(sorted((*plan.other_files, *plan.derived))),
        )  # messages are not compared by size


def _wanted(names: dict[bytes, Entry | None], policy: Policy) -> list[bytes]:
    return [name for name in names if not (policy.skip_derived and name in kinds.DERIVED)]


def _can_be_sent(found: Entry | None, policy: Policy) -> bool:
    """Return whether rsync would send a file of this kind with the options in force."""
    if found is None or stat.S_ISREG(found.mode):
        return True
    return policy.preserve.links if stat.S_ISLNK(found.mode) else policy.preserve.devices


def _plan_deletions(plan: FolderPlan, source: Folder, replica: Folder, policy: Policy) -> None:
    kept = {*source.metadata, *source.other_files, *source.folders}
    nonstandard: list[bytes] = []
    if not plan.messages_present == plan.messages_seen == plan.replica_messages:
        # A directory that bears a message's name: rsync puts it in the file's place by itself.
        replaced = MessageFiles(b"".join(name for name in source.folders if kinds.is_message(name)))
        # Of another mailbox nothing stays, also not under the name of a message that has to wait.
        waiting = plan.messages_waiting if plan.state is State.RECREATED else 0
        ours = source.messages.uids[: len(source.messages.uids) - waiting]
        plan.delete_uids = uid_sets.difference(uid_sets.difference(replica.messages.uids, ours), replaced.uids)
        nonstandard = [
            name
            for name in replica.messages.nonstandard
            if name not in kept and name not in source.messages.nonstandard
        ]
    others = [*_wanted(replica.metadata, policy), *replica.other_files]
    others = [name for name in others if name not in kept and name not in source.messages]
    plan.delete_files = tuple(sorted([*nonstandard, *others]))
    plan.leftovers = replica.leftovers
    plan.messages_delete = len(plan.delete_uids) + len(nonstandard)
    plan.others_delete = len(others)


def names_in_doubt(source: Folder, replica: Folder) -> set[str]:
    """Return the names of owners, as `Tree.numbers` has them, that files of the replica do not have."""
    names = set()
    for _, ours, theirs in _both(source, replica):
        if ours.owner != theirs.owner and ours.owner and theirs.owner:
            names |= owner_names(ours.owner) - owner_names(theirs.owner)
    return names


def with_other_attributes(source: Folder, replica: Folder, policy: Policy) -> list[bytes]:
    """Return what rsync would give another mode or owner, of the folder itself (b"") and its metadata by name."""
    if not policy.own_quick_check:
        return []
    derived = kinds.DERIVED if policy.skip_derived else frozenset()
    both = _both(source, replica)
    return [name for name, ours, theirs in both if name not in derived and not _same_attributes(ours, theirs, policy)]


def _both(source: Folder, replica: Folder) -> Iterator[tuple[bytes, Entry, Entry]]:
    """Yield what is known of the folder itself and of each metadata file on both sides, where that differs."""
    if source.attributes and replica.attributes and source.attributes != replica.attributes:
        yield b"", source.attributes, replica.attributes
    for name, ours in source.metadata.items():
        theirs = replica.metadata.get(name)
        if ours and theirs and ours != theirs:
            yield name, ours, theirs


def _same_directory(source: Entry | None, replica: Entry | None, policy: Policy) -> bool:
    if source is None or replica is None or not policy.own_quick_check:
        return False
    if policy.preserve.times and policy.preserve.dir_times and not _same_time(source, replica, policy):
        return False
    return _same_attributes(source, replica, policy)


def _same_time(source: Entry, replica: Entry, policy: Policy) -> bool:
    grain = 10**9 if policy.whole_seconds else 1
    return source.mtime // grain == replica.mtime // grain


def _same_attributes(source: Entry, replica: Entry, policy: Policy) -> bool:
    if policy.preserve.perms and stat.S_IMODE(source.mode) != stat.S_IMODE(replica.mode):
        return stat.S_ISLNK(source.mode)
    return source.owner == replica.owner or _same_owner(source.owner, replica.owner, policy)


def _same_owner(source: str, replica: str, policy: Policy) -> bool:
    """Compare owners as rsync maps them: by name where the replica's side knows it, else by number.

    An owner that is not known ("", a daemon's listing has none) is taken for right.
    """
    if not source or not replica:
        return True
    (uid, user), (gid, group) = ids_of(source)
    theirs, their_group = ids_of(replica)
    if policy.preserve.owner and policy.rights.root and not _same_id("user", (uid, user), theirs, policy):
        return False
    can_set = policy.rights.root or int(gid) in policy.rights.groups
    return not (policy.preserve.group and can_set) or _same_id("group", (gid, group), their_group, policy)


def _same_id(kind: str, source: tuple[str, str], replica: tuple[str, str], policy: Policy) -> bool:
    number, name = source
    if policy.preserve.numeric_ids or not name or number == "0":  # rsync never maps 0
        return number == replica[0]
    if name == replica[1]:
        return True
    try:
        there = policy.numbers[f"{kind}:{name}"]
    except KeyError:
        return not replica[1] and number == replica[0]
    return replica[0] == (number if there is None else str(there))
