"""One mailbox of a tree, read from its own files: its values, and its selected messages."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import compress

from cyrsync.cyrus.mailbox import details, entry, header, records
from cyrsync.cyrus.mailbox.index import FIRST_WITH_CRC
from cyrsync.cyrus.mailbox.locks import LockTimeout
from cyrsync.cyrus.mailbox.records import Index, IndexHeader
from cyrsync.cyrus.server import layout, message_annotations, seen
from cyrsync.cyrus.server.db.error import DbError
from cyrsync.cyrus.server.server import Located
from cyrsync.errors import UnusableError, error_text
from cyrsync.history.choose import Request, choose, former_name, shown
from cyrsync.history.mailbox_files import MailboxFiles, Unreadable
from cyrsync.history.selected import Annotation, Mailbox, Message, Selection
from cyrsync.history.tree import Tree
from cyrsync.sync.progress import NoProgress, Reporter
from cyrsync.text import path_text

#: The oldest minor version of an index that has what the owner has seen.
_FIRST_WITH_SEEN = 12
#: The oldest one that has expunged records itself, and not in a file of their own.
_FIRST_WITHOUT_EXPUNGE = 12
#: Versions that call a user's file `john.doe.seen`, and those before.
_DECODED, _ENCODED = (3, 0), (2, 4)


@dataclass(frozen=True, slots=True)
class _Part:
    """Records of one index; all of `cyrus.expunge` are expunged [2.3]."""

    index: Index
    numbers: Sequence[int]
    expunged: bool


@dataclass(frozen=True, slots=True)
class _Extras:
    """What is known of a mailbox's messages beside the index."""

    annotations: dict[int, tuple[Annotation, ...]]
    seen: tuple[range, ...]  # UIDs


def selections(
    tree: Tree, request: Request, unreadable: Callable[[str], None], reporter: Reporter | None = None
) -> Iterator[Selection]:
    """Return the selections, one for each mailbox; `unreadable` receives mailboxes that cannot be read.

    Raise UnusableError at once where there is no such mailbox.
    """
    found = chosen(tree, request, unreadable)
    return of_each(tree, found, request, unreadable, reporter or NoProgress())


def chosen(tree: Tree, request: Request, unreadable: Callable[[str], None]) -> list[Located]:
    """Return the selected mailboxes. Raise UnusableError if there are none."""
    known = tree.mailboxes
    for problem in tree.unreadable:
        unreadable(problem)
    try:
        return choose(known, request, tree.deletedprefix)
    except UnusableError as error:
        raise (UnusableError(tree.past.unknown(str(error))) if tree.past else error) from None


def of_each(
    tree: Tree, chosen: list[Located], request: Request, unreadable: Callable[[str], None], reporter: Reporter
) -> Iterator[Selection]:
    """Yield the selections of some mailboxes; an empty one only if no single message is asked for."""
    messages = 0
    for number, place in enumerate(chosen):
        reporter.scan(number, messages)
        found = read_if_readable(tree, place, request, unreadable)
        if found is not None:
            messages += found.count
            if found.count or request.message is None:
                yield found


def read_if_readable(
    tree: Tree, place: Located, request: Request, unreadable: Callable[[str], None]
) -> Selection | None:
    """Return what `read` does; None, and `unreadable` is told, where it cannot be read."""
    try:
        return read(tree, place, request)
    except Unreadable as error:
        unreadable(str(error))
        return None


def read(
    tree: Tree, place: Located, request: Request, files: MailboxFiles | None = None, only: frozenset[int] | None = None
) -> Selection:
    """Return the selection of a mailbox. Raise Unreadable.

    `files` are its own if they are read already; `only` some UIDs are looked at.
    """
    name = shown(place.mailbox.name)
    if not place.data:
        raise Unreadable(f"{name}: imapd.conf has no partition {place.mailbox.partition}")
    try:
        files = files or tree.files(place)
        head = header.read(files.metadata[entry.HEADER])
        index = records.read_header(files.metadata[entry.INDEX])
        metadata = dict(files.metadata)
        if index.minor_version >= _FIRST_WITHOUT_EXPUNGE:
            metadata.pop(entry.EXPUNGE, None)  # left over: what it names may be other messages by now
        parts = _parts(metadata, request)
        if only is not None:
            parts = [replace(part, numbers=[n for n in part.numbers if part.index.uids[n] in only]) for part in parts]
        extras = _Extras(_annotations(tree, place, metadata), _seen(tree, place, index.minor_version, head.uniqueid))
    except OSError as error:
        raise Unreadable(f"{name}: {error_text(error)}") from None
    except (records.BadIndex, header.HeaderError, LockTimeout) as error:
        raise Unreadable(f"{name}: {path_text(files.directory if files else place.data)}: {error}") from None
    except Unreadable as error:
        raise Unreadable(f"{name}: {error}") from None
    read_from = files
    return Selection(
        _mailbox(place, index, head, files, layout.is_deleted(place.mailbox.name, tree.deletedprefix)),
        count=sum(len(part.numbers) for part in parts),
        expunged=sum(part.expunged or part.index.expunged[n] for part in parts for n in part.numbers),
        size=sum(part.index.sizes[number] for part in parts for number in part.numbers),
        messages=lambda: (message for part in parts for message in _messages(part, head, read_from, extras)),
        metadata=metadata,
        caches=files.caches,
        since=files.since,
    )


def _parts(metadata: dict[bytes, bytes], request: Request) -> list[_Part]:
    """Return the selected records of cyrus.index and of 2.3's cyrus.expunge. Raise BadIndex.

    A message that was brought back by 2.3 may have its record in both.
    """
    data, old = metadata[entry.INDEX], metadata.get(entry.EXPUNGE)
    found = [_part(data, request, is_index=True)] if _may_name(data, request) else []
    if old is not None and _may_name(old, request):
        part = _part(old, request, is_index=False)
        live = frozenset(records.read(data, check_records=False, sorted_uids=False).uids)
        numbers = [number for number in part.numbers if part.index.uids[number] not in live]
        found.append(_Part(part.index, numbers, expunged=True))
    return found


def _may_name(data: bytes, request: Request) -> bool:
    """Tell whether an index can have what is asked for: if not, a large one is not taken apart."""
    guid = request.message
    return not isinstance(guid, bytes) or (guid != records.UNKNOWN_GUID and guid in data)


def _part(data: bytes, request: Request, is_index: bool) -> _Part:
    """Return the selected records of one file. Raise BadIndex."""
    if request.message is None:
        index = records.read(data, sorted_uids=is_index)
        return _Part(index, _wanted(index, request, not is_index), not is_index)
    index = records.read(data, check_records=False, sorted_uids=False)
    numbers = [number for number in _numbers_of(index, request.message) if not index.unlinked[number]]
    _check(data, index, numbers)
    return _Part(index, numbers, not is_index)


def _numbers_of(index: Index, message: bytes | int | None) -> list[int]:
    if isinstance(message, int):
        return [index.uids.index(message)] if message in index.uids else []
    return [number for number, guid in enumerate(index.guids()) if guid == message]


def _wanted(index: Index, request: Request, all_expunged: bool) -> Sequence[int]:
    if request.every:
        return [n for n in range(len(index)) if not index.unlinked[n]]
    if all_expunged:
        return range(len(index)) if request.only_expunged else ()
    if request.only_expunged:
        expunged = compress(range(len(index)), index.expunged)
        return [n for n in expunged if not index.unlinked[n]]
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


def _mailbox(place: Located, index: IndexHeader, head: header.Header, files: MailboxFiles, deleted: bool) -> Mailbox:
    known = place.mailbox
    acl = tuple((os.fsencode(who), os.fsencode(rights)) for who, rights in known.acl) or head.acl
    return Mailbox(
        name=known.name,
        kind=known.kind,
        partition=known.partition,
        uniqueid=head.uniqueid,
        uidvalidity=index.uidvalidity,
        last_uid=max(index.last_uid, files.last_uid),
        highest_modseq=max(index.highestmodseq, files.highest_modseq),
        options=index.options,
        acl=acl,
        quota_root=head.quotaroot,
        user_flags=head.flags,
        deleted=deleted,
        legacy=known.legacy,
    )


def _annotations(tree: Tree, place: Located, metadata: dict[bytes, bytes]) -> dict[int, tuple[Annotation, ...]]:
    """Return the annotations of messages by UID: none, and a warning, where they cannot be read."""
    data = metadata.get(entry.ANNOTATIONS)
    owner = layout.user_of_name(place.mailbox.name, tree.deletedprefix) or b""
    found: dict[int, tuple[Annotation, ...]] = {}
    try:
        for one in message_annotations.read(data, entry.ANNOTATIONS) if data else ():
            user = owner if one.user == message_annotations.OWNER else one.user
            found[one.uid] = (*found.get(one.uid, ()), Annotation(one.entry, user, one.value, one.modseq))
    except DbError as error:
        tree.warnings.append(f"{shown(place.mailbox.name)}: the annotations of its messages are left out: {error}")
        return {}
    return found


def _seen(tree: Tree, place: Located, minor_version: int, uniqueid: str) -> tuple[range, ...]:
    """Return what the mailbox's owner has read, where the index does not have that; nothing where it is not known."""
    name = former_name(place.mailbox.name, tree.deletedprefix) or place.mailbox.name
    if minor_version >= _FIRST_WITH_SEEN or tree.config is None or layout.user_of_name(name) is None:
        return ()
    # Which version made the file the imapd.conf does not tell.
    for version in (_DECODED, _ENCODED):
        path = layout.user_file(name, b"seen", tree.config.fulldirhash, version)
        with suppress(OSError, DbError):
            pairs = tree.database(os.path.join(tree.config.userpath, path))
            return seen.ranges(pairs, uniqueid.encode("latin-1"))
    return ()


def _messages(part: _Part, head: header.Header, files: MailboxFiles, extras: _Extras) -> Iterator[Message]:
    index = part.index
    dates, changes, offsets = details.internal_dates(index), details.last_changes(index), index.cache_offsets()
    for number in part.numbers:
        uid = index.uids[number]
        system = index.system_flags[number]
        if extras.seen and any(uid in read for read in extras.seen):
            system |= records.SEEN
        archived = bool(index.archived[number])
        guid = index.guid(number) or files.digests.get(uid)
        yield Message(
            uid=uid,
            guid=guid,
            size=index.sizes[number],
            internaldate=dates[number],
            flags=tuple(records.flag_names(system, index.user_flags(number), head.flags)),
            modseq=index.modseqs[number],
            last_changed=changes[number],
            expunged=part.expunged or bool(index.expunged[number]),
            archived=archived,
            cache_offset=offsets[number],
            places=files.places(uid, guid, archived),
            annotations=extras.annotations.get(uid, ()),
        )
