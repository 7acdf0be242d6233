"""A folder as a listing sees it, and how listings cross a connection.

A frame is one line of JSON, followed by as many bytes as the line says: the steps from UID to UID, or all names
in one row. Names and paths are bytes of any kind; JSON carries them as Latin-1, which maps every byte to itself.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import json
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.cyrus.entry import MAIN_FILES
from cyrsync.tree import uids as uid_sets
from cyrsync.tree.message_files import MessageFiles

if TYPE_CHECKING:
    from typing import Any

#: Stands for the size of a step where the names follow as they are.
_ROW = 0


class Entry(NamedTuple):
    """What `lstat` says of a metadata file, a stray or a directory."""

    mode: int  # st_mode
    size: int  # bytes
    mtime: int  # nanoseconds
    owner: str  # "uid:gid:user:group"; a name is empty where the system knows none
    extra: str  # a symlink's target, or a device's number; "" otherwise


class File(NamedTuple):
    """A metadata file with its contents, of one moment."""

    name: bytes
    entry: Entry
    data: bytes


class Incarnation(NamedTuple):
    """What tells one life of a mailbox from another, and how far its index goes."""

    uniqueid: str
    uidvalidity: int
    last_uid: int

    def same_as(self, other: "Incarnation") -> bool:
        """Tell whether both are one mailbox incarnation, however far each index goes."""
        return self[:2] == other[:2]


class Folder(NamedTuple):
    """One directory. `problem` is an errno: then nothing else is known of it or of what is below it."""

    path: bytes  # relative to the root; b"" is the root itself
    problem: int = 0
    attributes: "Entry | None" = None
    messages: MessageFiles = MessageFiles()
    metadata: "dict[bytes, Entry | None]" = {}  # noqa: RUF012 - never written to; None: it could not be looked at
    strays: "dict[bytes, Entry | None]" = {}  # noqa: RUF012
    folders: "tuple[bytes, ...]" = ()  # names of sub-folders, sorted
    incarnation: "Incarnation | None" = None  # None: not a mailbox, or its header or index can't be read
    leftovers: "tuple[bytes, ...]" = ()  # rsync's temporary files, old enough to be nobody's

    def is_cyrus(self) -> bool:
        """Tell whether Cyrus keeps a mailbox here: message files or one of its main files give it away."""
        return bool(self.messages or not MAIN_FILES.isdisjoint(self.metadata))


def ids_of(owner: str) -> "tuple[tuple[str, str], tuple[str, str]]":
    """Return number and name of an owner's user, and of the group."""
    uid, gid, user, group = owner.split(":")
    return (uid, user), (gid, group)


def owner_names(owner: str) -> "set[str]":
    """Return `user:NAME` and `group:NAME` of an owner, as far as there are names."""
    (_, user), (_, group) = ids_of(owner)
    return {kind + name for kind, name in (("user:", user), ("group:", group)) if name}


def sort_key(path: bytes) -> bytes:
    """Return what to sort paths by so that a folder comes right before what is below it."""
    return path.replace(b"/", b"\0")


def join(path: bytes, name: bytes) -> bytes:
    """Return the relative path of `name` in the folder `path`."""
    return path + b"/" + name if path else name


def encode(folder: Folder, compressible: bool = True) -> bytes:
    """Return the folder as one frame, for a connection that is compressed, or for a pipe on one machine."""
    if compressible:
        size, steps = uid_sets.pack(folder.messages.uids)
        odd = [_text(name) for name in folder.messages.odd]
    else:
        size, steps, odd = _ROW, folder.messages.row(), []
    record = [
        _text(folder.path),
        folder.problem,
        folder.attributes,
        [size, len(steps)],
        odd,
        {_text(name): entry for name, entry in folder.metadata.items()},
        {_text(name): entry for name, entry in folder.strays.items()},
        [_text(name) for name in folder.folders],
        folder.incarnation,
        [_text(name) for name in folder.leftovers],
    ]
    return json.dumps(record, separators=(",", ":")).encode("ascii") + b"\n" + steps


def decode(record: "list[Any]", steps: bytes) -> Folder:
    """Undo `encode`, given the parsed line and the bytes that followed it."""
    path, problem, attributes, packed, odd, metadata, strays, folders, incarnation, leftovers = record
    return Folder(
        path=path.encode("latin-1"),
        problem=problem,
        attributes=_entry(attributes),
        messages=MessageFiles(steps)
        if packed[0] == _ROW
        else MessageFiles.of(uid_sets.unpack(packed[0], steps), _names(odd)),
        metadata={name.encode("latin-1"): _entry(entry) for name, entry in metadata.items()},
        strays={name.encode("latin-1"): _entry(entry) for name, entry in strays.items()},
        folders=_names(folders),
        incarnation=Incarnation(*incarnation) if incarnation else None,
        leftovers=_names(leftovers),
    )


def _entry(fields: "list[Any] | None") -> "Entry | None":
    return Entry(*fields) if fields else None


def _names(texts: "list[str]") -> "tuple[bytes, ...]":
    return tuple([text.encode("latin-1") for text in texts])


def _text(name: bytes) -> str:
    return name.decode("latin-1")
