"""What messages a kept state names, by the records of its index.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import re
from itertools import compress
from typing import TYPE_CHECKING

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox import records
from cyrsync.far.packed import unpacked
from cyrsync.far.store import GONE, HASHED, IN_PIECES, MAILBOXES, PACKED, PIECES, STORE
from cyrsync.far.stored import PIECE, Damaged, StoreReader

if TYPE_CHECKING:
    from typing import Dict, List, Optional, Tuple

    #: SHA-1 of messages that no index tells, by UIDVALIDITY and UID.
    Hashed = Dict[Tuple[int, int], bytes]

_FIRST_WITH_EXPUNGED = 12  # minor version without a cyrus.expunge
_HASHED = re.compile(rb"([0-9]{1,20}) ([0-9]{1,20}) ([0-9a-f]{40})\Z")
_NOT = bytes([1]) + bytes(255)


def named(
    store: StoreReader,
    mailbox: bytes,
    state: bytes,
    hashed: "Hashed",
    known: "Optional[Dict[Tuple[bytes, int], int]]" = None,
) -> "List[bytes]":
    """Return the SHA-1 of each message that a state names; `hashed` as of `read_hashed`. Raise Damaged.

    With `known`, pieces that another state of the mailbox shares, and whose messages were returned for that state, are
    left out.
    """
    try:
        if known is not None and not hashed and GONE not in state:
            found = _of_pieces(store, mailbox, state, known)
            if found is not None:
                return found
        return _of_state(store, mailbox, state, hashed)
    except OSError as error:
        raise Damaged(_path(mailbox, state), error.strerror or str(error)) from None
    except ValueError as error:
        raise Damaged(_path(mailbox, state), str(error)) from None


def read_hashed(store: StoreReader, mailbox: bytes) -> "Hashed":
    """Return the SHA-1 of messages that no index tells, by UIDVALIDITY and UID. Raise Damaged."""
    try:
        return hashed_in(store, mailbox)
    except OSError as error:
        raise Damaged(_path(mailbox, HASHED), error.strerror or str(error)) from None


def hashed_in(store: StoreReader, mailbox: bytes) -> "Hashed":
    """Return what `read_hashed` does. Raise OSError."""
    try:
        lines = store.contents(MAILBOXES, mailbox, HASHED).splitlines()
    except FileNotFoundError:
        return {}
    # The last one may be torn: its message is still where it was.
    found = [match.groups() for match in map(_HASHED.match, lines) if match]
    return {(int(uidvalidity), int(uid)): bytes.fromhex(digest.decode("ascii")) for uidvalidity, uid, digest in found}


def _of_state(store: StoreReader, mailbox: bytes, state: bytes, hashed: "Hashed") -> "List[bytes]":
    is_gone = GONE in state
    data, is_checked = _index(store, mailbox, state)
    index = _records(data, is_checked, is_gone)
    found = _named(index, hashed, every=is_gone)
    if index.header.minor_version < _FIRST_WITH_EXPUNGED and not is_gone:
        found += _expunged(store, mailbox, state, hashed)
    return found


def _of_pieces(
    store: StoreReader, mailbox: bytes, state: bytes, known: "Dict[Tuple[bytes, int], int]"
) -> "Optional[List[bytes]]":
    """Return what is named in the pieces of an index that are not known; None for an index of other pieces.

    The first piece is the header, each other one has whole records: `known` has how many, by name and their size.
    """
    try:
        first, *names = _list(store, mailbox, state)
    except FileNotFoundError:
        return None
    data = _piece(store, mailbox, first)
    head = records.read_header(data)
    if len(data) != head.start_offset or head.minor_version < _FIRST_WITH_EXPUNGED:
        return None
    found, left = [], head.num_records  # type: List[bytes], int
    for name in names:
        key = (name, head.record_size)
        if left and key not in known:
            data = _piece(store, mailbox, name)
            number, rest = divmod(len(data), head.record_size)
            if rest or number > left:
                return None
            index = records.alone(head, data)
            found += _named(index, {}, every=False)
            known[key] = number
        left -= min(left, known.get(key, 0))
    if left:
        raise ValueError("torn: {} records lack".format(left))
    return found


def _list(store: StoreReader, mailbox: bytes, state: bytes) -> "List[bytes]":
    """Return the names of the pieces of a state's index. Raise OSError, ValueError."""
    names = store.contents(MAILBOXES, mailbox, state, kinds.INDEX + IN_PIECES).split()
    if not names or not all(PIECE.match(name) for name in names):
        raise ValueError("no list of pieces")
    return names


def _piece(store: StoreReader, mailbox: bytes, name: bytes) -> bytes:
    two, _, rest = name.partition(b"/")
    return unpacked(store.contents(MAILBOXES, mailbox, PIECES, two, rest))


def _index(store: StoreReader, mailbox: bytes, state: bytes) -> "Tuple[bytes, bool]":
    """Return the index of a state, and whether a checksum tells that it is as it was kept. Raise OSError."""
    above = (MAILBOXES, mailbox, state)
    try:
        return store.contents(*above, kinds.INDEX), False
    except FileNotFoundError:
        pass
    try:
        return unpacked(store.contents(*above, kinds.INDEX + PACKED)), True
    except FileNotFoundError:
        return b"".join([_piece(store, mailbox, name) for name in _list(store, mailbox, state)]), True


def _expunged(store: StoreReader, mailbox: bytes, state: bytes, hashed: "Hashed") -> "List[bytes]":
    """Return the SHA-1 of what cyrus.expunge names, which up to 2.3 has what the index has no more."""
    try:
        data = store.contents(MAILBOXES, mailbox, state, kinds.EXPUNGE)
    except FileNotFoundError:
        return []
    return _named(records.read(data, sorted_uids=False), hashed, every=True)


def _records(data: bytes, is_checked: bool, is_gone: bool) -> records.Index:
    """Return what an index says; one of messages that are gone has other counts in its header. Raise BadIndex."""
    if not is_gone:
        return records.read(data, check_records=not is_checked)
    head = records.read_header(data)
    if (len(data) - head.start_offset) % head.record_size:
        raise records.BadIndex(len(data), "torn")
    return records.alone(head, memoryview(data)[head.start_offset :])


def _named(index: records.Index, hashed: "Hashed", every: bool) -> "List[bytes]":
    """Return the SHA-1 of the messages of an index that have a file; with `every`, of all records."""
    found = index.guids()
    if not every and 1 in index.unlinked:
        found = list(compress(found, index.unlinked.translate(_NOT)))
    if hashed:
        uidvalidity = index.header.uidvalidity
        found = found + [hashed[uidvalidity, uid] for uid in index.uids if (uidvalidity, uid) in hashed]
    return found


def _path(mailbox: bytes, name: bytes) -> bytes:
    return b"/".join((STORE, MAILBOXES, mailbox, name))
