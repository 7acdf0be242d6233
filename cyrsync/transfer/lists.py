"""What stands in the lists that rsync is given, folder by folder."""

from __future__ import annotations

from collections.abc import Iterator

from cyrsync.plan.folder_plan import FolderPlan
from cyrsync.tree.folder import join
from cyrsync.tree.uids import file_names

#: What must not travel with a folder that goes as one entry: hidden files, and metadata (that comes after).
#: Hidden from the sender only: an exclude would also protect such files where a folder must make way.
WHOLE_FOLDER_FILTERS = ("--filter=H .*", "--filter=H cyrus.*")


def message_entries(plan: FolderPlan) -> Iterator[bytes]:
    """Yield the list entries for a folder's messages: the folder itself if it goes whole."""
    if plan.whole:
        yield plan.path + b"/"
    else:
        prefix = plan.path + b"/" if plan.path else b""
        for name in file_names(plan.uids):
            yield prefix + name
        for name in plan.odd:
            yield prefix + name


def other_entries(plan: FolderPlan) -> Iterator[bytes]:
    """Yield the list entries for a folder's metadata, strays, and the folder's own attributes.

    The root has no entry of its own (it would stand for its contents): rsync sees to it with any other.
    """
    if plan.touch and plan.path:
        yield plan.path
    for name in (*plan.metadata, *plan.strays):
        yield join(plan.path, name)
