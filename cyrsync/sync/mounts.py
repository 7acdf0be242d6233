"""Whether a tree is all in one file system, by the kernel's list of mounts."""

from __future__ import annotations

import re

from cyrsync.ends.address import Address
from cyrsync.ends.child_tree import ReplicaTree
from cyrsync.ends.tree import Tree
from cyrsync.errors import UnusableError

#: proc(5): a line for each mount, the directory in the fifth column, the kind of file system behind a lone dash.
MOUNTS = b"/proc/self/mountinfo"
_ESCAPED = re.compile(rb"\\([0-7]{3})")
#: Their sub-volumes have device numbers of their own, and stand in no list.
_WITH_SUBVOLUMES = frozenset([b"btrfs", b"bcachefs"])


def check(address: Address, tree: Tree, root: bytes) -> None:
    """Raise UnusableError if something is mounted below a root, or if that is not known."""
    try:
        if address.local:
            with open(MOUNTS, "rb") as stream:
                text = stream.read()
        elif isinstance(tree, ReplicaTree):
            text = tree.read(MOUNTS)
        else:
            raise UnusableError(f"{address.text}: --one-file-system: it is not known what is mounted there")
    except OSError as error:
        raise UnusableError(f"{address.text}: --one-file-system: {MOUNTS.decode()}: {error.strerror}") from None
    if is_crossed(text, root):
        raise UnusableError(f"{address.text}: --one-file-system: other file systems are mounted below")


def is_crossed(text: bytes, root: bytes) -> bool:
    """Tell by a list of mounts whether another file system may begin below a directory, given by its real path."""
    prefix = root.rstrip(b"/") + b"/"
    around, kind = b"", b""
    for columns in map(bytes.split, text.splitlines()):
        place = _ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), columns[4])
        if place.startswith(prefix) and place != root:
            return True
        if prefix.startswith(place.rstrip(b"/") + b"/") and len(place) >= len(around):
            around, kind = place, columns[columns.index(b"-") + 1]
    return kind in _WITH_SUBVOLUMES
