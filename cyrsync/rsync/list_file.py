"""The lists that rsync reads: every entry `./path`, ended by NUL, written and closed before rsync starts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


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
