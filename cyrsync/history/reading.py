"""One mailbox of a tree, read from its own files: its values, and those of its messages that are meant."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cyrsync.cyrus.mailbox import details, header, records, snapshot
from cyrsync.cyrus.mailbox.index import FIRST_WITH_CRC
from cyrsync.cyrus.mailbox.locks import LockTimeout
from cyrsync.cyrus.mailbox.records import Index
from cyrsync.cyrus.mailbox.snapshot import MetaFiles
from cyrsync.cyrus.server import layout
from cyrsync.cyrus.server.server import Located
from cyrsync.errors import error_text
from cyrsync.history.choose import Request, shown
from cyrsync.history.selected import Mailbox, Message, Selection
from cyrsync.history.tree import Tree
from cyrsync.text import path_text


class Unreadable(Exception):
    """A mailbox that cannot be read: which one, and why, in one line."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Records of one index; all of `cyrus.expunge` are expunged [2.3]."""

    index: Index
    numbers: Sequence[int]
    expunged: bool


def read(tree: Tree, place: Located, request: Request) -> Selection:
    """Return what is meant of a mailbox. Raise Unreadable."""
    name = shown(place.mailbox.name)
    if not place.data:
        raise Unreadable(f"{name}: imapd.conf has no partition {place.mailbox.partition}")
    try:
        placed = _placed(tree, place)
        taken = snapshot.take(placed.files)
        if taken.index_data is None or taken.header_data is None:
            lacking = placed.files.index_path if taken.index_data is None else placed.files.header_path
            raise Unreadable(f"{name}: {path_text(lacking)}: no such file")
        parts = [_part(taken.index_data, request, expunged=False)]
        if taken.expunge_data is not None:
            parts.append(_part(taken.expunge_data, request, expunged=True))
        head = header.read(taken.header_data)
    except OSError as error:
        raise Unreadable(f"{name}: {error_text(error)}") from None
    except (records.BadIndex, header.HeaderError, LockTimeout) as error:
        raise Unreadable(f"{name}: {path_text(place.data)}: {error}") from None
    mailbox = _mailbox(place, parts[0].index, head, layout.is_deleted(place.mailbox.name, tree.deletedprefix))
    return Selection(
        mailbox,
        count=sum(len(part.numbers) for part in parts),
        size=sum(part.index.sizes[number] for part in parts for number in part.numbers),
        files=placed.files,
        messages=lambda: (message for part in parts for message in _messages(part, head, placed)),
    )


def _placed(tree: Tree, place: Located) -> Located:
    """Return a mailbox with its directories as they are in the tree. Raise OSError."""
    data, meta, archive = (tree.place(path) for path in (place.data, place.meta, place.archive))
    files = MetaFiles(*[path and _in_directory(tree, path) for path in place.files])
    return place._replace(data=data, meta=meta, archive=archive, files=files)


def _in_directory(tree: Tree, path: bytes) -> bytes:
    """Return a file's path; itself it may not be a link, which whoever opens it sees to."""
    directory, name = os.path.split(path)
    return os.path.join(tree.place(directory), name)


def _part(data: bytes, request: Request, *, expunged: bool) -> _Part:
    """Return the records that are meant. Raise BadIndex."""
    if isinstance(request.message, bytes) and request.message not in data:
        # Nothing of a large index has to be taken apart.
        index = records.read(data, check_records=False, sorted_uids=False)
        return _Part(index, (), expunged)
    one = request.message is not None
    index = records.read(data, check_records=not one, sorted_uids=not expunged and not one)
    if one:
        numbers = [number for number in _numbers_of(index, request.message) if not index.unlinked[number]]
        _check(data, index, numbers)
        return _Part(index, numbers, expunged)
    return _Part(index, _wanted(index, request, expunged), expunged)


def _numbers_of(index: Index, message: bytes | int | None) -> list[int]:
    if isinstance(message, int):
        return [index.uids.index(message)] if message in index.uids else []
    return [number for number, guid in enumerate(index.guids()) if guid == message]


def _wanted(index: Index, request: Request, all_expunged: bool) -> Sequence[int]:
    if all_expunged:
        return range(len(index)) if request.only_expunged else ()
    if request.only_expunged:
        return [n for n in range(len(index)) if index.expunged[n] and not index.unlinked[n]]
    return [n for n in range(len(index)) if index.live[n]]


def _check(data: bytes, index: Index, numbers: Sequence[int]) -> None:
    """Look at the CRCs of some records alone. Raise BadIndex."""
    head = index.header
    if head.minor_version < FIRST_WITH_CRC:
        return
    for number in numbers:
        at = head.start_offset + number * head.record_size
        covered = records.crc_at(head.minor_version)
        if zlib.crc32(data[at : at + covered]) != int.from_bytes(data[at + covered : at + covered + 4], "big"):
            raise records.BadIndex(at + covered, "wrong CRC of a record")


def _mailbox(place: Located, index: Index, head: header.Header, deleted: bool) -> Mailbox:
    known = place.mailbox
    acl = tuple((os.fsencode(who), os.fsencode(rights)) for who, rights in known.acl) or head.acl
    return Mailbox(
        name=known.name,
        kind=known.kind,
        partition=known.partition,
        uniqueid=head.uniqueid,
        uidvalidity=index.header.uidvalidity,
        last_uid=index.header.last_uid,
        highest_modseq=index.header.highestmodseq,
        options=index.header.options,
        acl=acl,
        quota_root=head.quotaroot,
        user_flags=head.flags,
        deleted=deleted,
        legacy=known.legacy,
    )


def _messages(part: _Part, head: header.Header, place: Located) -> Iterator[Message]:
    index = part.index
    dates, changes = details.internal_dates(index), details.last_changes(index)
    for number in part.numbers:
        name = b"%d." % index.uids[number]
        archived = bool(index.archived[number])
        # Where the flag does not lead: a move may be under way, or archive_enabled have been changed.
        roots = (place.archive, place.data) if archived else (place.data, place.archive)
        yield Message(
            uid=index.uids[number],
            guid=index.guid(number),
            size=index.sizes[number],
            internaldate=dates[number],
            flags=tuple(records.flag_names(index.system_flags[number], index.user_flags(number), head.flags)),
            modseq=index.modseqs[number],
            last_changed=changes[number],
            expunged=part.expunged or bool(index.expunged[number]),
            archived=archived,
            places=tuple(dict.fromkeys(os.path.join(root, name) for root in roots)),
        )
