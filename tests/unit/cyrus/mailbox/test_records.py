"""What every version's cyrus.index says of the messages, and that nothing torn or damaged is taken for one."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyrsync.cyrus.mailbox import crcs, header, records
from cyrsync.cyrus.mailbox import on_disk as on_disk_files
from cyrsync.cyrus.mailbox.index import head
from cyrsync.cyrus.mailbox.on_disk import OnDisk
from cyrsync.cyrus.mailbox.records import (
    ARCHIVED,
    EXPUNGED,
    FLAGGED,
    SEEN,
    UNLINKED,
    BadIndex,
    Index,
    UnknownVersion,
    flag_names,
    read,
)
from support.tree import DATA, unpack_spool

SPOOLS = sorted(path.name.removeprefix("cyrus-").removesuffix(".tar.xz") for path in DATA.glob("cyrus-*.tar.xz"))
#: Minor version: size of the header, of a record.
SIZES = {6: (76, 60), 7: (76, 72), 8: (92, 80), 9: (96, 80), 10: (96, 88), 12: (128, 96), 13: (128, 104)}
SIZES.update({14: (160, 104), 15: (160, 104), **dict.fromkeys(range(16, 20), (160, 112)), 20: (192, 144)})
WITH_CRC = [minor for minor in SIZES if minor >= 12]
GUID = hashlib.sha1(b"message").digest()


class Case(NamedTuple):
    """A mailbox of a real spool, and what is known of it."""

    index_file: bytes
    expunge_file: bytes | None
    header_file: bytes
    truth: dict[str, Any]


def _cases(box: Path) -> list[Case]:
    found = []
    for mailbox in json.loads((box / "truth.json").read_text())["mailboxes"]:
        meta = box / mailbox["metadir"] if not mailbox["tombstone"] else None
        if meta:
            expunge = meta / "cyrus.expunge"
            index, head_file = (meta / name for name in ("cyrus.index", "cyrus.header"))
            expunged = expunge.read_bytes() if expunge.exists() else None
            found.append(Case(index.read_bytes(), expunged, head_file.read_bytes(), mailbox))
    return found


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Case]]:
    return {name: _cases(unpack_spool(name, tmp_path_factory.mktemp("spool"))) for name in SPOOLS}


def made(minor: int, uids: tuple[int, ...] = (1, 2, 7), *, size: int | None = None, **changed: int) -> bytes:
    """Write an index: the second message flagged and, where there is such a thing, the last one expunged."""
    start, used = SIZES[minor]
    size = size or used
    area = b""
    for number, uid in enumerate(uids):
        record = bytearray(size)
        flags = changed.get("flags", (0, FLAGGED)[number == 1] | (0, EXPUNGED)[minor >= 12 and number == 2])
        struct.pack_into(">I", record, 0, uid)
        struct.pack_into(*((">Q", record, 24) if minor >= 20 else (">I", record, 12)), 1000 + uid)
        struct.pack_into(">5I", record, 36 if minor >= 20 else 32, flags, 1, 0, 0, 1 << 31)
        if minor >= 10:
            struct.pack_into(">20sQ", record, 60, GUID, changed.get("modseq", 50 + number))
        elif minor >= 8:
            struct.pack_into(">12sQ", record, 60, b"made by 2.3 ", changed.get("modseq", 50 + number))
        if minor >= 12:
            struct.pack_into(">I", record, used - 4, zlib.crc32(record[: used - 4]))
        area += record
    data = bytearray(start)
    struct.pack_into(">6I", data, 0, 3, 0, minor, start, size, changed.get("num_records", len(uids)))
    struct.pack_into(">I", data, 88 if minor >= 20 else 28, changed.get("last_uid", 7))
    struct.pack_into(">I", data, 92 if minor >= 20 else 44, changed.get("uidvalidity", 1234567890))
    struct.pack_into(">3I", data, 48, changed.get("deleted", 0), changed.get("answered", 0), changed.get("flagged", 1))
    if minor >= 8:
        struct.pack_into(">Q", data, 72 if minor >= 19 else 68, 60)
    if minor >= 12:
        struct.pack_into(">I", data, 60 if minor >= 19 else 84, changed.get("exists", 2))
        struct.pack_into(">I", data, 96, 0x12345678)
        struct.pack_into(">I", data, start - 4, zlib.crc32(data[: start - 4]))
    return bytes(data + area)


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def bad(data: bytes, **options: bool) -> BadIndex:
    with pytest.raises(BadIndex, match=r"^byte \d+: ") as caught:
        read(data, **options)
    assert 0 <= caught.value.offset <= len(data)
    return caught.value


def state(index: Index, number: int) -> str:
    if index.unlinked[number]:
        return "unlinked"
    return "expunged" if index.expunged[number] else "visible"


@pytest.mark.parametrize("spool", SPOOLS)
def test_real_headers(spool: str, real: dict[str, list[Case]]) -> None:
    for case in real[spool]:
        found = read(case.index_file).header
        known = {name: value for name, value in case.truth["index"].items() if name in found._fields}
        assert known.items() <= found._asdict().items() and len(known) == 5
        assert (found.uidvalidity, found.last_uid) == (case.truth["uidvalidity"], case.truth["uidnext"] - 1)
        assert found.exists == case.truth["n_visible"]
        assert found.header_file_crc == (zlib.crc32(case.header_file) if found.minor_version >= 12 else None)
        live = [m for m in case.truth["messages"] if m["state"] == "visible"]
        assert found.quota_used == sum(message["size"] for message in live)
        # The boxes are of November 2026; before 12 a time is one of the record that holds it.
        times = [found.last_appenddate, found.first_expunged, found.last_repack]
        assert all(not time or 1790 * 10**6 < time < 1800 * 10**6 for time in times)


@pytest.mark.parametrize("spool", SPOOLS)
def test_real_records(spool: str, real: dict[str, list[Case]]) -> None:
    """UID, size, GUID and state of each message; the flags of those that IMAP showed."""
    for case in real[spool]:
        index, names = read(case.index_file), header.read(case.header_file).flags
        found = {uid: (index.sizes[i], state(index, i)) for i, uid in enumerate(index.uids)}
        if case.expunge_file:
            gone = read(case.expunge_file, sorted_uids=False)
            found.update({uid: (gone.sizes[i], "expunged") for i, uid in enumerate(gone.uids)})
        known = {message["uid"]: message for message in case.truth["messages"] if message["state"] != "orphan"}
        assert found == {uid: (message["size"], message["state"]) for uid, message in known.items()}
        for i, uid in enumerate(index.uids):
            assert index.guid(i) in (bytes.fromhex(known[uid]["sha1"]), None)
            assert index.guid(i) or index.header.minor_version == 10
            assert index.live[i] == (known[uid]["state"] == "visible")
            if index.live[i]:
                flags = set(flag_names(index.system_flags[i], index.user_flags(i), names)) - {"\\Seen"}
                assert flags == set(known[uid]["flags"]) - {"\\Seen", "\\Recent"}
            if known[uid]["path"].startswith("archive/"):
                assert index.archived[i]


def test_the_spools_hold_what_is_tested(real: dict[str, list[Case]]) -> None:
    cases = [case for found in real.values() for case in found]
    indexes = [read(case.index_file) for case in cases]
    assert {index.header.minor_version for index in indexes} == {10, 17, 20}
    assert any(1 in index.archived for index in indexes) and any(1 in index.expunged for index in indexes)
    assert any(case.expunge_file for case in cases)


@given(data=st.data())
def test_truncated_real_indexes(real: dict[str, list[Case]], data: st.DataObject) -> None:
    content = data.draw(st.sampled_from([case.index_file for found in real.values() for case in found]))
    assert bad(content[: data.draw(st.integers(0, len(content) - 1))]).reason
    assert len(read(content + b"left over")) == len(read(content))


@settings(max_examples=300)
@given(data=st.data())
def test_flipped_bits_in_real_indexes(real: dict[str, list[Case]], data: st.DataObject) -> None:
    content = data.draw(st.sampled_from([case.index_file for found in real.values() for case in found]))
    damaged = flipped(content, data.draw(st.integers(0, 8 * len(content) - 1)))
    try:
        index = read(damaged)
    except BadIndex as error:
        offset = error.offset
    else:
        offset = 0
        assert index.header.minor_version < 12
        use(index)
    assert 0 <= offset <= len(damaged)


def on_disk(data: bytes) -> OnDisk:
    """The same in a file that has no name."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        return OnDisk(os.dup(file.fileno()), len(data))


def said(data: bytes | OnDisk, **options: bool) -> object:
    """All that an index says, or what is wrong with it."""
    try:
        index = read(data, **options)
    except BadIndex as error:
        return type(error), error.offset, error.reason
    columns = (index.uids, index.sizes, index.system_flags, index.modseqs, index.cache_offsets(), index.dates())
    flags = (index.expunged, index.unlinked, index.archived, index.live)
    each = [(index.guid(number), index.user_flags(number)) for number in range(len(index))]
    return index.header, columns, flags, index.guids(), each


@pytest.mark.parametrize("window", [1, 2, 1000])
@given(data=st.data())
def test_what_stays_on_the_disk_says_the_same(real: dict[str, list[Case]], window: int, data: st.DataObject) -> None:
    files = [case.index_file for found in real.values() for case in found]
    files += [case.expunge_file for found in real.values() for case in found if case.expunge_file]
    content = data.draw(st.sampled_from([*files, *map(made, SIZES)]))
    if data.draw(st.booleans()):
        content = flipped(content, data.draw(st.integers(0, 8 * len(content) - 1)))
    content = content[: data.draw(st.sampled_from([len(content), len(content) - 1, 30, 0]))]
    options = {"sorted_uids": data.draw(st.booleans()), "check_records": data.draw(st.booleans())}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "_WINDOW", window)
        patch.setattr(on_disk_files, "_AHEAD", data.draw(st.sampled_from([1, 100, 1 << 16])))
        assert said(on_disk(content), **options) == said(content, **options)


def test_a_file_that_is_cut_off_while_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "index").write_bytes(made(17))
    found = OnDisk(os.open(tmp_path / "index", os.O_RDONLY), len(made(17)))
    os.truncate(tmp_path / "index", 200)
    with pytest.raises(OSError, match="cut off"):
        read(found)


def use(index: Index) -> None:
    """Nothing that can be asked of an index raises."""
    for number in range(len(index)):
        index.guid(number)
        assert isinstance(flag_names(index.system_flags[number], index.user_flags(number), (b"A",) * 128), list)


@given(st.binary(max_size=400), st.sampled_from(sorted(SIZES)), st.integers(0, 4))
def test_never_another_exception(data: bytes, minor: int, count: int) -> None:
    start, size = SIZES[minor]
    for content in (data, struct.pack(">6I", 1, 0, minor, start, size, count) + data):
        for options in ({}, {"sorted_uids": False}):
            try:
                index = read(content, **options)
            except BadIndex:
                continue
            use(index)


@pytest.mark.parametrize("minor", SIZES)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_version(minor: int, kind: Any) -> None:
    index = read(kind(made(minor)))
    found = index.header
    assert head(made(minor)) == (found.uidvalidity, found.last_uid) == (1234567890, 7)
    assert (found.generation, found.num_records, found.flagged) == (3, 3, 1)
    assert found.exists == (2 if minor >= 12 else 3)
    assert found.highestmodseq == (60 if minor >= 8 else 0)
    assert found.header_file_crc == (0x12345678 if minor >= 12 else None)
    assert (index.uids.tolist(), index.sizes.tolist()) == ([1, 2, 7], [1001, 1002, 1007])
    assert index.modseqs.tolist() == ([50, 51, 52] if minor >= 8 else [0, 0, 0])
    assert index.system_flags.tolist() == [0, FLAGGED, EXPUNGED if minor >= 12 else 0]
    assert index.expunged == bytes([0, 0, minor >= 12]) and index.live == bytes([1, 1, minor < 12])
    assert index.unlinked == index.archived == bytes(3)
    assert [index.guid(i) for i in range(3)] == [GUID if minor >= 10 else None] * 3
    assert index.user_flags(-1) == 1 | 1 << 127
    with pytest.raises(IndexError):
        index.user_flags(3)


@pytest.mark.parametrize("minor", SIZES)
def test_no_records(minor: int) -> None:
    index = read(made(minor, (), exists=0, flagged=0))
    assert (len(index), index.uids.tolist(), index.modseqs.tolist(), index.live) == (0, [], [], b"")


@pytest.mark.parametrize("minor", SIZES)
def test_flags_that_a_version_does_not_know(minor: int) -> None:
    index = read(made(minor, (1,), flags=ARCHIVED | UNLINKED | EXPUNGED | SEEN, exists=0, flagged=0))
    assert index.expunged == index.unlinked == bytes([minor >= 12])
    assert index.archived == bytes([minor >= 13]) and index.live == bytes([minor < 12])


def test_the_long_records_of_some_alphas() -> None:
    """Minor version 19 with records of 144 bytes: still the fields of 19."""
    index = read(made(19, size=144))
    assert index.sizes.tolist() == [1001, 1002, 1007] and index.guid(2) == GUID
    assert bad(flipped(made(19, size=144), 8 * (160 + 144))).reason == "wrong CRC of a record"


@pytest.mark.parametrize(
    ("minor", "places", "unit"),
    [(12, (24, 88, 92), 1), (19, (24, 88, 92), 1), (20, (24, 168, 176), 10**9)],
)
def test_times_are_seconds_in_every_version(minor: int, places: tuple[int, ...], unit: int) -> None:
    data, crc_at = bytearray(made(minor)), SIZES[minor][0] - 4
    for number, at in enumerate(places):
        struct.pack_into(">I" if unit == 1 else ">Q", data, at, (1795398945 + number) * unit + unit // 2)
    struct.pack_into(">I", data, crc_at, zlib.crc32(data[:crc_at]))
    found = read(data).header
    assert (found.last_appenddate, found.first_expunged, found.last_repack) == (1795398945, 1795398946, 1795398947)


@pytest.mark.parametrize("minor", WITH_CRC)
def test_every_flipped_bit_is_seen(minor: int) -> None:
    data = made(minor)
    for bit in range(8 * len(data)):
        bad(flipped(data, bit))


MANY = tuple(range(1, 501))


@pytest.fixture(scope="module")
def many() -> Iterator[bytes]:
    with mock.patch.object(crcs, "_SWAPPED", 4 * crcs._TOGETHER):
        yield made(17, MANY)


@given(st.data())
@settings(max_examples=30)
def test_the_first_of_many_records_that_is_damaged_is_named(many: bytes, data: st.DataObject) -> None:
    """Also where several are, in the same way."""
    start, size = SIZES[17]
    damaged = bytearray(many)
    number = st.integers(0, len(MANY) - 1)
    near = st.integers(0, 3 * crcs._TOGETHER)
    numbers = sorted(data.draw(st.sets(data.draw(st.sampled_from([number, near])), min_size=1, max_size=4)))
    at, bits = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, 255))
    for one in numbers:
        damaged[start + one * size + at] ^= bits
    error = bad(bytes(damaged))
    assert (error.reason, error.offset) == ("wrong CRC of a record", start + numbers[0] * size + size - 4)


def test_records_that_are_lost_in_zeros(many: bytes) -> None:
    start, size = SIZES[17]
    for first, count in ((0, 1), (5, 64), (64, 64), (100, 300)):
        at = start + first * size
        error = bad(many[:at] + bytes(count * size) + many[at + count * size :])
        assert (error.reason, error.offset) == ("wrong CRC of a record", at + size - 4)


@pytest.mark.parametrize("minor", WITH_CRC)
def test_records_need_not_be_checked(minor: int) -> None:
    damaged = flipped(made(minor), 8 * (SIZES[minor][0] + SIZES[minor][1] + 60))
    error = bad(damaged)
    assert (error.reason, error.offset) == ("wrong CRC of a record", SIZES[minor][0] + 2 * SIZES[minor][1] - 4)
    assert read(damaged, check_records=False).guid(1) != GUID


@pytest.mark.parametrize("minor", SIZES)
def test_torn_at_every_length(minor: int) -> None:
    data = made(minor)
    for size in range(len(data)):
        assert bad(data[:size]).offset == size
    assert bad(made(minor, num_records=4)).reason.startswith("torn: 4 records")


@pytest.mark.parametrize("minor", SIZES)
@pytest.mark.parametrize("uids", [(0, 1, 2), (1, 1, 2), (1, 3, 2), (1, 2, 8)])
def test_uids(minor: int, uids: tuple[int, ...]) -> None:
    assert bad(made(minor, uids)).offset in [SIZES[minor][0] + i * SIZES[minor][1] for i in range(3)]


def test_a_cyrus_expunge_need_not_be_in_order() -> None:
    assert read(made(10, (9, 3, 5), modseq=99), sorted_uids=False).uids.tolist() == [9, 3, 5]
    assert bad(made(10, (9, 0, 5)), sorted_uids=False).offset == 96 + 88


@pytest.mark.parametrize("minor", [minor for minor in SIZES if minor >= 10])
def test_a_modseq_above_the_highest(minor: int) -> None:
    assert bad(made(minor, modseq=61)).offset == SIZES[minor][0] + 80
    assert read(made(minor, modseq=60))


@pytest.mark.parametrize("minor", WITH_CRC)
@pytest.mark.parametrize("count", ["exists", "answered", "flagged", "deleted"])
def test_counts(minor: int, count: str) -> None:
    assert bad(made(minor, **{count: 3})).reason.startswith(f"{count}: 3 in the header")


@pytest.mark.parametrize("minor", [0, 5, 11, 21, 2**32 - 1])
def test_unknown_version(minor: int) -> None:
    data = bytearray(made(20))
    struct.pack_into(">I", data, 8, minor)
    found = bad(bytes(data))
    assert found.reason == f"unknown minor version {minor}"
    # Nobody has newer ones than by a few, and the older ones are known.
    assert isinstance(found, UnknownVersion) == (minor == 21)


@pytest.mark.parametrize(("at", "value"), [(12, 0), (12, 100), (16, 0), (16, 80), (16, 84), (16, 92), (44, 0)])
def test_headers_that_make_no_sense(at: int, value: int) -> None:
    data = bytearray(made(10))
    struct.pack_into(">I", data, at, value)
    assert bad(bytes(data)).offset == at


def test_flag_names() -> None:
    assert flag_names(0, 0, (b"NonJunk",)) == []
    assert flag_names(0b11111, 0b1011, (b"NonJunk", None, b"$Label1")) == [
        *("\\Answered", "\\Flagged", "\\Deleted", "\\Draft", "\\Seen"),
        "NonJunk",
    ]
    assert flag_names(EXPUNGED | records.DRAFT, 1 << 127, (None,) * 127 + (b"last",)) == ["\\Draft", "last"]
