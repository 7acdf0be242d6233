"""All of `cyrus.index` and of 2.3's `cyrus.expunge`, minor versions 6 to 20 (11 was never released).

A header, then records of one size; where they begin and their size stand in the header. All integers are big-endian.
Offsets are those of imap/index_file.c. Minor version 19 with the record size of 20 was written by 3.13 alphas: its
records are those of 19 with 32 zero bytes behind (imap/mailbox.c, mailbox_buf_to_index_record, goes by the minor
version alone, and mailbox_buf_to_index_header lets the size pass).

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import struct
import sys
import zlib
from array import array
from bisect import bisect_left
from functools import lru_cache
from itertools import compress, starmap
from operator import lt
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.cyrus.mailbox import crcs
from cyrsync.cyrus.mailbox.index import FIRST_WITH_CRC, HEADER_SIZES, READ_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cyrsync.cyrus.mailbox.on_disk import OnDisk

#: Bits of a record's system flags. SEEN is the owner's, from minor version 12 on (before, it is in the seen database).
ANSWERED, FLAGGED, DELETED, DRAFT, SEEN = 1, 2, 4, 8, 16
#: The file lies on the archive partition [3.0+]; is no longer there [2.4+]; the message is expunged [2.4+].
ARCHIVED, UNLINKED, EXPUNGED = 1 << 29, 1 << 30, 1 << 31
#: A bit of the header's options: the mailbox is deleted, and its directory waits to be removed [2.4+].
MAILBOX_DELETED = 1 << 31
_NAMES = ("\\Answered", "\\Flagged", "\\Deleted", "\\Draft", "\\Seen")

#: The oldest minor version in which the bits can mean something: that of 2.4, and that of 3.0 (and of 2.5).
_FIRST_WITH_EXPUNGED, _FIRST_WITH_ARCHIVED = 12, 13
_FIRST_WITH_MODSEQ, FIRST_WITH_GUID = 8, 10
GUID_AT, GUID_SIZE = 60, 20
UNKNOWN_GUID = bytes(GUID_SIZE)

#: So many records of a file that stays on the disk are in memory at once.
_WINDOW = 1 << 15
#: A version above this is none: what stands there is something else.
_ANY_VERSION = 255

#: Minor version: bytes of a record.
_RECORD_SIZES = {6: 60, 7: 72, 8: 80, 9: 80, 10: 88, 12: 96, 13: 104, 14: 104, 15: 104}
_RECORD_SIZES.update({16: 112, 17: 112, 18: 112, 19: 112, 20: 144})

# Where the fields of the header are, from which minor version on: four bytes (I) or eight (Q).
_V6 = {"last_appenddate": (24, "I"), "last_uid": (28, "I"), "quota_used": (32, "Q"), "uidvalidity": (44, "I")}
_V6.update({"deleted": (48, "I"), "answered": (52, "I"), "flagged": (56, "I"), "options": (60, "I")})
_V8 = dict(_V6, highestmodseq=(68, "Q"))
_V12 = dict(_V8, deletedmodseq=(76, "Q"), exists=(84, "I"), first_expunged=(88, "I"), last_repack=(92, "I"))
_V12["header_file_crc"] = (96, "I")
_V19 = dict(_V12, exists=(60, "I"), options=(64, "I"), highestmodseq=(72, "Q"), deletedmodseq=(80, "Q"))
_V20 = dict(_V19, last_appenddate=(24, "Q"), last_uid=(88, "I"), uidvalidity=(92, "I"))
_V20.update(first_expunged=(168, "Q"), last_repack=(176, "Q"))
_FIELDS = ((20, _V20), (19, _V19), (12, _V12), (8, _V8), (6, _V6))
_TIMES = ("last_appenddate", "first_expunged", "last_repack")


class IndexHeader(NamedTuple):
    """The header of an index. Times are seconds since 1970, sizes are bytes; what a version does not have is 0."""

    generation: int
    minor_version: int
    start_offset: int
    record_size: int
    num_records: int
    last_appenddate: int
    last_uid: int
    quota_used: int
    uidvalidity: int
    deleted: int
    answered: int
    flagged: int
    options: int
    #: Messages that IMAP shows; before 12, all that there are.
    exists: int
    highestmodseq: int = 0
    deletedmodseq: int = 0
    first_expunged: int = 0
    last_repack: int = 0
    #: CRC-32 of the whole cyrus.header; None before 12.
    header_file_crc: "int | None" = None


class BadIndex(ValueError):
    """What is no index, or a damaged or torn one, and at which byte."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"byte {offset}: {reason}")
        self.offset = offset
        self.reason = reason


class UnknownVersion(BadIndex):
    """An index of a minor version that is newer than we are."""


class Index:
    """The header, and of every record what it says, a column each.

    `sizes` are those of the message files in bytes; `modseqs` are 0 before minor version 8. `expunged`, `unlinked`,
    `archived` and `live` hold one byte a record, 1 where it is so (`live`: neither expunged nor unlinked, what IMAP
    shows); in minor versions older than the flags all are live, whatever stands in `system_flags`.
    Keeps hold of the bytes it was read from, or of the file that they are in; there, records begin at `start_offset`.
    """

    def __init__(self, header: IndexHeader, data: "memoryview | OnDisk") -> None:
        minor, self.header, self._data = header.minor_version, header, data
        sizes, flags = ((24, 8), 36) if minor >= 20 else ((12, 4), 32)
        self._flags_at = flags
        self.uids = self.column(0, 4)
        self.sizes = self.column(*sizes)
        self.system_flags = self.column(flags, 4)
        if minor >= _FIRST_WITH_MODSEQ:
            self.modseqs = self.column(80 if minor >= FIRST_WITH_GUID else 72, 8)
        else:
            self.modseqs = array("Q", bytes(8 * header.num_records))
        highest = self._bytes(flags)
        self.expunged = highest.translate(_having(EXPUNGED >> 24 if minor >= _FIRST_WITH_EXPUNGED else 0))
        self.unlinked = highest.translate(_having(UNLINKED >> 24 if minor >= _FIRST_WITH_EXPUNGED else 0))
        self.archived = highest.translate(_having(ARCHIVED >> 24 if minor >= _FIRST_WITH_ARCHIVED else 0))
        self.live = highest.translate(_lacking((EXPUNGED | UNLINKED) >> 24 if minor >= _FIRST_WITH_EXPUNGED else 0))

    def __len__(self) -> int:
        return self.header.num_records

    def guid(self, number: int) -> "bytes | None":
        """Return the SHA-1 of the message file, None where it is not known."""
        if self.header.minor_version < FIRST_WITH_GUID:
            return None
        found = self._piece(number, GUID_AT, GUID_SIZE)
        return None if found == UNKNOWN_GUID else found

    def guid_of(self, uid: int) -> "bytes | None":
        """Return the SHA-1 of the file of a message, None where it is not known; UIDs have to ascend."""
        number = bisect_left(self.uids, uid)
        return self.guid(number) if number < len(self.uids) and self.uids[number] == uid else None

    @property
    def has_guids(self) -> bool:
        """Whether this version has GUIDs."""
        return self.header.minor_version >= FIRST_WITH_GUID

    def guids(self) -> "list[bytes]":
        """Return the SHA-1 of every message file, UNKNOWN_GUID where it is not known."""
        if not self.has_guids:
            return []
        rest = self.header.record_size - GUID_AT - GUID_SIZE
        cells = struct.Struct("{}x{}s{}x".format(GUID_AT, GUID_SIZE, rest))
        return [guid for window in self.windows() for (guid,) in cells.iter_unpack(window)]

    def dates(self) -> "array[int] | None":
        """Return when every message arrived, in seconds since 1970; None from minor version 20 on."""
        return self.column(4, 4) if self.header.minor_version < 20 else None

    def cache_offsets(self) -> "array[int]":
        """Return where in cyrus.cache each record is, the low 32 bits of that; 0 for none."""
        return self.column(4 if self.header.minor_version >= 20 else 24, 4)

    def user_flags(self, number: int) -> int:
        """Return the user flags, bit n for the n-th name in cyrus.header."""
        first, second, third, fourth = struct.unpack(">4I", self._piece(number, self._flags_at + 4, 16))
        return int(first | second << 32 | third << 64 | fourth << 96)

    def windows(self) -> "Iterator[memoryview]":
        """Yield the records one behind the other: all at once, or of a file that stays on the disk some at a time."""
        size, start = self.header.record_size, self.header.start_offset
        end = start + size * len(self)
        if isinstance(self._data, memoryview):
            if end > start:
                yield self._data[start:end]
            return
        for at in range(start, end, size * _WINDOW):
            yield memoryview(self._data.read_at(at, min(size * _WINDOW, end - at)))

    def _piece(self, number: int, at: int, size: int) -> bytes:
        """Return so many bytes of one record."""
        at += self.header.start_offset + range(len(self))[number] * self.header.record_size
        return bytes(self._data[at : at + size]) if isinstance(self._data, memoryview) else self._data.read_at(at, size)

    def column(self, at: int, size: int) -> "array[int]":
        """Return one field of all records: of four or eight bytes, `at` so many bytes from their beginnings."""
        column = array("Q" if size == 8 else "I")
        for window in self.windows():
            cells = window.cast("Q" if size == 8 else "I")
            column.frombytes(cells[at // size :: self.header.record_size // size].tobytes())
        if sys.byteorder == "little":
            column.byteswap()
        return column

    def _bytes(self, at: int) -> bytes:
        """Take one byte out of all records."""
        return b"".join([window[at :: self.header.record_size].tobytes() for window in self.windows()])


@lru_cache(maxsize=256)
def _having(bits: int) -> bytes:
    """Return a table that makes 1 of every byte with one of the bits, and 0 of the others."""
    return bytes(bool(byte & bits) for byte in range(256))


@lru_cache(maxsize=256)
def _lacking(bits: int) -> bytes:
    return bytes(not byte & bits for byte in range(256))


def read(
    data: "bytes | bytearray | memoryview | OnDisk", *, check_records: bool = True, sorted_uids: bool = True
) -> Index:
    """Return what a whole index says, or raise BadIndex; bytes after the last record are left over and ignored.

    Raise OSError where a file that stays on the disk cannot be read.

    From minor version 12 on every record's CRC is looked at, unless told not to. A cyrus.expunge is to be read with
    `sorted_uids=False`: its records come as they were expunged, and its header keeps the last UID and the highest
    modseq of the first time (2.3.19 imap/mailbox.c, mailbox_expunge).
    """
    whole = memoryview(data) if isinstance(data, (bytes, bytearray, memoryview)) else data
    header = read_header(whole if isinstance(whole, memoryview) else whole.read_at(0, READ_SIZE))
    end = header.start_offset + header.num_records * header.record_size
    if len(whole) < end:
        raise BadIndex(len(whole), f"torn: {header.num_records} records need {end} bytes")
    index = Index(header, whole)
    if check_records and header.minor_version >= FIRST_WITH_CRC:
        _check_crcs(index)
    if sorted_uids:
        _check_order(index)
        _check_modseqs(index)
    elif 0 in index.uids:
        raise BadIndex(header.start_offset + index.uids.index(0) * header.record_size, "a record without a UID")
    # Before, there is no count of the messages beside that of the records.
    if header.minor_version >= FIRST_WITH_CRC:
        _check_counts(index)
    return index


def alone(header: IndexHeader, area: "bytes | memoryview") -> Index:
    """Return what whole records say that stand alone, without the header of their index in front. None is checked."""
    view = memoryview(area)
    return Index(header._replace(start_offset=0, num_records=len(view) // header.record_size), view)


def uids_of(header: IndexHeader, area: "bytes | memoryview") -> "array[int]":
    """Return the UIDs of whole records that stand alone, and nothing else: `Index` has more to do."""
    uids = array("I", memoryview(area).cast("I")[:: header.record_size // 4].tobytes())
    if sys.byteorder == "little":
        uids.byteswap()
    return uids


def uids_with_file(header: IndexHeader, area: "bytes | memoryview") -> "array[int]":
    """Return the UIDs of messages that have a file, of whole records that stand alone. Raise BadIndex for UID 0."""
    uids = uids_of(header, area)
    if 0 in uids:
        raise BadIndex(header.start_offset, "a record without a UID")
    if header.minor_version < _FIRST_WITH_EXPUNGED:
        return uids
    flags = memoryview(area)[36 if header.minor_version >= 20 else 32 :: header.record_size].tobytes()
    has_file = flags.translate(_lacking(UNLINKED >> 24))
    return array("I", compress(uids, has_file)) if 0 in has_file else uids


def is_of_deleted(data: bytes) -> bool:
    """Tell whether an index says that its mailbox is deleted, and its directory waits to be removed."""
    try:
        return bool(read_header(data).options & MAILBOX_DELETED)
    except BadIndex:
        return False


def flag_names(system_flags: int, user_flags: int, header_flags: "tuple[bytes | None, ...]") -> "list[str]":
    """Return the names of the flags that are set, as IMAP shows them; a number without a name is no flag."""
    names = [name for number, name in enumerate(_NAMES) if system_flags >> number & 1]
    named = enumerate(header_flags)
    return names + [name.decode("latin-1") for number, name in named if name and user_flags >> number & 1]


def read_header(data: "bytes | memoryview") -> IndexHeader:
    """Return what the header says at the beginning of an index, which has to have all of that. Raise BadIndex."""
    view = memoryview(data)
    if len(view) < 24:
        raise BadIndex(len(view), "too short for a header")
    generation, _, minor, start, record_size, records = struct.unpack_from(">6I", view)
    size = HEADER_SIZES.get(minor)
    if size is None:
        newer = max(HEADER_SIZES) < minor <= _ANY_VERSION
        raise (UnknownVersion if newer else BadIndex)(8, f"unknown minor version {minor}")
    if start != size:
        raise BadIndex(12, f"records begin at {start} instead of {size}")
    # Eight-byte fields are aligned in a record, so that all of them can be taken out at once.
    if record_size < _RECORD_SIZES[minor] or record_size % (8 if minor >= _FIRST_WITH_MODSEQ else 4):
        raise BadIndex(16, f"records of {record_size} bytes")
    if len(view) < size:
        raise BadIndex(len(view), "too short for a header")
    if minor >= FIRST_WITH_CRC and zlib.crc32(view[: size - 4]) != _unsigned(view, size - 4, "I"):
        raise BadIndex(size - 4, "wrong CRC of the header")
    where = places(minor)
    fields = {"exists": records}
    fields.update({name: _unsigned(view, *place) for name, place in where.items()})
    if minor >= 20:
        # From here on, times are nanoseconds.
        fields.update({name: fields[name] // 10**9 for name in _TIMES})
    if not fields["uidvalidity"]:
        raise BadIndex(where["uidvalidity"][0], "no UIDVALIDITY")
    return IndexHeader(generation, minor, start, record_size, records, **fields)


def places(minor: int) -> "dict[str, tuple[int, str]]":
    """Return where the fields of the header are from 24 on, and of how many bytes: `I` four, `Q` eight."""
    return next(places for first, places in _FIELDS if minor >= first)


def _unsigned(view: "memoryview", at: int, kind: str) -> int:
    return int(struct.unpack_from(">" + kind, view, at)[0])


def crc_at(minor: int) -> int:
    """Return where in a record its CRC stands, that of all before, from minor version 12 on."""
    return _RECORD_SIZES[minor] - 4


def _check_crcs(index: Index) -> None:
    """Compare each record with the CRC in its end; all in C, as there may be a million."""
    header = index.header
    covered = crc_at(header.minor_version)
    if header.record_size == covered + 4 and crcs.all_right(index.windows(), header.record_size):
        return
    contents = struct.Struct(f"{covered}s{header.record_size - covered}x")
    found = array("I")
    for window in index.windows():
        found.extend(starmap(zlib.crc32, contents.iter_unpack(window)))
    stored = index.column(covered, 4)
    if found != stored:
        number = next(number for number in range(len(found)) if found[number] != stored[number])
        raise BadIndex(header.start_offset + number * header.record_size + covered, "wrong CRC of a record")


def _check_order(index: Index) -> None:
    header, last = index.header, 0
    for start in range(0, len(index), _WINDOW):
        uids = index.uids[start : start + _WINDOW].tolist()
        before = [last, *uids]
        if not all(map(lt, before, uids)):
            number = start + next(number for number, uid in enumerate(uids) if uid <= before[number])
            raise BadIndex(header.start_offset + number * header.record_size, "UIDs do not ascend")
        last = uids[-1]
    if last > header.last_uid:
        raise BadIndex(header.start_offset + (len(index) - 1) * header.record_size, "a UID above the last one")


def _check_modseqs(index: Index) -> None:
    """From 10 on: what 8 and 9 (2.3.4 to 2.3.9) wrote, nobody has looked at."""
    header = index.header
    if header.minor_version >= FIRST_WITH_GUID and index.modseqs and max(index.modseqs) > header.highestmodseq:
        number = next(i for i, modseq in enumerate(index.modseqs) if modseq > header.highestmodseq)
        raise BadIndex(header.start_offset + number * header.record_size + 80, "a modseq above the highest one")


def _check_counts(index: Index) -> None:
    header, flags = index.header, index._bytes(index._flags_at + 3)
    if 0 in index.live:
        flags = bytes(compress(flags, index.live))
    found = {"exists": len(flags)}
    for name, bit in (("answered", ANSWERED), ("flagged", FLAGGED), ("deleted", DELETED)):
        found[name] = flags.translate(_having(bit)).count(1)
    for name, count in found.items():
        if count != getattr(header, name):
            at = places(header.minor_version)[name][0]
            raise BadIndex(at, f"{name}: {getattr(header, name)} in the header, {count} records")
