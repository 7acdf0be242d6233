"""The lists that rsync reads: every entry `./path`, ended by NUL, written and closed before rsync starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

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


def write(path: Path, entries: Iterable[bytes], below: bytes = b"") -> bool:
    """Write a list of entries; all are `below` this directory of the operand. Return whether there are any."""
    written = False
    # What precedes the first `/./` is not made on the other side; `./` behind it implies the root's own attributes,
    # and keeps a leading `#` or `;` from being a comment.
    start = below + b"/././" if below else b"./"
    with open(path, "wb", buffering=1 << 16) as stream:
        for entry in entries:
            stream.write(start + entry + b"\0")
            written = True
    return written
