"""What the lists for rsync contain, folder by folder."""

from __future__ import annotations

from collections.abc import Iterator

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far.folder import join
from cyrsync.far.uids import file_names
from cyrsync.rsync.asked import OtherFile, Own
from cyrsync.sync.folder_plan import FolderPlan

#: What must not be sent with a folder that is one entry: hidden files, and the metadata that is sent later.
#: Hidden from the sender only: an exclude would also protect such files where a folder must make way.
_HIDDEN = (b".*", b"cyrus.*.NEW", *sorted(kinds.SNAPSHOT))


#: What keeps the root's own entry, where there is no other, from standing for its contents; not if it has a name.
_ROOT_ALONE = "--filter=H /*"


def root_alone(name: bytes) -> tuple[str, ...]:
    """Return rsync's words for a list that has nothing but the entry of the root, which has this name, or none."""
    return () if name else (_ROOT_ALONE,)


def whole_folder_filters(*, skip_derived: bool) -> tuple[str, ...]:
    """Return rsync's words for what is left out when a folder is sent as one entry."""
    return tuple(f"--filter={rule}" for rule in whole_folder_rules(skip_derived=skip_derived))


def whole_folder_rules(*, skip_derived: bool) -> list[str]:
    """Return the same as rsync's filter rules."""
    hidden = (*_HIDDEN, *sorted(kinds.DERIVED)) if skip_derived else _HIDDEN
    return [f"H {name.decode()}" for name in hidden]


def message_entries(plan: FolderPlan) -> Iterator[bytes]:
    """Yield the entries for a folder's messages and what is sent with them: the folder itself if it is sent whole."""
    if plan.whole:
        yield plan.path + b"/"
    else:
        prefix = plan.path + b"/" if plan.path else b""
        for name in file_names(plan.uids):
            yield prefix + name
        for name in (*plan.nonstandard, *plan.derived):
            yield prefix + name


def staged_entries(plan: FolderPlan) -> Iterator[bytes]:
    """Yield what is sent from the staged copy: the folder's own attributes, and metadata."""
    if plan.path:
        yield plan.path
    for name in plan.metadata:
        yield join(plan.path, name)


def other_entries(plan: FolderPlan) -> Iterator[bytes]:
    """Yield the list entries for a folder's other files, and if there is no staged copy, metadata and own attributes.

    The root has no entry of its own (it would stand for its contents): rsync sees to it with any other. See ROOT.
    """
    if plan.touch and plan.path and not plan.staged:
        yield Own(plan.path)
    for name in () if plan.staged else plan.metadata:
        yield join(plan.path, name)
    for name in plan.other_files:
        yield OtherFile(join(plan.path, name))


def lists_metadata(plan: FolderPlan) -> bool:
    """Return whether a plan has an entry in a list of metadata and other files."""
    entries = (*(staged_entries(plan) if plan.staged else ()), *other_entries(plan))
    return bool(entries)
