"""One folder as it is at one moment: its metadata under Cyrus's locks, and then, with the index known, its directory.

A message file is written before its index record, and deleted after it. So the directory that is read after the index
has every message that the index names, unless one was expunged and unlinked in between: then both are read again.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import errno
import json
import os
import stat
import time
import zlib
from array import array
from itertools import compress
from operator import or_
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox import header, records, snapshot
from cyrsync.cyrus.mailbox import index as indexes
from cyrsync.cyrus.mailbox.locks import LockTimeout
from cyrsync.cyrus.mailbox.snapshot import MetaFiles
from cyrsync.far import extended, wire
from cyrsync.far import folder as folders
from cyrsync.far import uids as uid_sets
from cyrsync.far.extended import NO_KINDS, Kinds
from cyrsync.far.folder import Entry, File, Folder, Incarnation
from cyrsync.far.wire import WireError

if TYPE_CHECKING:
    from typing import IO, Any, Iterable, Iterator

    from cyrsync.cyrus.mailbox.snapshot import Part
    from cyrsync.far.extended import Attributes
    from cyrsync.far.walk import Reader

_LOOKS = 5
#: Makes 0 of 1, and 1 of 0.
_NOT = b"\1\0" + bytes(254)
_PAUSE = 0.02  # seconds that a writer may need to finish
#: What opening or reading says of a directory, a link, a socket or a FIFO.
_NO_FILE = (errno.EISDIR, errno.ELOOP, errno.ENXIO, errno.EINVAL)
_LONG_PAUSE = 0.2  # to make, rename or remove a whole mailbox takes longer
#: Nanoseconds since a directory changed in which one without an index may be a mailbox in the making, and so on.
_RECENT = 20 * 10**9


class LockedFolder(NamedTuple):
    """A folder with its snapshot metadata, of one moment.

    `folder.problem` is EBUSY where a writer kept the lock or never rested, EAGAIN where a mailbox is just being made,
    renamed or removed.
    `above` are the folder's directory and those it is in, by path, the root first. `extended` are attributes of
    theirs, and of the files, by path.
    """

    folder: Folder
    files: "tuple[File, ...]" = ()
    above: "tuple[tuple[bytes, Entry], ...]" = ()
    extended: "tuple[tuple[bytes, Attributes], ...]" = ()


def read_under_locks(reader: "Reader", path: bytes, wanted: Kinds = NO_KINDS) -> LockedFolder:
    """Read one folder below the reader's root, with ACLs and extended attributes if `wanted`.

    Never raises for a folder.
    """
    before = None
    for _ in range(_LOOKS):
        reader.descent.close()  # the path may be another directory's by now
        try:
            directory = reader.descent.where(path)
            paths = {name: os.path.join(directory, name) for name in kinds.SNAPSHOT}
            meta_files = MetaFiles(paths[kinds.HEADER], paths[kinds.INDEX], paths[kinds.EXPUNGE])
            parts, locked = _locked_parts(meta_files, paths[kinds.ANNOTATIONS])
        except LockTimeout:
            return LockedFolder(Folder(path, problem=errno.EBUSY))
        except OSError as error:
            return LockedFolder(Folder(path, problem=error.errno or errno.EIO))
        folder = reader.look(path)
        if folder.problem or _is_strange(folder):
            return LockedFolder(folder)
        held = {name: parts[whole] for name, whole in paths.items() if whole in parts}
        bytes_held = {name: part.data for name, part in held.items()}
        is_passing = _is_passing(held, folder)
        pause = _LONG_PAUSE if is_passing else _pause(held, folder, locked)
        if pause is None:
            return _taken(reader, folder, held, wanted)
        is_stable, before = bytes_held == before, bytes_held
        if is_stable and reader.patience <= 0:
            break
        if pause == _LONG_PAUSE:
            pause = max(min(pause, reader.patience), _PAUSE)
            reader.patience -= pause
        time.sleep(pause)
    if not is_stable:
        return LockedFolder(Folder(path, problem=errno.EBUSY))
    if is_passing and _is_recent(folder):
        return LockedFolder(Folder(path, problem=errno.EAGAIN))
    return _taken(reader, folder, held, wanted)  # where nothing moves any more, what is missing is missing


def _locked_parts(meta_files: MetaFiles, annotations: bytes) -> "tuple[dict[bytes, Part], bool]":
    """Return the snapshot metadata and whether it was locked; nothing where something else than a file is there."""
    try:
        return snapshot.parts(meta_files, [annotations])
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        return {}, False


def _taken(reader: "Reader", folder: Folder, held: "dict[bytes, Part]", wanted: Kinds) -> LockedFolder:
    files = tuple([File(name, reader.entry(part.status), part.data) for name, part in sorted(held.items())])
    metadata = {name: entry for name, entry in folder.metadata.items() if name not in kinds.SNAPSHOT}
    metadata.update({file.name: file.entry for file in files})
    try:
        above = tuple([(path, reader.entry(status)) for path, status in reader.descent.statuses(folder.path)])
        attributes = tuple(_extended(reader, folder.path, [path for path, _ in above], held, wanted))
    except OSError as error:
        return LockedFolder(Folder(folder.path, problem=error.errno or errno.EIO))
    return LockedFolder(folder._replace(metadata=metadata, incarnation=_incarnation(held)), files, above, attributes)


def _extended(
    reader: "Reader", folder: bytes, above: "list[bytes]", names: "Iterable[bytes]", wanted: Kinds
) -> "Iterator[tuple[bytes, Attributes]]":
    """Yield the attributes of directories and of a folder's files, of those that have any. Raise OSError."""
    if not wanted:
        return
    for path in above:
        found = extended.read(reader.descent.where(path), wanted, follow=True)
        if found:
            yield path, found
    for name in sorted(names):
        found = extended.read(os.path.join(reader.descent.where(folder), name), wanted)
        if found:
            yield folders.join(folder, name), found


def _is_passing(held: "dict[bytes, Part]", folder: Folder) -> bool:
    """Tell whether a mailbox seems to be made, renamed or removed now: else it is damaged.

    There are messages without an index, or an index without a header, or one that says that its mailbox is deleted.
    """
    index = held.get(kinds.INDEX)
    if index is None:
        return bool(folder.messages)
    return kinds.HEADER not in held or records.is_of_deleted(index.data)


def _is_strange(folder: Folder) -> bool:
    """Tell whether a link or a directory stands where Cyrus keeps a file: then rsync is to see to it."""
    found = [folder.metadata[name] for name in kinds.SNAPSHOT.intersection(folder.metadata)]
    other = any(entry and not stat.S_ISREG(entry.mode) for entry in found)
    return other or not kinds.SNAPSHOT.isdisjoint(folder.folders)


def _incarnation(held: "dict[bytes, Part]") -> "Incarnation | None":
    if kinds.HEADER not in held or kinds.INDEX not in held:
        return None
    uniqueid = header.uniqueid(held[kinds.HEADER].data[: header.READ_SIZE])
    head = indexes.head(held[kinds.INDEX].data[: indexes.READ_SIZE])
    return Incarnation(uniqueid, head.uidvalidity, head.last_uid) if uniqueid and head else None


def _pause(held: "dict[bytes, Part]", folder: Folder, locked: bool) -> "float | None":
    """Return None where header, index and directory fit together, else for how long to wait before the next look."""
    if kinds.INDEX not in held:
        return None
    try:
        index = records.read(held[kinds.INDEX].data, check_records=not locked)
        needed = need_file(index)
        if kinds.EXPUNGE in held:
            expunged = records.read(held[kinds.EXPUNGE].data, check_records=not locked, sorted_uids=False)
            needed = uid_sets.union(needed, uid_sets.sort(expunged.uids))
    except records.BadIndex:
        return None if locked else _PAUSE  # locked, it is damaged, or newer than we are: no writer is at work
    head = held.get(kinds.HEADER)
    if head and index.header.header_file_crc not in (None, zlib.crc32(head.data)):
        return _PAUSE
    return _LONG_PAUSE if uid_sets.difference(needed, folder.messages.uids) else None


def _is_recent(folder: Folder) -> bool:
    return folder.attributes is not None and folder.attributes.mtime > time.time_ns() - _RECENT


def need_file(index: "records.Index", archived: bool = False) -> "array[int]":
    """Return the UIDs whose message must be in the data directory, or of those that are `archived`, in that one."""
    if 1 not in index.archived:
        return uid_sets.empty() if archived else have_file(index)
    without = index.archived.translate(_NOT) if archived else index.archived
    return array("I", compress(index.uids, bytes(map(or_, without, index.unlinked)).translate(_NOT)))


def have_file(index: "records.Index") -> "array[int]":
    """Return the UIDs of all messages that have a file."""
    return array("I", compress(index.uids, index.unlinked.translate(_NOT))) if 1 in index.unlinked else index.uids


def encode(locked_folder: LockedFolder, compressible: bool) -> bytes:
    """Return what was read as one frame: a line of JSON, the files' bytes, and the folder's frame.

    One with more in it than a frame may have is sent with EFBIG for its problem.
    """
    frame = folders.frame(locked_folder.folder, compressible)
    files = [[file.name.decode("latin-1"), file.entry, len(file.data)] for file in locked_folder.files]
    above = [[path.decode("latin-1"), entry] for path, entry in locked_folder.above]
    attributes = [[path.decode("latin-1"), extended.to_record(found)] for path, found in locked_folder.extended]
    line = json.dumps([files, above, attributes], separators=(",", ":")).encode("ascii") + b"\n"
    if frame is None or not wire.fits(line) or any(len(file.data) > wire.MAX_FILE for file in locked_folder.files):
        return encode(LockedFolder(Folder(locked_folder.folder.path, problem=errno.EFBIG)), compressible)
    return b"".join([line, *(file.data for file in locked_folder.files), frame])


@wire.one_error
def decode(stream: "IO[bytes]", numeric_ids: bool = False) -> LockedFolder:
    """Undo `encode`; whom an ACL names gets the number that the name has here, unless with `numeric_ids`.

    Raise WireError for anything else, EOFError when the stream ends in it.
    """
    listed, above_listed, attributes = wire.read_record(stream)
    files = tuple([_file(stream, *fields) for fields in wire.list_of(listed, len(kinds.SNAPSHOT))])
    folder = folders.read(stream)
    above = tuple([(wire.path(path), folders.directory(fields)) for path, fields in wire.list_of(above_listed)])
    if files and (folder.problem or len({file.name for file in files}) < len(files)):
        raise WireError("files of a folder that was not read, or twice")
    if above or files:
        wire.above([path for path, _ in above], folder.path)
    asked = {path for path, _ in above} | {folders.join(folder.path, file.name) for file in files}
    found = tuple([(wire.path(p), extended.from_record(record, numeric_ids)) for p, record in wire.list_of(attributes)])
    if not asked.issuperset([path for path, _ in found]):
        raise WireError("attributes of what is not there")
    return LockedFolder(folder, files, above, found)


def _file(stream: "IO[bytes]", name: "Any", fields: "Any", size: "Any") -> File:
    (found,) = wire.names([name])
    if found not in kinds.SNAPSHOT:
        raise WireError("a file that is not taken: " + wire.shown(found))
    return File(found, folders.regular(fields), wire.read_data(stream, size, wire.MAX_FILE))
