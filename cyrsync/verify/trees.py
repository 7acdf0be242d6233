"""The audit of a tree wherever it is, alone or beside its replica."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cyrsync.ends.address import Address
from cyrsync.ends.tree_pair import TreePair
from cyrsync.errors import UnusableError
from cyrsync.far import uids as uid_sets
from cyrsync.far.digests import Question
from cyrsync.far.finding import Audited, Problem
from cyrsync.far.folder import Folder, join
from cyrsync.spool.planning import links_warning
from cyrsync.spool.walk_engine import links_in
from cyrsync.sync import direction
from cyrsync.sync.policy import Policy
from cyrsync.verify.compare import EXTRA_FOLDER, compare, of_records


@contextmanager
def audits(
    source: Address, replica: Address | None, content: bool, rsh: str | None, warnings: list[str]
) -> Iterator[Iterator[Audited]]:
    """Give what is found in a tree, or between a source and its replica, folder by folder.

    Swapped trees, and mailboxes that are not checked, are named in `warnings`.
    """
    with (
        tempfile.TemporaryDirectory(prefix="cyrsync-") as directory,
        TreePair(source, replica, rsh, (), Path(directory)) as trees,
    ):
        if replica is None:
            yield _audited(trees, content, warnings)
            return
        if not trees.replica_status.exists:
            raise UnusableError(f"{replica.text}: no such directory")
        cyrus = direction.cyrus_on(trees.replica, [trees.replica_status.root])
        warnings += filter(None, (direction.replica_at(trees.source_status), *cyrus))
        numbers = trees.replica.numbers(trees.names_of_owner())
        policy = Policy(rights=trees.replica.rights, numbers=numbers, whole_seconds=source.daemon or replica.daemon)
        yield _compared(trees, policy, warnings)


def _audited(trees: TreePair, content: bool, warnings: list[str]) -> Iterator[Audited]:
    root = trees.source_status.root
    yield from trees.source.audit(root, content)
    links = [link for folder in trees.source.walk(root, frozenset()) for link in links_in(folder)]
    warnings += links_warning(trees, links, "checked")


def _compared(trees: TreePair, policy: Policy, warnings: list[str], below: bytes = b"") -> Iterator[Audited]:
    """Compare both trees, and when both are listed, what their indexes say of the messages that both have.

    Where the source has a link to mailboxes elsewhere, and the replica a directory, as `sync -C` makes it, what is
    behind the link is compared with that. With `below`, the trees are those in that directory.
    """
    links: list[bytes] = []
    common: list[Question] = []

    def noting(folders: Iterator[Folder]) -> Iterator[Folder]:
        for folder in folders:
            links.extend(links_in(folder))
            yield folder

    def note(ours: Folder, theirs: Folder) -> None:
        uids = ours.messages.uids
        both = uid_sets.difference(uids, uid_sets.difference(uids, theirs.messages.uids))
        common.append(Question(ours.path, both))

    source, replica = trees.folders(frozenset(), below)
    audited = list(compare(noting(source), replica, policy, note))
    found = trees.source.links_to_mailboxes(trees.roots(below)[0], links) if links else []
    extra = [one.path for one in audited if EXTRA_FOLDER in one.problems]
    followed = [link for link in found if any(_is_within(path, link) for path in extra)]
    if not below:
        warnings += links_warning(trees, [link for link in links if link not in followed], "compared")
    wrong = _records(trees, common, below)
    for one in audited:
        if not any(_is_within(one.path, link) for link in followed):
            problem = wrong.get(one.path)
            path = join(below, one.path) if one.path else below
            yield one._replace(path=path, problems=(*one.problems, problem) if problem else one.problems)
    for link in followed:
        yield from _compared(trees, policy, warnings, join(below, link))


def _is_within(path: bytes, top: bytes) -> bool:
    return path == top or path.startswith(top + b"/")


def _records(trees: TreePair, common: list[Question], below: bytes) -> dict[bytes, Problem]:
    """Return the folders whose indexes differ; none if a side cannot tell."""
    source_root, replica_root = trees.roots(below)
    theirs = trees.replica.digests(replica_root, common)
    ours = trees.source.digests(source_root, common) if theirs else {}
    found = ((path, of_records(ours[path], theirs[path])) for path in theirs if path in ours)
    return {path: problem for path, problem in found if problem}
