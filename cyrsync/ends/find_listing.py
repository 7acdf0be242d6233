"""What a far `find` lists of a tree: items, which become folders when all have arrived.

The letters of the items: `a` an entry with its attributes, `d` a folder, `u` one that cannot be read, `n` a name in the
folder before it, `h` and `x` how its header and its index begin, in hexadecimal, `e` the status of `find`.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox import header, index
from cyrsync.ends.listing import ListedFolder, Listing
from cyrsync.far import folder, wire
from cyrsync.far.folder import Entry, Folder, Incarnation, join
from cyrsync.far.message_files import MessageFiles
from cyrsync.far.wire import WireError

#: An entry with its attributes: users and groups may have blanks in their names, and every path begins with a dot.
_ENTRY = re.compile(
    rb"([A-Za-z?]) ([0-7]{1,6}) ([0-9]{1,20}) (-?[0-9]{1,20})(?:\.([0-9]{0,20}))? (.{1,1024}?) (\.|\./.*)\Z", re.DOTALL
)
_STATUS = re.compile(rb"[0-9]{1,3}")


class FindListing:
    """What the items of a listing say."""

    def __init__(self) -> None:
        self.listing = Listing()
        self._attributes: dict[bytes, Entry | None] = {}

    def read(self, items: Iterable[bytes]) -> bytes:
        """Read all items, and return the status of `find`. Raise WireError, or another of wire.WRONG."""
        current: ListedFolder | None = None
        where = status = b""
        for item in items:
            kind, text = item[:1], item[1:]
            if kind == b"a":
                path, entry = _attributes(text)
                self.listing.size.add(path)
                self._attributes[path] = entry
            elif kind in (b"d", b"u"):
                problem = errno.EACCES if kind == b"u" else 0
                where = _relative(text)
                current = self.listing.add_folder(where, ListedFolder(problem=problem))
            elif kind == b"e":
                status = text
            elif current is None:
                raise WireError("something that is in no folder")
            elif kind == b"n":
                self._add_name(current, where, text)
            elif kind == b"h":
                current.header = _bytes(text, header.READ_SIZE)
            elif kind == b"x":
                current.index = _bytes(text, index.READ_SIZE)
            else:
                raise WireError(f"an item of an unknown kind: {wire.shown(item)}")
        if not _STATUS.fullmatch(status):
            raise WireError(f"no status: {wire.shown(status)}")
        return status

    def folder(self, path: bytes, found: ListedFolder, names: tuple[bytes, ...]) -> Folder:
        """Return a folder that has these sub-folders."""
        if found.problem:
            return Folder(path, problem=found.problem)
        row = bytes(found.messages)
        numbered = {name for name in names if kinds.is_message(name)}
        if numbered:
            row = b"".join([name for digits in row.split(b".")[:-1] if (name := digits + b".") not in numbered])
        others = {
            name: self._attributes.get(join(path, name))
            for name in found.others
            if not kinds.is_left_alone(name, at_root=not path)
            and join(path, name) not in self.listing.found
            and (found.header or name != kinds.HEADER)  # empty or unreadable: as good as none
        }
        uniqueid, head = header.uniqueid(found.header), index.head(found.index)
        return Folder(
            path,
            messages=MessageFiles(row),
            attributes=self._attributes.get(path),
            metadata={name: entry for name, entry in others.items() if kinds.is_metadata(name)},
            other_files={name: entry for name, entry in others.items() if not kinds.is_metadata(name)},
            folders=names,
            incarnation=Incarnation(uniqueid, *head) if uniqueid and head else None,
        )

    def _add_name(self, current: ListedFolder, where: bytes, name: bytes) -> None:
        if kinds.is_message(name):
            current.add_message(name)
            return
        self.listing.size.add(where)
        wire.unhidden([wire.checked_name(name)])
        current.others[name] = None


def _bytes(text: bytes, most: int) -> bytes:
    """Return the bytes that `od` printed."""
    found = bytes.fromhex(text.decode("ascii"))
    wire.number(len(found), most)
    return found


def _attributes(text: bytes) -> tuple[bytes, Entry | None]:
    """Read what GNU find printed for one entry; links and devices have no attributes here, rsync compares those."""
    match = _ENTRY.match(text)
    if not match:
        raise WireError(f"no entry: {wire.shown(text)}")
    kind, mode, size, seconds, fraction, owner, path = match.groups()
    time = int(seconds) * 10**9 + int((fraction or b"0")[:9].ljust(9, b"0"))
    if kind == b"f":
        fields = [stat.S_IFREG | (int(mode, 8) & 0o777), int(size), time, _owner(os.fsdecode(owner)), ""]
        return _relative(path), folder.regular(fields)
    if kind == b"d":
        fields = [stat.S_IFDIR | int(mode, 8), int(size), time, _owner(os.fsdecode(owner)), ""]
        return _relative(path), folder.directory(fields)
    return _relative(path), None


def _owner(text: str) -> str:
    """Return an owner as all sides have it: `find` prints the number where there is no name."""
    uid, gid, user, group = text.split(":")
    names = [
        name if name != number and wire.is_owner_name(name) else "" for name, number in ((user, uid), (group, gid))
    ]
    return ":".join([uid, gid, *names])


def _relative(path: bytes) -> bytes:
    if path == b".":
        return b""
    if not path.startswith(b"./") or len(path) == 2:
        raise WireError(f"a path that leads elsewhere: {wire.shown(path)}")
    return wire.checked_path(path[2:])
