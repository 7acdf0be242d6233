"""The comparison of a source and its replica, without a word to rsync. Pure: two listings in, findings out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from cyrsync.far import uids as uid_sets
from cyrsync.far.digests import Digests
from cyrsync.far.finding import Audited, Problem
from cyrsync.far.folder import Folder
from cyrsync.spool.compare import same_metadata, with_other_attributes
from cyrsync.spool.likeness import Likeness, likeness
from cyrsync.spool.walk_engine import pair
from cyrsync.sync.policy import Policy

EXTRA_FOLDER = Problem("extra folder")


def compare(
    source: Iterator[Folder],
    replica: Iterator[Folder],
    policy: Policy,
    note: Callable[[Folder, Folder], None] = lambda *_: None,
) -> Iterator[Audited]:
    """Yield what differs, folder by folder, and folders without a difference, too.

    `note` receives each folder that is one mailbox's on both sides.
    """
    unreadable: bytes | None = None
    unlisted: bytes | None = None  # on the replica
    for ours, theirs in pair(source, replica):
        if ours is None:
            assert theirs
            if not _is_leftover(theirs) and (unreadable is None or not _below(theirs.path, unreadable)):
                yield Audited(theirs.path, 0, len(theirs.messages), problems=(EXTRA_FOLDER,))
        elif ours.problem:
            unreadable = ours.path
            yield Audited(ours.path, problems=(Problem("unreadable", detail=os.strerror(ours.problem)),))
        elif theirs is None and unlisted is not None and _below(ours.path, unlisted):
            continue  # told of already
        elif theirs is None and _is_leftover(ours):
            continue
        elif theirs is None:
            yield Audited(ours.path, len(ours.messages), problems=(Problem("lacks folder"),))
        elif theirs.problem:
            unlisted = theirs.path
            detail = f"on the replica: {os.strerror(theirs.problem)}"
            yield Audited(ours.path, len(ours.messages), problems=(Problem("unreadable", detail=detail),))
        else:
            problems = tuple(_problems(ours, theirs, policy))
            if ours.incarnation and theirs.incarnation and ours.incarnation.same_as(theirs.incarnation):
                note(ours, theirs)
            yield Audited(ours.path, len(ours.messages), len(theirs.messages), problems=problems)


def _problems(ours: Folder, theirs: Folder, policy: Policy) -> Iterator[Problem]:
    if ours.incarnation and theirs.incarnation and not ours.incarnation.same_as(theirs.incarnation):
        lives = [f"{one.uniqueid} of UIDVALIDITY {one.uidvalidity}" for one in (theirs.incarnation, ours.incarnation)]
        yield Problem("other mailbox", detail=" instead of ".join(lives))
    if ours.messages != theirs.messages:
        # What is not yet in the index waits for the next run.
        last_uid = ours.incarnation.last_uid if ours.incarnation else uid_sets.MAX_UID
        lacks = uid_sets.difference(uid_sets.up_to(ours.messages.uids, last_uid), theirs.messages.uids)
        extra = uid_sets.difference(theirs.messages.uids, ours.messages.uids)
        if lacks:
            yield Problem("lacks", tuple(lacks))
        if extra:
            yield Problem("extra", tuple(extra))
    names = sorted(ours.metadata.keys() | theirs.metadata.keys())
    contents = replace(policy, preserve=policy.preserve._replace(perms=False, owner=False, group=False))
    other = [name for name in names if not same_metadata(name, ours, theirs, contents)]
    if other:
        yield Problem("metadata", detail=_listed(other))
    with_others = with_other_attributes(ours, theirs, policy)
    if with_others:
        yield Problem("owner", detail=_listed(with_others))


def of_records(source: Digests | None, replica: Digests | None) -> Problem | None:
    """Return a finding if both indexes differ in what they say of the messages that both have.

    Records that only one side has are found by their files.
    """
    for one, where in ((source, "source"), (replica, "replica")):
        if one is None:
            return Problem("index", detail=f"cyrus.index: it cannot be read on the {where}")
    assert source and replica
    if source.uids != replica.uids or likeness(source, replica) is Likeness.SAME:
        return None
    return Problem("other message", detail="the indexes have other GUIDs, sizes or dates under the same UIDs")


def _listed(names: Iterable[bytes]) -> str:
    return ", ".join(name.decode("ascii", "backslashreplace") or "the folder itself" for name in names)


def _is_leftover(folder: Folder) -> bool:
    """Tell whether nothing is in a directory of the uniqueid layout: those above a mailbox that is gone stay."""
    in_layout = folder.path == b"uuid" or folder.path.startswith(b"uuid/")
    return in_layout and not (folder.problem or folder.messages or folder.metadata or folder.other_files)


def _below(path: bytes, top: bytes) -> bool:
    return not top or path.startswith(top + b"/")
