"""A first copy of many messages: one rsync copies the whole tree, and then the run compares what has arrived.

With a list rsync needs almost half as long again as without. Metadata of one moment is left out of that copy. Every
folder is compared afterwards: what the replica held before with what it holds then.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far.folder import Folder
from cyrsync.spool import lists
from cyrsync.spool.compare import compare
from cyrsync.spool.folder_reader import identity
from cyrsync.sync.folder_plan import FolderPlan, State
from cyrsync.sync.policy import Policy

#: Words of rsync's that leave no file out, and make no other of one.
_HARMLESS = {"--archive", "--numeric-ids", "--bwlimit", "--compress", "--rsync-path", "--verbose", "--stats"}
#: What is no pattern, and not hidden.
_PLAIN = re.compile(rb"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
#: With fewer messages one rsync more costs more time than it saves.
_MANY = 10_000


def is_worth_it(plans: list[FolderPlan], words: Iterable[str], name: bytes = b"") -> bool:
    """Return whether all files of these plans may be copied with the whole tree: rsync with these words omits none.

    `name` is the tree's, if rsync is to make it: rules for what is left out must not match it.
    """
    if name and (kinds.is_metadata(name) or not _PLAIN.match(name)):
        return False
    leaves_none = {word.partition("=")[0] for word in words} <= _HARMLESS
    return leaves_none and sum(plan.messages_send for plan in plans) >= _MANY and all(map(_may_be_copied, plans))


def rules(root: str, *, skip_derived: bool) -> list[str]:
    """Return rsync's filter rules for what is left out; `root` is how patterns spell the tree's."""
    at_root = [f"H {root}/{name.decode()}" for name in sorted(kinds.ROOT_TRANSIENT)]
    return at_root + lists.whole_folder_rules(skip_derived=skip_derived)


def plans_after(plans: list[FolderPlan], there: Iterable[Folder], policy: Policy) -> list[FolderPlan]:
    """Return the plans for what is left to be done, with what is `there` now: only what is seen has arrived."""
    replica = {folder.path: folder for folder in there}
    after = []
    for plan in plans:
        found = replica.get(plan.path)
        if plan.source is None or found is None or found.problem:
            after.append(plan)
            continue
        # Its messages are the source's, unless another mailbox was there: that is seen when the folder is read.
        fresh = compare(plan.source, found._replace(incarnation=plan.source.incarnation), policy)
        fresh.identity = identity(plan.source)
        fresh.kept = plan.kept
        after.append(fresh)
    return [plan for plan in after if plan.sends() or plan.deletes()]


def _may_be_copied(plan: FolderPlan) -> bool:
    if not plan.path:
        return not plan.messages_send
    name = plan.path.rpartition(b"/")[2]
    is_all = (plan.whole and plan.incarnation) or not (plan.messages_send or plan.messages_waiting)
    return bool(is_all) and plan.state is State.NEW and not kinds.is_metadata(name)
