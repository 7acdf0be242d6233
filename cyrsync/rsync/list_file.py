"""The lists that rsync reads: every entry a path below a `./`, ended by NUL, written and closed before rsync starts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

#: The tree's own entry.
ROOT = b"."


def write(path: Path, entries: Iterable[bytes], below: bytes = b"", name: bytes = b"", *, pulled: bool = False) -> bool:
    """Write a list of entries; all are `below` this directory of the operand. Return whether there are any.

    With a `name`, that is the tree's own, below that directory: it is made on the other side, and rsync prints it.
    What is `pulled` implies no attributes of the root, unless that has a name.
    """
    written = False
    # What precedes the first `/./` is not made on the other side; `./` behind it implies the root's own attributes,
    # and keeps a leading `#` or `;` from being a comment. A name implies its own attributes alone.
    start = below + b"/././" if below else b"./"
    if name or pulled:
        # To 3.2.5's receiver, what is behind the first `/./` is the name that it asked for, a second `./` and all.
        # A daemon looks whether its filters hide what is before that; they may well hide a `.`. No name is a comment
        # where the sender does not read the list itself.
        start = (below + b"/./" if below else b"" if pulled else b"././") + (name + b"/" if name else b"")
    with open(path, "wb", buffering=1 << 16) as stream:
        for entry in entries:
            # With a slash after it, or a dot, a directory would mean its contents.
            stream.write((start[:-1] if name and entry == ROOT else start + entry) + b"\0")
            written = True
    return written
