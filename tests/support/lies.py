"""What a far end may send besides, or in the place of, what it was asked for: trees, and the lies about them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import samplespool
from cyrsync.cyrus.mailbox import entry as kinds
from support.tree import Entry, snapshot


class Trees:
    """A source, another tree that is sent in its place, a replica, and a directory beside it."""

    def __init__(self, directory: Path, source: Path, other: Path) -> None:
        self.source, self.other = source, other
        self.replica, self.outside = directory / "replica", directory / "out"
        self.outside.mkdir()
        (self.outside / "file").write_bytes(b"somebody else's")
        #: Paths that are sent with all that is asked for.
        self.more: list[bytes] = []
        #: What names are called on their way back, by names of the same length.
        self.renamed: dict[bytes, bytes] = {}
        samplespool.make(source, messages=30, folder_count=4)
        self.folder = os.fsencode(samplespool.folders(source)[0].relative_to(source))

    def part(self) -> None:
        """Have one message more that is to be pulled, and the other tree like the source."""
        folder = self.at(self.source)
        before = set(os.listdir(folder))
        samplespool.deliver(folder, 1)
        (name,) = set(os.listdir(folder)) - before
        self.message = self.folder + b"/" + os.fsencode(name)
        shutil.copytree(self.source, self.other, symlinks=True)

    def at(self, tree: Path, path: bytes | None = None) -> Path:
        """Where a path, or the folder that changes, is in a tree."""
        return tree / os.fsdecode(self.folder if path is None else path)

    def sent(self, path: bytes | None = None) -> Path:
        """Where a path, or the folder that changes, is in the other tree."""
        return self.at(self.other, path)

    def put(self, path: bytes, content: bytes = b"not asked for") -> None:
        """Write a file into the other tree, and have it sent with all that is asked for."""
        file = self.sent(path)
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        self.more.append(path)

    def everything(self, *left_out: bytes) -> dict[bytes, Entry]:
        """All that a run may not touch, and the replica, but for names beside it, and its owner file."""
        found = snapshot(self.replica.parent, skip_hidden=False, dir_mtimes=False)
        return {
            path: one
            for path, one in found.items()
            if path != b"replica/.cyrsync-replica" and path.partition(b"/")[0] not in left_out
        }


def a_file_more(trees: Trees) -> None:
    trees.put(trees.folder + b"/extra")


def a_message_that_is_there_already(trees: Trees) -> None:
    name = next(name for name in os.listdir(trees.at(trees.replica)) if kinds.is_message(os.fsencode(name)))
    trees.put(trees.folder + b"/" + os.fsencode(name))


def an_index(trees: Trees) -> None:
    trees.put(trees.folder + b"/CYRUS.index")
    trees.renamed = {b"CYRUS.index": b"cyrus.index"}


def the_owner_file(trees: Trees) -> None:
    trees.put(b"Qcyrsync-replica")
    trees.renamed = {b"Qcyrsync-replica": b".cyrsync-replica"}


def a_path_that_leads_up(trees: Trees) -> None:
    trees.put(b"QZ/out-too")
    trees.renamed = {b"QZ": b".."}


def a_whole_path(trees: Trees) -> None:
    path = bytes(trees.outside)
    trees.put(b"Q" * len(path) + b"/file")
    trees.renamed = {b"Q" * len(path): path}


#: Lies that all rsyncs can tell.
LIES = [
    a_file_more,
    a_message_that_is_there_already,
    an_index,
    the_owner_file,
    a_path_that_leads_up,
    a_whole_path,
]
