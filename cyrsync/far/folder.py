"""A folder as a listing sees it, and how listings cross a connection.

A frame is one line of JSON, followed by as many bytes as the line says: the steps from UID to UID, or all names
in one row. Names and paths are bytes of any kind; JSON carries them as Latin-1, which maps every byte to itself.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import errno
import json
import stat
from operator import lt
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox.entry import MAIN_FILES
from cyrsync.far import message_files, wire
from cyrsync.far import uids as uid_sets
from cyrsync.far.message_files import MessageFiles
from cyrsync.far.wire import WireError

if TYPE_CHECKING:
    from typing import IO, Any

#: Stands for the size of a step where the names follow as they are.
_ROW = 0
_KINDS = {
    *(stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK),
    *(stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK),
}


class Entry(NamedTuple):
    """What `lstat` says of a metadata file, another file or a directory."""

    mode: int  # st_mode; of a file, without the bits that lend its owner's rights
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
    """What distinguishes one life of a mailbox from another, and the last UID of its index."""

    uniqueid: str
    uidvalidity: int
    last_uid: int

    def same_as(self, other: "Incarnation") -> bool:
        """Tell whether both are one mailbox incarnation, whatever the last UID of each index."""
        return self[:2] == other[:2]


#: The incarnation of no mailbox.
NOBODY = Incarnation("", 0, 0)


class Folder(NamedTuple):
    """One directory. `problem` is an errno: then nothing else is known of it or of what is below it."""

    path: bytes  # relative to the root; b"" is the root itself
    problem: int = 0
    attributes: "Entry | None" = None
    messages: MessageFiles = MessageFiles()
    metadata: "dict[bytes, Entry | None]" = {}  # noqa: RUF012 - never written to; None: it could not be looked at
    other_files: "dict[bytes, Entry | None]" = {}  # noqa: RUF012
    folders: "tuple[bytes, ...]" = ()  # names of sub-folders, sorted
    incarnation: "Incarnation | None" = None  # None: not a mailbox, or its header or index can't be read
    leftovers: "tuple[bytes, ...]" = ()  # rsync's temporary files, old enough to be nobody's
    differing: "frozenset[bytes]" = frozenset()  # metadata that is listed as in the other tree, and differs; not sent

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
    """Return the sort key of a path, by which a folder is right before what is below it."""
    return path.replace(b"/", b"\0")


def join(path: bytes, name: bytes) -> bytes:
    """Return the relative path of `name` in the folder `path`."""
    return path + b"/" + name if path else name


def encode(folder: Folder, compressible: bool = True) -> bytes:
    """Return the folder as one frame, for a connection that is compressed, or for a pipe on one machine.

    One with more in it than a frame may have is sent with EFBIG for its problem.
    """
    return frame(folder, compressible) or encode(Folder(folder.path, problem=errno.EFBIG), compressible)


def frame(folder: Folder, compressible: bool) -> "bytes | None":
    """Return the folder as one frame, None for one with more in it than a frame may have."""
    if compressible:
        size, steps = uid_sets.pack(folder.messages.uids)
        nonstandard = [_text(name) for name in folder.messages.nonstandard]
    else:
        size, steps, nonstandard = _ROW, folder.messages.row(), []
    record = [
        _text(folder.path),
        folder.problem,
        folder.attributes,
        [size, len(steps)],
        nonstandard,
        {_text(name): entry for name, entry in folder.metadata.items()},
        {_text(name): entry for name, entry in folder.other_files.items()},
        [_text(name) for name in folder.folders],
        folder.incarnation,
        [_text(name) for name in folder.leftovers],
    ]
    line = json.dumps(record, separators=(",", ":")).encode("ascii") + b"\n"
    too_many = len(steps) > uid_sets.MOST and len(folder.messages) > uid_sets.MOST
    if too_many or not wire.fits(line) or len(steps) > wire.MAX_MESSAGES:
        return None
    return line + steps


def read(stream: "IO[bytes]") -> Folder:
    """Return the folder that the next frame is. Raise WireError for anything else, EOFError where the stream ends."""
    return read_rest(wire.read_record(stream), stream)


@wire.one_error
def read_rest(record: "Any", stream: "IO[bytes]") -> Folder:
    """Return the folder of a frame whose line was read already. Raise WireError, or EOFError."""
    return decode(record, wire.read_data(stream, record[3][1], wire.MAX_MESSAGES))


@wire.one_error
def decode(record: "list[Any]", steps: bytes) -> Folder:
    """Undo `encode`, given the parsed line and the bytes that followed it. Raise WireError for anything else."""
    path_text, problem, attributes, packed, nonstandard, metadata, other_files, folders, incarnation, leftovers = record
    path = wire.path(path_text)
    if wire.number(problem, wire.MAX_ERRNO):
        return Folder(path, problem=problem)
    return Folder(
        path=path,
        attributes=None if attributes is None else directory(attributes),
        messages=_messages(packed[0], nonstandard, steps),
        metadata=_members(metadata, path, metadata=True),
        other_files=_members(other_files, path, metadata=False),
        folders=_sorted(_listed(folders, path)),
        incarnation=None if incarnation is None else _incarnation(*incarnation),
        leftovers=_leftovers(leftovers),
    )


def directory(fields: "list[Any]") -> Entry:
    """Return what is said of a directory. Raise ValueError for anything else."""
    found = entry(fields)
    if not stat.S_ISDIR(found.mode):
        raise WireError("no directory where one must be")
    return found


def regular(fields: "list[Any]") -> Entry:
    """Return what is said of a regular file. Raise ValueError for anything else."""
    found = entry(fields)
    if not stat.S_ISREG(found.mode):
        raise WireError("no file where one must be")
    return found


def entry(fields: "list[Any]") -> Entry:
    """Return what is said of a directory or a file of any kind. Raise TypeError or ValueError for anything else."""
    mode, size, mtime, owner, extra = fields
    kind = stat.S_IFMT(wire.number(mode, 0o177777))
    if kind not in _KINDS or (kind == stat.S_IFREG and mode & ~0o777 != kind):
        raise WireError("no mode: {:o}".format(mode))
    wire.number(size, wire.MAX_SIZE)
    wire.number(mtime, wire.MAX_TIME, -wire.MAX_TIME)
    return Entry(mode, size, mtime, wire.owner(owner), wire.text(extra))


def _messages(size: int, nonstandard: "Any", data: bytes) -> MessageFiles:
    if size == _ROW:
        return message_files.from_row(data)
    uids = uid_sets.unpack(size, data)
    names = tuple(wire.names(nonstandard))
    if names and MessageFiles(b"".join(names)) != MessageFiles.of(uid_sets.empty(), names):
        raise WireError("the name of no message, among: " + wire.shown(b" ".join(names)))
    return MessageFiles.of(uids, names)


def _members(found: "dict[str, Any]", path: bytes, metadata: bool) -> "dict[bytes, Entry | None]":
    if not found and type(found) is dict:
        return {}
    names = _listed(list(found.keys()), path)
    for name in names:
        if kinds.is_metadata(name) is not metadata or (not metadata and kinds.is_message(name)):
            raise WireError("a name of another kind: " + wire.shown(name))
    return {name: fields and entry(fields) for name, fields in zip(names, found.values())}


def _listed(texts: "Any", path: bytes) -> "list[bytes]":
    """Return names that may be in the listing of a folder."""
    names = wire.names(texts)
    for name in names:
        if kinds.is_left_alone(name, at_root=not path):
            raise WireError("a name that is left alone: " + wire.shown(name))
    return names


def _sorted(names: "list[bytes]") -> "tuple[bytes, ...]":
    if not all(map(lt, names, names[1:])):
        raise WireError("names in another order, or twice")
    return tuple(names)


def _incarnation(uniqueid: "Any", uidvalidity: "Any", last_uid: "Any") -> Incarnation:
    wire.text(uniqueid).encode("latin-1")
    wire.number(uidvalidity, uid_sets.MAX_UID)
    return Incarnation(uniqueid, uidvalidity, wire.number(last_uid, uid_sets.MAX_UID))


def _leftovers(texts: "Any") -> "tuple[bytes, ...]":
    names = wire.names(texts)
    if not all(kinds.is_leftover(name) for name in names):
        raise WireError("what is no leftover, among: " + wire.shown(b" ".join(names)))
    return tuple(names)


def _text(name: bytes) -> str:
    return name.decode("latin-1")
